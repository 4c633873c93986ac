"""The report: what it says, that it trusts nothing, and that it works in a browser."""

import re
import time
from html.parser import HTMLParser

import pytest

from icve.evaluation.judging import judging
from icve.evaluation.report.charts import forest
from icve.evaluation.report.media import MAX_FRAMES, stack_clips
from icve.evaluation.report.page import write_report
from icve.evaluation.results import read_results, write_results
from icve.evaluation.scorers import Figure
from icve.evaluation.summary import Mean, Summary
from tests.data.curation.chromium import CHROMIUM, Page
from tests.evaluation.report.made import EDITORS, EVIL, FRAMES, RATE, clip, level, results

ALLOWED = """
html head meta link title style body header h1 h2 h3 dl div dt dd ul li main section table caption thead tbody
tr th td button bdi b span p br details summary svg path text circle polygon g article video figure canvas
figcaption noscript label input select option script
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    found = results(folder / "clips")
    page = folder / "report.html"
    write_report(found, Summary(found), judging(found), page)
    return found, page


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]


def test_no_text_becomes_markup_and_nothing_is_asked_for(made):
    page = made[1].read_text()
    found = Tags(page)
    assert {*found.tags} <= {*ALLOWED.split()}
    assert found.tags.count("script") == 1
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    sources = [value for _, name, value in found.attributes if name in ("src", "href", "srcset", "poster", "action")]
    assert sources
    assert all(source.startswith("data:") for source in sources)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "&amp;{{policy}}" in page  # what is put in is not looked at again


def test_it_says_what_was_found(made):
    found, page = made
    page = page.read_text()
    for part in ("100.0%", "3 cases", "1 missing", "ICVE 13B", "Gemini-2.5-Pro", "reason &quot;", "remark &quot;"):
        assert part in page, part
    assert page.count("<article") == 4
    summary = Summary(found).as_dict()
    assert summary["editors"][EDITORS[1]]["success"]["all"]["missing"] == 1
    versus = summary["comparisons"][1]
    assert versus["win_rate"] == 0  # lower is better, and the first is higher in every case
    assert versus["difference"] == 1


def test_a_judge_that_always_says_5_is_told_of(made, tmp_path):
    found = results(tmp_path, cases=12)
    said = judging(found)
    assert said.agreements["openve_overall"].n == 24
    assert said.agreements["openve_overall"].alpha < 0.1
    assert any("five gives the same score, 5" in sentence for sentence in said.signs)
    assert not any("me gives" in sentence for sentence in said.signs)
    assert "Krippendorff" in made[1].read_text()


def test_results_come_back_from_their_folder(made, tmp_path):
    found, _ = made
    write_results(found, tmp_path, Summary(found).as_dict())
    again = read_results(tmp_path)
    assert again == found


def test_the_page_stays_below_its_limits(made, tmp_path):
    found, whole = made
    page = tmp_path / "small.html"
    first = len(re.search('<video src="([^"]*)"', whole.read_text())[1])
    write_report(found, Summary(found), judging(found), page, items=3, max_bytes=first + 10)
    text = page.read_text()
    assert text.count("<article") == 3
    assert text.count("<video") == 1
    assert "The page would become too large." in text
    assert "3 of 4 cases" in text


def test_clips_of_a_case_are_one_video(tmp_path):
    files = {
        "source": clip(tmp_path / "a.mp4", frames=4),
        "edit: x": clip(tmp_path / "b.mp4", frames=7, size=(100, 500)),
        "edit: y": tmp_path / "lost.mp4",
    }
    stack = stack_clips(files)
    assert [*stack.parts] == ["source", "edit: x"]
    assert "does not exist" in stack.failed["edit: y"]
    assert (stack.frames, stack.rate, stack.cut) == (7, RATE, False)
    assert (stack.parts["source"].height, stack.parts["source"].width) == (144, 192)  # enlarged by a whole factor
    assert (stack.parts["edit: x"].height, stack.parts["edit: x"].width) == (64, 320)
    assert stack_clips({"edit: y": tmp_path / "lost.mp4"}) is None
    long = stack_clips({"source": clip(tmp_path / "c.mp4", frames=MAX_FRAMES + 5)})
    assert (long.frames, long.cut) == (MAX_FRAMES, True)
    assert stack_clips(files).data == stack.data


@pytest.mark.parametrize("value", [0.0, 1.0, 3.5, -2e9, 1e-9])
def test_plots_stand_any_value(value):
    means = {"row": {"a": Mean(1, 0, value, None, None), "b": Mean(2, 0, value, value, value)}}
    drawn = forest(Figure("x", "higher", None, None), False, means)
    assert drawn.count("<circle") == drawn.count("<polygon") == 1
    assert "nan" not in drawn


# -- in a browser


@pytest.fixture(scope="module")
def browser(made, tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Page(tmp_path_factory.mktemp("profile")) as page:
        page.send("Emulation.setDeviceMetricsOverride", width=1280, height=1400, deviceScaleFactor=1, mobile=False)
        page.open(made[1].as_uri())
        yield page
        # Chromium has advice for who reads canvases, which only these tests do.
        assert [problem for problem in page.problems if "readback" not in problem] == []
        assert page.requests == [made[1].as_uri()]


GREYS = """[...document.querySelectorAll('article')].map(article =>
  [...article.querySelectorAll('canvas[data-kind=source], canvas[data-kind=edit]')].map(canvas =>
    canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0]))"""


def frame_of(grey):
    return round((grey - level(0)) / 10)


def test_clips_play_in_step(browser):
    browser.run("document.querySelector('.cases').scrollIntoView()")
    time.sleep(0.5)
    seen, spread = set(), []
    for _ in range(25):
        time.sleep(0.05)
        shown, times, far = browser.run(
            f"[{GREYS}, [...document.querySelectorAll('video')].map(v => v.currentTime),"
            "[...document.querySelectorAll('article')].map(a => a.getBoundingClientRect().top > innerHeight + 150)]"
        )
        for greys in shown:
            assert len({frame_of(grey) for grey in greys}) == 1  # source and edits show the same frame, always
        near = [t for t, out in zip(times, far, strict=True) if not out]
        apart = max(near) - min(near)
        spread.append(min(apart, FRAMES / RATE - apart))
        seen.add(frame_of(shown[0][0]))
    assert len(shown[0]) == 3
    assert len(near) > 1
    print(f"spread of currentTime among {len(near)} cases: {max(spread):.3f} s, median {sorted(spread)[12]:.3f} s")
    assert sorted(spread)[12] < 0.2  # two frames, on a machine that does other things
    assert len(seen) > 5


def scrub(place):
    return f"{{const p = document.getElementById('place'); p.value = {place}; p.dispatchEvent(new Event('input'))}}"


def shows(browser, frame, seconds=10):
    """Whether source and edits of the first case come to show a frame, and stay there."""
    end = time.monotonic() + seconds
    while {frame_of(grey) for grey in browser.run(GREYS)[0]} != {frame}:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    time.sleep(0.3)
    return {frame_of(grey) for grey in browser.run(GREYS)[0]} == {frame}


def test_pause_scrub_and_difference(browser):
    click = "document.getElementById('play').click()"
    if browser.run("document.getElementById('play').textContent") == "Play":
        browser.run(click)
    browser.run("document.querySelector('.cases').scrollIntoView()")
    time.sleep(0.3)
    browser.run(click)
    assert browser.run("document.getElementById('play').textContent") == "Play"
    for place in (0, 500, 999):
        browser.run(scrub(place))
        assert shows(browser, min(FRAMES - 1, int(place / 1000 * FRAMES)))
    # Scrubbed while its videos are on their way elsewhere, as they often are where they played.
    away = "for (const video of document.querySelectorAll('video')) video.currentTime = 0.1"
    browser.run(f"{away}; {scrub(0)}")
    assert shows(browser, 0)
    browser.run(scrub(999))
    assert shows(browser, FRAMES - 1)
    browser.run("document.getElementById('difference').click()")
    time.sleep(0.2)
    source, edit, _ = browser.run(GREYS)[0]
    assert frame_of(source) == FRAMES - 1
    assert edit < 6  # it is the source
    browser.run("document.getElementById('difference').click()")


def test_tables_sort(browser):
    table = "document.querySelectorAll('table.sorts')[0]"
    column = f"[...{table}.tBodies[0].rows].map(row => row.cells[1].dataset.value)"
    button = f"{table}.tHead.rows[0].cells[1].querySelector('button')"
    state = f"[...{table}.tHead.rows[0].cells].map(cell => cell.getAttribute('aria-sort'))"
    browser.run(f"{button}.focus()")
    for key, order in (("Enter", 1), (" ", -1)):  # by the keyboard
        for kind in ("keyDown", "keyUp"):
            text = "\r" if key == "Enter" else key
            browser.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Enter" if key == "Enter" else "Space",
                windowsVirtualKeyCode=ord(text),
                **({"text": text} if kind == "keyDown" else {}),
            )
        values = [float(value) for value in browser.run(column)]
        assert values == sorted(values, reverse=order < 0)
        assert len(set(values)) > 1
        assert browser.run(state)[1] == ("ascending" if order > 0 else "descending")
        assert browser.run(state)[0] == "none"


def test_filters(browser):
    shown = "document.querySelectorAll('article:not([hidden])').length"
    browser.run(
        "{const c = document.getElementById('category'); c.value = 'remove'; c.dispatchEvent(new Event('change'))}"
    )
    assert browser.run(shown) == 2
    browser.run(
        "{const s = document.getElementById('search'); s.value = 'CASE-2'; s.dispatchEvent(new Event('input'))}"
    )
    assert browser.run(shown) == 1
    assert browser.run("document.getElementById('shown').textContent") == "1 of 4 shown"


def test_a_hole_in_the_escaping_would_meet_the_policy(made, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Page(tmp_path / "profile") as page:
        page.open(made[1].as_uri())
        assert page.run("document.title").startswith(f"Bench {EVIL}")
        assert page.run("window.ran === undefined")
        assert page.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
        page.run("{const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
                 "document.body.append(s)}")  # fmt: skip
        assert page.run("window.ran === undefined")
