"""Adapters to public sets: each on a tiny folder in its published layout."""

import csv
import json
from pathlib import Path

import pytest

from icve.data.pairs import SETS, TYPES, BadRow, RawPair
from icve.data.pairs.metadata import MAX_ROW, json_array
from icve.errors import InputError
from tests.data import public_sets


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_read_in_its_layout(name: str, tmp_path: Path):
    expected = public_sets.BUILDERS[name](tmp_path)
    assert SETS[name].detect(tmp_path)
    items = list(SETS[name].pairs(tmp_path))
    pairs = [item for item in items if isinstance(item, RawPair)]
    got = {(p.source.relative_to(tmp_path).as_posix(), p.target.relative_to(tmp_path).as_posix()) for p in pairs}
    assert got == {(source, target) for source, target, *_ in expected}
    for pair in pairs:
        source, target, instruction, kind = next(
            row for row in expected if pair.target == tmp_path / row[1] and pair.source == tmp_path / row[0]
        )
        assert (pair.instruction, pair.type) == (instruction, kind), (source, target)
        assert pair.type in TYPES
    assert not [item for item in items if isinstance(item, BadRow)]
    assert [p.id for p in pairs] == [p.id for p in SETS[name].pairs(tmp_path) if isinstance(p, RawPair)]


@pytest.mark.parametrize("name", SETS)
def test_another_folder_is_not_taken_for_the_set(name: str, tmp_path: Path):
    for other in SETS:
        if other != name:
            public_sets.BUILDERS[other](tmp_path / other)
            assert not SETS[name].detect(tmp_path / other)
    assert not SETS[name].detect(tmp_path / "nothing")
    with pytest.raises(InputError, match="does not hold"):
        next(iter(SETS[name].pairs(tmp_path / "nothing")))


def test_licences_say_whether_commercial_use_is_allowed():
    assert {name for name, one in SETS.items() if "no commercial use" in one.licence} == set(SETS) - {"insvie-1m"}
    assert "commercial use is allowed" in SETS["insvie-1m"].licence
    assert all(one.url.startswith("https://huggingface.co/datasets/") for one in SETS.values())


def hostile_rows(folder: Path) -> list[tuple[dict, str]]:
    """Rows of a ReCo file that give no pair, and why."""
    outside = folder.parent / "outside.mp4"
    outside.write_bytes(b"x")
    (folder / "add/src_videos/link.mp4").symlink_to(outside)
    good = {
        "src_video": "add/src_videos/a.mp4",
        "tar_video": "add/tar_videos/a.mp4",
        "instruction_final_refine": "Add.",
    }
    return [
        (good | {"src_video": "../outside.mp4"}, "unsafe path"),
        (good | {"src_video": "add/../../outside.mp4"}, "unsafe path"),
        (good | {"tar_video": str(outside)}, "unsafe path"),
        (good | {"src_video": "add/src_videos/link.mp4"}, "unsafe path"),
        (good | {"src_video": "add/src_videos/none.mp4"}, "missing video"),
        (good | {"src_video": "x" * 5000}, "missing video"),
        (good | {"src_video": "a\0.mp4"}, "missing video"),
        (good | {"src_video": "add/src_videos"}, "missing video"),
        (good | {"tar_video": good["src_video"]}, "same video"),
        (good | {"instruction_final_refine": " \n "}, "no instruction"),
        (good | {"instruction_final_refine": None}, "incomplete row"),
        ({"src_video": "add/src_videos/a.mp4"}, "incomplete row"),
        (["not", "an", "object"], "incomplete row"),
        (7, "incomplete row"),
    ]


def test_hostile_rows_are_named_and_do_not_stop_the_rest(tmp_path: Path):
    folder = tmp_path / "set"
    public_sets.reco(folder)
    path = folder / "add/add_data_configs.json"
    good = json.loads(path.read_text())
    rows = hostile_rows(folder)
    path.write_text(json.dumps([row for row, _ in rows] + good))
    items = list(SETS["reco-data"].pairs(folder))
    bad = [item for item in items if isinstance(item, BadRow)]
    assert [item.kind for item in bad] == [kind for _, kind in rows]
    assert [item.row for item in bad] == [f"add_data_configs.json row {n}" for n in range(1, len(rows) + 1)]
    assert len(items) - len(bad) == 4
    assert "../outside.mp4" in bad[0].reason


@pytest.mark.parametrize("text", ["", "{}", "hello", '[{"a": 1}', '[{"a": 1}, {"b"', "[" * 100_000])
def test_a_damaged_json_file_is_one_sentence(text: str, tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with path.open() as file, pytest.raises(InputError, match=r"rows\.json"):
        list(json_array(file, path))


def test_json_is_read_as_a_stream(tmp_path: Path):
    """Rows of all lengths across the edges of what is read at once, and a file that never ends a row."""
    rows = [{"text": 'ü\\"[]{},' * (n * 37 % 5000), "n": n} for n in range(300)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        reader = json_array(file, path)
        assert next(reader) == rows[0]
        assert file.buffer.tell() < path.stat().st_size / 10
        assert list(reader) == rows[1:]
    path.write_text('["' + "a" * (MAX_ROW + 200_000))
    with path.open() as file, pytest.raises(InputError):
        list(json_array(file, path))


def test_openve_cells_may_hold_semicolons_and_quotes(tmp_path: Path):
    public_sets.openve(tmp_path)
    with (tmp_path / "local_add.csv").open("w", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["video", "prompt", "original_video"])
        table.writerow(["local_add/e.mp4", 'Add a "red; big" kite;\nhigh up', "local_add/s.mp4"])
        table.writerow(["local_add/e.mp4"])
    one, two, *_ = [
        i for i in SETS["openve-3m"].pairs(tmp_path) if "local_add" in (i.row if isinstance(i, BadRow) else i.place)
    ]
    assert isinstance(one, RawPair)
    assert one.instruction == 'Add a "red; big" kite; high up'
    assert isinstance(two, BadRow)
    assert two.kind == "incomplete row"


def test_ditto_triplet_in_two_files_is_one_pair_with_the_specific_type(tmp_path: Path):
    public_sets.ditto(tmp_path)
    general = tmp_path / "training_metadata/global+local.json"
    general.write_text((tmp_path / "training_metadata/local_replace.json").read_text())
    pairs = [p for p in SETS["ditto-1m"].pairs(tmp_path) if isinstance(p, RawPair) and "/local/" in str(p.target)]
    first, second = (p for p in pairs if p.place.startswith(("local_replace", "global+local")))
    assert first.id == second.id
    assert first.type == "replace"


def test_insvie_ids_do_not_depend_on_what_is_unpacked(tmp_path: Path):
    public_sets.insvie(tmp_path)
    before = {p.target.name: p.id for p in SETS["insvie-1m"].pairs(tmp_path)}
    (tmp_path / "a_source_more").mkdir()
    (tmp_path / "a_edited_more").mkdir()
    assert {p.target.name: p.id for p in SETS["insvie-1m"].pairs(tmp_path)} == before
