"""The page in a real browser: what it shows in each state, on a phone and on a desk, light and dark."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.status import Clip
from edge_har.sinks.clips import ClipsOptions
from edge_har.sinks.options import SinkContext
from edge_har.web import WebOptions, start_web
from tests.helpers.accessible import barriers
from tests.helpers.browser import Browser
from tests.helpers.colours import colour_bundle, painted
from tests.helpers.live import LiveRun, viewers_of, wait_for
from tests.helpers.mjpeg import MjpegServer, jpeg

PHONE, DESK = (390, 844), (1280, 800)
TOKEN = "0123456789abcdef"
LABELS = tuple(f"Activity{number}" for number in range(10))
HOSTILE = ("<img src=x onerror=alert(1)>", "rtsp://me:***@cam/a?b=<script>alert(2)</script>&#x27;")
SHOTS = "EDGE_HAR_SCREENSHOTS"  # a folder: pictures of the page are kept there for people

SMALL_TARGETS = """[...document.querySelectorAll("button, summary, input, a")]
  .filter((e) => e.checkVisibility() && !e.matches(".skip"))
  .map((e) => [e.textContent.trim(), e.getBoundingClientRect()])
  .filter(([, box]) => box.width < 24 || box.height < 24)"""
UNNAMED = """[...document.querySelectorAll("button, input, [role=img]")].filter((e) => e.checkVisibility()
  && !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"""
CORNERS = """[...document.querySelectorAll(".source")].map((e) => e.getBoundingClientRect())
  .map((box) => [Math.round(box.left), Math.round(box.top)])"""
PIXEL = "[...document.querySelector('canvas').getContext('2d').getImageData(4, 4, 1, 1).data]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as made:
        made.look(width=DESK[0], height=DESK[1])
        yield made


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


def shows(browser: Browser, selector: str, expected: str) -> None:
    browser.wait(f"{text(selector)} === {expected!r}")


def keep(browser: Browser, name: str, tmp_path: Path) -> None:
    """Take a picture of the page; it must show something."""
    path = Path(os.environ.get(SHOTS, tmp_path)) / f"{name}.png"
    browser.screenshot(path)
    assert path.stat().st_size > 10_000


def press(browser: Browser, key: str) -> None:
    typed = {"text": "\r"} if key == "Enter" else {}
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **typed)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)


def test_a_real_run_is_seen_lost_and_seen_again(browser: Browser, tmp_path: Path) -> None:
    pictures = [jpeg(painted("Red", 1, (320, 240))[0])]
    stop = threading.Event()
    with MjpegServer(pictures, 25.0, loop=True) as camera:
        pipeline = Pipeline(colour_bundle(), [f"door={camera.url}"], [], RunOptions())
        web = start_web(WebOptions("127.0.0.1:0"), pipeline.run_status, pipeline.frame_sinks)
        running = threading.Thread(target=pipeline.run, args=(stop,))
        running.start()
        try:
            browser.open(web.url)
            shows(browser, ".seen .label", "Red")
            browser.wait("document.querySelector('.seen').classList.contains('certain')")
            assert browser.wait(
                "document.querySelector('.seen .score').textContent.match(/^(9\\d|100) %$/)?.[0]"
            )
            browser.wait("document.querySelector('canvas.drawn')")
            red, green, blue, _ = browser.run(PIXEL)
            assert red > 150 and max(green, blue) < 90
            shows(browser, ".entry .label", "Red")
            browser.wait("document.querySelector('.bar.ongoing')?.textContent === 'Red'")
            browser.wait("document.title === 'Red · edge_har'")
            browser.wait(f"{text('.model')}.startsWith('colours@')")
            browser.wait("/^\\d+\\.\\d fps$/.test(document.querySelector('.rate').textContent)")
            browser.wait("/ ms$/.test(document.querySelector('.age').textContent)")
            browser.wait("document.querySelector('.veil').dataset.kind === 'none'")
            camera.stop()
            shows(browser, ".state .text", "Lost")
            shows(browser, ".what", "Source lost")
            browser.wait(f"{text('.why')}.startsWith('Nothing came for ')")
            browser.wait("document.querySelector('.bar.away')")
            browser.wait("document.querySelector('.seen').hidden")
            reason = pipeline.run_status.sources[0].reason
            assert reason
            shows(browser, ".reason", reason)
            shows(browser, ".entry.away .why", reason)
            keep(browser, "lost", tmp_path)
            camera.start()
            shows(browser, ".state .text", "Live")
            browser.wait("document.querySelector('.veil').dataset.kind === 'none'")
            assert browser.run("document.querySelector('.reason').hidden")
            shows(browser, ".entry.away .why", reason)
            assert browser.errors == []
        finally:
            stop.set()
            running.join()
            web.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("sources", [1, 5])
def test_it_fits_can_be_read_and_asks_nobody_else(
    browser: Browser, tmp_path: Path, sources: int, size: tuple[int, int], dark: bool
) -> None:
    names = ["front-door", "workshop", "garden", "stairs", "rtsp://viewer:***@192.168.1.20:554/h264/ch1/main"]
    with LiveRun(*names[:sources], labels=LABELS, size_wh=(320, 240)) as run:
        for number, label in enumerate(LABELS[1:]):
            name = run.tell("start", label, names[number % sources])
            run.tell("end", label, names[number % sources], name=name, end_s=1.5 + number, reason="left")
        run.tell("start", LABELS[0], names[0])
        if sources > 1:
            run.run_status.source("garden").turn("lost", "no answer in time")
            run.tell("source_lost", None, "garden")
        browser.look(width=size[0], height=size[1], dark=dark)
        browser.open(run.web.url)
        browser.wait(
            "document.querySelector('.veil[data-kind=none]') && document.querySelectorAll('.entry').length > "
            "9"
        )
        keep(
            browser,
            f"{'one' if sources == 1 else 'several'}-{size[0]}-{'dark' if dark else 'light'}",
            tmp_path,
        )
        assert browser.run("document.documentElement.scrollWidth") <= size[0]
        assert browser.run(SMALL_TARGETS) == [] and browser.run(UNNAMED) == []
        assert barriers(browser) == []
        ground = browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(ground) < 64) is dark
        ours = (run.web.url, run.web.url.replace("http", "ws", 1), "data:")
        assert [url for url in browser.requests if not url.startswith(ours)] == []
        assert len(browser.requests) > 8 and browser.errors == []
    browser.look(width=DESK[0], height=DESK[1])


def test_names_and_labels_are_text(browser: Browser) -> None:
    with LiveRun(*HOSTILE, labels=HOSTILE) as run:
        run.tell("start", HOSTILE[0], HOSTILE[1])
        run.tell("source_lost", None, HOSTILE[0])
        run.run_status.source(HOSTILE[0]).turn("lost", HOSTILE[1])
        browser.open(run.web.url)
        browser.wait(
            "document.querySelectorAll('.entry').length === 2 && "
            "document.querySelector('.veil[data-kind=none]')"
        )
        assert browser.run(
            "[...document.querySelectorAll('.source .name')].map((e) => e.textContent)"
        ) == list(HOSTILE)
        shows(browser, ".source:nth-child(2) .seen .label", HOSTILE[0])
        assert browser.run("document.querySelectorAll('main img, main script').length") == 0
        assert browser.errors == []


def oklab(colour: str) -> tuple[float, float, float]:
    """A colour as #rrggbb in OKLab (Ottosson 2020), where distances are those that people see."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_label_has_the_colour_of_an_error_or_of_another_label(browser: Browser, dark: bool) -> None:
    with LiveRun(labels=LABELS) as run:
        for label in LABELS:
            run.tell("end", label, name=run.tell("start", label), end_s=1.0, reason="left")
        browser.look(width=DESK[0], height=DESK[1], dark=dark)
        browser.open(run.web.url)
        browser.wait(f"document.querySelectorAll('.legend li').length === {len(LABELS)}")
        hexed = browser.run(
            "[...document.querySelectorAll('.legend li')]"
            ".map((e) => getComputedStyle(e).getPropertyValue('--label'))"
        )
        error, warning = browser.run(
            "['--bad', '--warn'].map((n) => getComputedStyle(document.body).getPropertyValue(n))"
        )
        browser.look(width=DESK[0], height=DESK[1])
    shown = [oklab(colour) for colour in hexed]
    assert min(math.dist(colour, oklab(error)) for colour in shown) > 0.12
    assert min(math.dist(colour, oklab(warning)) for colour in shown) > 0.07
    assert min(math.dist(a, b) for a, b in combinations(shown, 2)) > 0.07


def test_the_legend_names_what_the_timeline_shows(browser: Browser) -> None:
    with LiveRun(labels=LABELS) as run:
        run.tell("end", LABELS[3], name=run.tell("start", LABELS[3]), end_s=1.0, reason="left")
        browser.open(run.web.url)
        browser.wait("document.querySelectorAll('.legend li').length === 1")
        assert browser.run(text(".legend")) == LABELS[3]
        run.tell("start", LABELS[1])
        run.tell("source_lost", None)
        browser.wait(f"{text('.legend')} === '{LABELS[1]}{LABELS[3]}Source lost'")
        colours = "['.legend .colour-1', '.bar.colour-1'].map((s) => document.querySelector(s))"
        item, bar = browser.run(
            f"{colours}.map((e, at) => getComputedStyle(e, at ? null : '::before').backgroundColor)"
        )
        assert item == bar


def test_before_anything_happens_it_says_so(browser: Browser, tmp_path: Path) -> None:
    with LiveRun(labels=LABELS) as run:
        run.still.add("door")
        run.run_status.source("door").turn("opening")
        browser.open(run.web.url)
        shows(browser, ".what", "Opening the source…")
        assert browser.run("document.querySelector('.empty').checkVisibility()")
        assert browser.run("[...document.querySelectorAll('.labels li')].map((e) => e.textContent)") == list(
            LABELS
        )
        assert browser.run(text(".timeline .count")) == "no events"
        run.run_status.source("door").turn("live")
        shows(browser, ".what", "Waiting for a picture…")
        keep(browser, "empty", tmp_path)
        run.label = run.score = None
        run.still.clear()
        shows(browser, ".seen .label", "Nothing")
        assert browser.run("document.querySelector('.seen').matches('.nothing:not(.certain)')")
        assert browser.run(text(".seen .score")) == ""
        run.tell("start")
        browser.wait("!document.querySelector('.empty').checkVisibility()")
        run.run_status.source("door").turn("ended")
        shows(browser, ".what", "Ended")


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_four_sources_are_two_by_two(browser: Browser, size: tuple[int, int]) -> None:
    with LiveRun("door", "garden", "stairs", "attic", size_wh=(320, 240)) as run:
        browser.look(width=size[0], height=size[1])
        browser.open(run.web.url)
        browser.wait("document.querySelectorAll('.veil[data-kind=none]').length === 4")
        corners = browser.run(CORNERS)
        lefts, tops = {left for left, _ in corners}, {top for _, top in corners}
        assert (len(lefts), len(tops)) == (2, 2)
        if size == DESK:
            bottom = browser.run("document.querySelector('.sources').getBoundingClientRect().bottom")
            assert bottom <= DESK[1]
        browser.look(width=DESK[0], height=DESK[1])


def test_why_a_source_is_away_is_read_on_the_smallest_card(browser: Browser) -> None:
    reason = "rtsp://cam/1: no answer in 10 s"
    with LiveRun("door", "garden", "stairs", "attic") as run:
        run.run_status.source("garden").turn("lost", reason)
        run.run_status.source("attic").turn("failed", "attic: no video in it")
        browser.look(width=PHONE[0], height=PHONE[1])
        browser.open(run.web.url)
        shows(browser, ".source:nth-child(2) .reason", reason)
        shows(browser, ".source:nth-child(4) .reason", "attic: no video in it")
        assert browser.run("[...document.querySelectorAll('.reason')].map((e) => e.checkVisibility())") == [
            False,
            True,
            False,
            True,
        ]
        browser.look(width=DESK[0], height=DESK[1])


@pytest.mark.parametrize("whole", [True, False], ids=["came to its end", "stopped"])
def test_the_end_of_a_run_is_no_lost_connection(browser: Browser, tmp_path: Path, whole: bool) -> None:
    with LiveRun("first.mp4", "second.mp4") as run:
        browser.open(run.web.url)
        browser.wait("document.querySelectorAll('.veil[data-kind=none]').length === 2")
        run.run_status.source("first.mp4").turn("ended")
        shows(browser, ".veil .what", "Ended")
        if whole:
            run.run_status.source("second.mp4").turn("ended")
        run.web.close()
        shows(browser, ".link .text", "Run ended")
        notice = browser.run(text(".notice"))
        assert notice.startswith("All sources have come to their end" if whole else "The run has ended on")
        second = ["Ended", "This source has come to its end."] if whole else ["Stopped", "The run has ended."]
        assert (
            browser.run(
                "[...document.querySelectorAll('.source')[1].querySelectorAll('.what, .why')]"
                ".map((e) => e.textContent)"
            )
            == second
        )
        keep(browser, f"ended-{'whole' if whole else 'stopped'}", tmp_path)
        run.web = start_web(WebOptions(f"127.0.0.1:{run.port}"), run.run_status, run.frame_sinks)
        shows(browser, ".link .text", "Connected")
        browser.wait("document.querySelector('.notice').hidden")


def test_a_screen_reader_hears_what_happens_and_whose_picture_it_is(browser: Browser) -> None:
    with LiveRun("door", "attic") as run:
        run.tell("start", "Walk", "attic")
        browser.open(run.web.url)
        browser.wait("document.querySelectorAll('.entry').length === 1")
        assert browser.run(text("#news")) == ""  # what was there before is no news
        assert browser.run("document.querySelector('#news').role") == "status"
        run.tell("start", "Run", "door")
        shows(browser, "#news", "door: Run.")
        run.run_status.source("attic").turn("lost", "no answer")
        lost = run.tell("source_lost", None, "attic")
        shows(browser, "#news", "attic: source lost, no answer.")
        run.tell("source_back", None, "attic", name=lost, end_s=2.0)
        shows(browser, "#news", "attic: source is back.")
        browser.wait("document.querySelector('.picture .score').textContent === '93 %'")
        tree = browser.call("Accessibility.getFullAXTree")["nodes"]
        names = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "button"]
        assert "door: Walk 93 %" in names


def test_an_event_opens_its_clip(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    options = ClipsOptions(path=str(folder), post_s=0.2, pre_s=0.2, rate_hz=10.0, min_free_bytes=0)
    with LiveRun(size_wh=(320, 240)) as run:
        opened = options.open(SinkContext(run.run_status))
        assert opened.events is not None and opened.frames is not None
        run.frame_sinks.add(opened.frames)
        browser.open(run.web.url)
        wait_for(lambda: run.shown > 20)
        name = run.tell("start", sinks=[opened.events])
        shows(browser, ".entry .label", "Walk")
        assert browser.run("document.querySelector('.clip').hidden")
        shown = run.shown
        wait_for(lambda: run.shown > shown + 50)
        run.tell("end", name=name, end_s=time.monotonic(), reason="left", sinks=[opened.events])
        shows(browser, ".clip", "Play clip")
        browser.run("document.querySelector('.clip').click()")
        browser.wait("document.querySelector('dialog[open] video').readyState >= 2")
        assert browser.run("document.querySelector('video').videoWidth") == 320
        assert browser.run("document.querySelector('video').duration") > 0.5
        browser.wait("document.querySelector('video').currentTime > 0")
        assert barriers(browser) == [] and browser.run(SMALL_TARGETS) == []
        keep(browser, "clip", tmp_path)
        browser.run("document.querySelector('dialog button').click()")
        browser.wait("!document.querySelector('dialog[open]')")
        assert browser.errors == []
        gone, saved = run.tell("start", "Run"), run.tell("start", "Run")
        run.run_status.record_clip(Clip(folder / "gone.mp4", (gone,), plays=True))
        run.run_status.record_clip(Clip(folder / "other.avi", (saved,), plays=False))
        browser.wait("document.querySelectorAll('.clip:not([hidden])').length === 3")
        browser.run(f"document.querySelector('.clip[href$={gone}]').click()")
        browser.wait("document.querySelector('dialog .failed').checkVisibility()")
        shows(browser, f".clip[href$={saved}]", "Save clip")


def test_one_of_several_is_enlarged_by_tap_and_keyboard(browser: Browser, tmp_path: Path) -> None:
    with LiveRun("door", "attic/a b") as run:
        browser.open(run.web.url)
        browser.wait("document.querySelectorAll('.veil[data-kind=none]').length === 2")
        browser.run("document.querySelectorAll('.picture')[1].click()")
        browser.wait("document.querySelectorAll('.source')[1].matches('.large')")
        assert browser.run("document.querySelectorAll('.large').length") == 1
        assert browser.run("document.querySelectorAll('.picture')[1].ariaPressed") == "true"
        assert browser.run("document.querySelector('.large .ticks').checkVisibility()")
        widths = browser.run("[...document.querySelectorAll('.picture')].map((e) => e.clientWidth)")
        assert widths[1] > 1.3 * widths[0]
        keep(browser, "large", tmp_path)
        browser.open(browser.run("location.href"))
        browser.wait("document.querySelectorAll('.source')[1]?.matches('.large')")
        press(browser, "Escape")
        browser.wait("!document.querySelector('.large')")
        browser.run("document.querySelector('.picture').focus()")
        press(browser, "Enter")
        browser.wait("document.querySelectorAll('.source')[0].matches('.large')")
        browser.run("history.back()")
        browser.wait("!document.querySelector('.large')")


def test_a_pause_stops_the_pictures_and_nothing_else(browser: Browser) -> None:
    with LiveRun() as run:
        browser.open(run.web.url)
        browser.wait("document.querySelector('.veil[data-kind=none]')")
        browser.run("document.querySelector('#pause').click()")
        shows(browser, ".what", "Paused")
        wait_for(lambda: not viewers_of(run.web.broadcaster, "door"))
        assert len(run.web.clients) == 1
        run.label, run.score = "Run", 0.5
        shows(browser, ".seen .label", "Run")
        browser.run("document.querySelector('#pause').click()")
        browser.wait("document.querySelector('.veil[data-kind=none]')")
        wait_for(lambda: viewers_of(run.web.broadcaster, "door") == 1)


def test_a_device_that_goes_away_is_found_again(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none() -> None:
        """A device without power says nothing."""

    with LiveRun() as run:
        monkeypatch.setattr(run.web, "_push_last_state", none)
        run.tell("start")
        browser.open(run.web.url)
        browser.wait("document.querySelector('.veil[data-kind=none]')")
        shows(browser, ".link .text", "Connected")
        run.web.close()
        shows(browser, ".link .text", "Connection lost")
        shows(browser, ".notice", "The device cannot be reached. Trying again…")
        shows(browser, ".what", "No connection")
        shows(browser, ".state .text", "Unknown")
        keep(browser, "away", tmp_path)
        run.web = start_web(WebOptions(f"127.0.0.1:{run.port}"), run.run_status, run.frame_sinks)
        shows(browser, ".link .text", "Connected")
        browser.wait(
            "document.querySelector('.veil[data-kind=none]') && document.querySelector('.notice').hidden"
        )
        assert browser.run("document.querySelectorAll('.entry').length") == 1


def test_the_token_is_asked_for_once(browser: Browser, tmp_path: Path) -> None:
    with LiveRun(options=WebOptions("127.0.0.1:0", token=TOKEN)) as run:
        browser.open(run.web.url)
        browser.wait("document.activeElement.id === 'token'")
        assert browser.run("document.querySelector('.wrong').hidden")
        assert (
            browser.run(
                "document.querySelector('form').clientWidth - document.querySelector('#token').offsetWidth"
            )
            > 0
        )
        assert barriers(browser) == [] and browser.run(UNNAMED) == []
        browser.run(
            "document.querySelector('#token').value = 'wrong', document.querySelector('form').requestSubmit()"
        )
        browser.wait("location.pathname === '/login' && !document.querySelector('.wrong').hidden")
        keep(browser, "token", tmp_path)
        browser.run(
            f"document.querySelector('#token').value = '{TOKEN}', "
            "document.querySelector('form').requestSubmit()"
        )
        browser.wait("document.querySelector('.veil[data-kind=none]')")
        assert browser.run("location.pathname + document.cookie") == "/"
        browser.open(run.web.url)
        browser.wait("document.querySelector('.veil[data-kind=none]')")
        browser.call("Network.clearBrowserCookies")
        browser.open(f"{run.web.url}?token={TOKEN}")
        browser.wait("document.querySelector('.veil[data-kind=none]')")
        assert browser.run("location.href") == run.web.url
        browser.call("Network.clearBrowserCookies")


def test_who_wants_no_motion_gets_none(browser: Browser) -> None:
    with LiveRun() as run:
        run.run_status.source("door").turn("opening")
        browser.look(width=DESK[0], height=DESK[1], still=True)
        browser.open(run.web.url)
        shows(browser, ".what", "Opening the source…")
        assert browser.run("document.getAnimations().length") == 0
        browser.look(width=DESK[0], height=DESK[1])
        browser.wait("document.getAnimations().length === 1")
