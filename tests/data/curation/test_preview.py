"""The preview page: escaped, bounded, right about the set, and playing in a real browser."""

import base64
import hashlib
import io
import json
import re
import time
import tracemalloc
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import icve.data.world
from icve.data.buckets import Bucket
from icve.data.curation.preview import write_preview
from icve.data.curation.preview_charts import Histogram, draw, ticks
from icve.data.curation.preview_media import small_clip
from icve.data.curation.preview_scan import scan_set
from icve.data.shard_layout import PAIRS
from icve.data.shard_media import decode_clip, encode_clip
from icve.data.shards import ShardWriter
from icve.errors import InputError
from tests.data.curation.chromium import CHROMIUM, Page
from tests.data.shard_samples import BUCKET, clips, rewrite, write_set

EVIL = '</script></title><script>alert("x")</script><img src=x onerror=alert(1)>{{pairs}}&amp;'
VOID = {"meta", "link", "input", "img", "br"}


class Reader(HTMLParser):
    """Tags with their attributes, and the texts between them; an open element that is not closed is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def text(self, tag: str) -> list[str]:
        return [data for name, data in self.texts if name == tag]


def preview(folder: Path, **options) -> Reader:
    output = folder.with_name(f"{folder.name}.html")
    write_preview(folder, output, **options)
    return Reader(output.read_text("utf-8"))


@pytest.fixture(scope="module")
def evil_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose every text tries to get out."""
    folder = tmp_path_factory.mktemp("sets") / "evil"
    with ShardWriter(folder, name=f"set {EVIL}", licence=f"licence {EVIL}", source=f"source {EVIL}") as writer:
        for number in range(3):
            source, target, _, _ = clips(number)
            writer.add_clip(f"c{number}-0", source, fps=8, caption=f"caption {EVIL}", source=f"file {EVIL}")
            writer.add_clip(f"c{number}-1", target, fps=8, source="javascript:alert(1)")
            writer.add_pair(
                f"p{number}",
                f"c{number}-0",
                f"c{number}-1",
                f"instruction {EVIL}",
                f'"><script> {number}',
                source=f"path/{EVIL}" if number else None,
                original_instruction="\x00\ud7ff\u202e" + EVIL,
                method=f"method {EVIL}",
                scores=json.dumps({EVIL: 0.5, "deep": {"zoom": number / 10}, "word": EVIL, "no": None}),
                target_caption=f"target {EVIL}",
                source_start=1.25,
                source_end=2.25,
                change_flow=float(number),
            )
    (folder / "curation").mkdir()
    row = {"stage": "basic", "in": 12345, "out": 3, "dropped": {EVIL: 7, "static": 1}, "seconds": 10.0}
    (folder / "curation" / "yield.json").write_text(json.dumps([row]))
    writer.quarantine(f"quarantine {EVIL}", "broken")
    return folder


def test_no_text_of_a_set_becomes_markup(evil_set: Path) -> None:
    page = preview(evil_set)
    assert page.count("script") == page.count("style") == 1
    assert page.count("img") == 0
    assert page.count("article") == 3
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "style" not in attributes
        assert set(attributes) <= {
            *("lang", "charset", "content", "http-equiv", "name", "rel", "href", "scope", "class", "hidden", "id"),
            *("type", "title", "value", "autocomplete", "spellcheck", "role", "data-type", "src", "width", "height"),
            *("aria-label", "aria-hidden", "muted", "loop", "controls", "playsinline", "preload", "viewbox", "x", "y"),
            *("preserveaspectratio", "d", "text-anchor"),
        }
    shown = "".join(text for _, text in page.texts)
    for what in ("set", "licence", "source", "caption", "instruction", "method", "target"):
        assert f"{what} {EVIL}" in shown, what
    assert f"path/{EVIL}" in shown
    assert f"\ufffd\ud7ff\u202e{EVIL}" in shown
    assert page.text("title")[0] == f"set {EVIL} – preview"
    assert {a["data-type"] for tag, a in page.tags if tag == "article"} == {f'"><script> {n}' for n in range(3)}


def test_the_page_forbids_requests_and_other_scripts(evil_set: Path) -> None:
    output = evil_set.with_name("policy.html")
    write_preview(evil_set, output)
    page = output.read_text("utf-8")
    (policy,) = [a["content"] for tag, a in Reader(page).tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["media-src"] == rules["img-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    for tag, attributes in Reader(page).tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag


def test_it_says_what_the_set_holds(evil_set: Path) -> None:
    page = preview(evil_set)
    shown = " ".join(text for _, text in page.texts)
    assert "All 3 pairs" in shown
    assert "6, 7 seconds" in shown  # clips of 9 frames at 8 a second
    header = page.text("dd")
    assert header[2] == "3"
    assert header[4] == "1"  # quarantined
    assert page.text("td")[:6] == ["12,345", "3", "10", "1,234.5", f"{EVIL}: 7", "static: 1"]
    labels = [a["aria-label"] or "" for tag, a in page.tags if tag == "svg" and "aria-label" in a]
    assert any(label.startswith("Histogram of pair: deep.zoom: median 0.1") for label in labels)
    assert any(label.startswith("Histogram of pair: change_flow: median 1") for label in labels)
    assert "1.125 s for all 6" in shown
    assert shown.count("1.25 to 2.25 s") == 3
    entries = [text for tag, text in page.texts if tag in ("dt", "dd")]
    assert entries[entries.index("change_flow") + 1] == "0"
    assert entries[entries.index("deep.zoom") + 1] == "0"


def test_clips_are_in_the_page(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", 2, lossless=False)
    page = preview(folder)
    videos = [attributes for tag, attributes in page.tags if tag == "video"]
    assert len(videos) == 4
    assert all({"muted", "loop", "controls"} <= set(video) for video in videos)  # what is needed without JavaScript
    source, target, _, _ = clips(0)
    for video, clip in zip(videos[:2], (source, target), strict=True):
        kind, _, data = (video["src"] or "").partition(",")
        assert kind == "data:video/mp4;base64"
        shown = decode_clip(base64.b64decode(data), BUCKET)
        assert np.abs(shown.astype(int) - clip).mean() < 20
        assert np.abs(shown.mean(axis=(0, 1, 2)) - clip.mean(axis=(0, 1, 2))).max() < 3
    assert "caption 0" in "".join(page.text("bdi"))
    assert (tmp_path / "set.html").read_bytes() == rewritten(folder).read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def rewritten(folder: Path) -> Path:
    output = folder.with_name("again.html")
    write_preview(folder, output)
    return output


def test_clips_become_small_and_the_page_stays_below_its_limit(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", 4, lossless=False)
    page = preview(folder, side=32)
    assert {(a["width"], a["height"]) for tag, a in page.tags if tag == "video"} == {("32", "32")}
    whole = (tmp_path / "set.html").stat().st_size
    media = sum(len(a["src"] or "") for tag, a in page.tags if tag == "video")
    page = preview(folder, side=32, max_bytes=media // 2)
    assert 0 < page.count("video") < 8
    assert (tmp_path / "set.html").stat().st_size < whole - 0.4 * media
    assert sum("too large" in text for text in page.text("p")) == 8 - page.count("video")


def test_stills_lossless_clips_and_pairs_without_a_source(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    random = np.random.default_rng(0)
    with ShardWriter(folder, name="set", licence="CC0-1.0", lossless=True) as writer:
        writer.add_clip("still", random.integers(0, 256, (1, 32, 48, 3), np.uint8), fps=1)
        writer.add_clip("video", clips(1)[0], fps=8)
        writer.add_pair("1", None, "still", "a still", "none")
        writer.add_pair("2", None, "video", "a video", "none")
    page = preview(folder)
    assert page.count("img") == page.count("video") == 1
    assert sum("text to video" in text for text in page.text("p")) == 2


@pytest.mark.parametrize("lossless", [True, False])
def test_small_clips_have_the_colours_of_the_large(lossless: bool) -> None:
    with Image.open(Path(icve.data.world.__file__).parent / "photos" / "coffee.jpg") as image:
        still = np.array(image.convert("RGB").resize((64, 96)))
    clip = np.stack([np.roll(still, number, axis=1) for number in range(9)])
    data = encode_clip(clip, 8, quality=14, lossless=lossless)
    small, height, width = small_clip(data, Bucket(9, 96, 64), 8, 48)
    assert (height, width) == (48, 32)
    with av.open(io.BytesIO(small)) as container:
        assert [frame.time for frame in container.decode(video=0)] == [number / 8 for number in range(9)]
    shown = decode_clip(small, Bucket(9, 48, 32)).astype(float)
    wanted = clip.reshape(9, 48, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(shown - wanted).mean() < 12  # many edges for so few pixels, with half as many of colour
    assert np.abs((shown - wanted).mean(axis=(0, 1, 2))).max() < 3  # another matrix or range: 5 and more
    with pytest.raises(ValueError, match="instead of 64x96"):
        small_clip(data, Bucket(9, 64, 96), 8, 48)
    with pytest.raises(ValueError, match="9 frames instead of 13"):
        small_clip(data, Bucket(13, 96, 64), 8, 48)


def test_clips_that_cannot_be_shown_cost_only_themselves(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", 3, lossless=False)
    (tar,) = folder.glob("media/*/*.tar")
    index = tar.with_suffix(".parquet")
    rows = pq.read_table(index).to_pylist()
    data = bytearray(tar.read_bytes())
    data[rows[0]["offset"] + 50] ^= 255
    tar.write_bytes(data)
    rewrite(index, fps=lambda values: [*values[:3], float("nan"), *values[4:]])
    rewrite(next(folder.glob("pairs/*")), target_clip=lambda ids: [*ids[:2], "nowhere"])
    page = preview(folder)
    problems = [text for text in page.text("p") if "cannot be shown" in text]
    assert len(problems) == 3
    assert "checksum" in problems[0]
    assert "nan frames a second" in problems[1]
    assert "nowhere is in no index" in problems[2]
    assert page.count("video") == 3
    tar.unlink()  # the set was encoded, and its media deleted
    assert preview(folder).count("video") == 0


def test_damaged_indices_and_folders_that_are_no_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a set"):
        preview(tmp_path)
    folder = write_set(tmp_path / "set", 1)
    pairs = next(folder.glob("pairs/*"))
    rewrite(pairs, instruction=lambda _: [None])
    with pytest.raises(InputError, match="damaged"):
        preview(folder)
    pairs.write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="damaged"):
        preview(folder)
    pairs.unlink()
    assert "The set has no pairs" in preview(folder).text("h2")
    with pytest.raises(InputError, match="cannot be written"):
        write_preview(folder, tmp_path / "none" / "preview.html")


# -- the pass over a large set


def large_set(folder: Path, pairs: int, rows_each: int = 50_000) -> None:
    write_set(folder, 1)
    for path in folder.glob("pairs/*"):
        path.unlink()
    random = np.random.default_rng(0)
    for start in range(0, pairs, rows_each):
        numbers = np.arange(start, min(start + rows_each, pairs))
        columns = {
            "pair_id": [f"p{n}" for n in numbers],
            "source_clip": ["c0-0"] * len(numbers),
            "target_clip": ["c0-1"] * len(numbers),
            "instruction": ["word " * (1 + n % 7) for n in numbers],
            "type": [("add", "remove")[n % 2] for n in numbers],
            "bucket": [str(BUCKET)] * len(numbers),
            "change_flow": random.normal(5, 1, len(numbers)),
            "scores": ['{"inliers": 0.25}'] * len(numbers),
        }
        schema = pa.schema([*PAIRS, ("change_flow", pa.float64()), ("scores", pa.string())])
        pq.write_table(pa.table(columns, schema), folder / "pairs" / f"a-{start:07d}.parquet")


def test_a_large_set_is_read_in_little_memory_and_drawn_from_evenly(tmp_path: Path) -> None:
    large_set(tmp_path / "set", 200_000)
    start = time.process_time()
    tracemalloc.start()
    scan = scan_set(tmp_path / "set", 1000, 7)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - start < 30
    assert used < 40 * 2**20
    assert scan.pairs == 200_000
    assert scan.types == Counter(add=100_000, remove=100_000)
    assert scan.words.quantile(0.5) == 4
    assert scan.pair_scores["change_flow"].quantile(0.5) == pytest.approx(5, abs=0.02)
    assert scan.pair_scores["inliers"].count == 200_000
    numbers = np.array([int(row["pair_id"][1:]) for row in scan.sample])
    assert len(set(numbers)) == 1000
    assert (np.diff(numbers) > 0).all()  # in the set's order
    # Each tenth of the set has its share, within five standard deviations.
    assert np.abs(np.bincount(numbers // 20_000, minlength=10) - 100).max() < 48


def test_the_draw_depends_on_the_seed_alone_and_not_on_the_files(tmp_path: Path) -> None:
    large_set(tmp_path / "few", 20_000)
    large_set(tmp_path / "many", 20_000, 1500)
    ids = [row["pair_id"] for row in scan_set(tmp_path / "few", 50, 3).sample]
    assert [row["pair_id"] for row in scan_set(tmp_path / "many", 50, 3).sample] == ids
    assert [row["pair_id"] for row in scan_set(tmp_path / "many", 50, 4).sample] != ids


def test_histograms_do_not_depend_on_order_and_count_everything() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(3, 1, 5000), random.gamma(1, 200, 500), [-7.5, 1e9, 0.0]])
    forward, backward = Histogram(), Histogram()
    for part in np.array_split(values, 37):
        forward.add(part)
    for part in np.array_split(values[::-1], 5):
        backward.add(np.append(part, [np.nan, np.inf, -np.inf, 1e300]))
    assert forward.cells == backward.cells
    assert forward.width == backward.width
    assert sum(forward.cells.values()) == forward.count == len(values)
    _, _, counts, before, after = forward.bars()
    assert sum(counts) + before + after == len(values)
    assert len(counts) <= 30

    whole = Histogram(1)
    whole.add(np.array([3, 3, 4, 9]))
    assert whole.bars() == (3, 1, [2, 1, 0, 0, 0, 0, 1], 0, 0)
    assert [whole.quantile(share) for share in (0.5, 0.75, 1)] == [3, 4, 9]
    assert draw("none", Histogram()) == ""


def test_few_values_far_off_do_not_hide_the_others() -> None:
    histogram = Histogram()
    histogram.add(np.append(np.random.default_rng(0).uniform(0, 1, 10_000), [900.0, 901.0, -500.0]))
    start, width, counts, before, after = histogram.bars()
    assert start > -2
    assert start + width * len(counts) < 3
    assert (before, after) == (1, 2)
    assert "not drawn: 1 below and 2 above" in draw("x", histogram)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0.001, 0.0011), (-3, 12), (0, 5), (1e-6, 2e6), (-5, -4.2)])
def test_ticks_are_few_and_round(start: float, end: float) -> None:
    marks = ticks(start, end)
    assert 2 <= len(marks) <= 6
    slack = 1e-6 * (end - start)
    assert all(start - slack <= mark <= end + slack for mark in marks)


# -- in a browser


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_it_plays_in_step_in_a_browser(evil_set: Path, tmp_path: Path) -> None:
    page_file = tmp_path / "preview.html"
    write_preview(evil_set, page_file)
    with Page(tmp_path / "profile") as page:
        page.open(page_file.as_uri())
        assert page.run("document.title") == f"set {EVIL} – preview"
        assert page.run("document.querySelectorAll('article').length") == 3
        page.run("document.querySelector('.pairs').scrollIntoView()")
        places = "[...document.querySelectorAll('article')[0].querySelectorAll('video')].map(v => v.currentTime)"
        apart, moved = [], set()
        for _ in range(30):
            time.sleep(0.1)
            source, target = page.run(places)
            apart.append(min(abs(source - target), 1.125 - abs(source - target)))
            moved.add(round(source, 2))
        assert len(moved) > 10
        assert np.median(apart) < 0.06  # half a frame
        assert page.run("document.querySelectorAll('video').length") == 6
        assert page.run("[...document.querySelectorAll('video')].every(v => !v.error && v.muted && !v.controls)")

        page.run("document.getElementById('play').click()")
        time.sleep(0.5)
        still = page.run(places)
        time.sleep(0.3)
        assert page.run(places) == still
        assert still[0] == pytest.approx(still[1], abs=0.02)
        assert page.run("document.getElementById('play').textContent") == "Play"

        shown = "[...document.querySelectorAll('article:not([hidden])')].map(a => a.dataset.type)"
        page.run("{const t = document.getElementById('type'); t.value = t.options[2].value;"
                 "t.dispatchEvent(new Event('change'))}")  # fmt: skip
        assert page.run(shown) == ['"><script> 1']
        page.run("{document.getElementById('type').value = ''; const s = document.getElementById('search');"
                 "s.value = 'INSTRUCTION nothing'; s.dispatchEvent(new Event('input'))}")  # fmt: skip
        assert page.run(shown) == []
        assert page.run("document.getElementById('shown').textContent") == "0 of 3 shown"
        assert page.problems == []
        assert page.requests == [page_file.as_uri()]
        # What a hole in the escaping would meet.
        assert page.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
        page.run("{const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
                 "document.body.append(s)}")  # fmt: skip
        assert page.run("window.ran === undefined")
        assert any("Content Security Policy" in problem for problem in page.problems)
