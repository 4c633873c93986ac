"""Which edits a call asks for, and what their outputs are called."""

import pytest

from icve.commands.jobs import plan_jobs
from icve.errors import InputError


def outputs(plan) -> list[tuple[str, str, str]]:
    return [(job.video.name, job.instruction, job.output.name) for job in plan.jobs]


def test_one_video_and_one_instruction(tmp_path):
    plan = plan_jobs(tmp_path / "a.mov", ["blue"], tmp_path / "out.mkv")
    assert outputs(plan) == [("a.mov", "blue", "out.mkv")]
    assert (plan.batch, plan.folder) == (False, None)


def test_a_folder_for_one_output_exists_or_has_no_ending(tmp_path):
    (tmp_path / "v1.2").mkdir()
    for folder in (tmp_path / "v1.2", tmp_path / "new"):
        plan = plan_jobs(tmp_path / "a.mov", ["blue"], folder)
        assert [job.output for job in plan.jobs] == [folder / "a.mp4"]
        assert plan.folder == folder


def test_several_instructions_are_numbered(tmp_path):
    plan = plan_jobs(tmp_path / "a.mov", ["blue", "red"], tmp_path / "out")
    assert outputs(plan) == [("a.mov", "blue", "a-1.mp4"), ("a.mov", "red", "a-2.mp4")]
    assert not plan.batch


def test_several_outputs_need_a_folder(tmp_path):
    with pytest.raises(InputError, match="2 outputs"):
        plan_jobs(tmp_path / "a.mov", ["blue", "red"], tmp_path / "out.mp4")


def test_a_folder_of_videos(tmp_path):
    for name in ("b.MP4", "a.mov", "b.webm", "notes.txt"):
        (tmp_path / name).touch()
    plan = plan_jobs(tmp_path, ["blue"], tmp_path / "out")
    assert outputs(plan) == [
        ("a.mov", "blue", "a.mp4"),
        ("b.MP4", "blue", "2-b.mp4"),
        ("b.webm", "blue", "3-b.mp4"),
    ]
    assert plan.batch
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no video"):
        plan_jobs(tmp_path / "empty", ["blue"], tmp_path / "out")


def test_a_csv(tmp_path):
    rows = tmp_path / "rows.csv"
    text = 'instruction,video,note\n"make it red, please",a.mp4,\nاجعلها زرقاء,b.mp4,x\n,b.mp4\n'
    rows.write_text(text, encoding="utf-8-sig")
    plan = plan_jobs(rows, [], tmp_path / "out")
    assert outputs(plan) == [
        ("a.mp4", "make it red, please", "a.mp4"),
        ("b.mp4", "اجعلها زرقاء", "b-1.mp4"),
        ("b.mp4", "", "b-2.mp4"),
    ]
    assert plan.batch
    assert plan.jobs[0].video == tmp_path / "a.mp4"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "lacks the column instruction and video"),
        (b"video;instruction\na.mp4;blue\n", "lacks the column"),
        (b"video,instruction\n", "no row"),
        (b"video,instruction\na.mp4,\xff\xfe\n", "UTF-8"),
    ],
)
def test_a_csv_that_is_none(tmp_path, content, words):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        plan_jobs(tmp_path / "rows.csv", [], tmp_path / "out")


def test_instructions_come_from_one_place(tmp_path):
    (tmp_path / "rows.csv").write_text("video,instruction\na.mp4,blue\n")
    with pytest.raises(InputError, match="holds the instructions already"):
        plan_jobs(tmp_path / "rows.csv", ["red"], tmp_path / "out")
    with pytest.raises(InputError, match="at least one instruction"):
        plan_jobs(tmp_path / "a.mp4", [], tmp_path / "out")
    with pytest.raises(InputError, match="empty"):
        plan_jobs(tmp_path / "a.mp4", [" \n"], tmp_path / "out")
