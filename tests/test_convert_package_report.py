"""The report: whole, self-contained, escaped, and saying first what matters."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_har.errors import DataError
from tests.helpers.accessible import SCROLLING, barriers
from tests.helpers.browser import Browser
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.package import report
from convert.verify.comparison import Comparison
from convert.verify.figures import details, figures
from convert.verify.gate import Limits, gate

PHONE_WH = (390, 844)
LABELS = ("Jump & run", "Sit <still>", "Walk")
CLIPS, WINDOWS = 12, 20
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of `style`; open and closed tags must pair."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + " "

    @property
    def titles(self) -> list[str]:
        return [tag for tag, _ in self.tags if tag == "h2"]


def comparison(changed: int = 3) -> Comparison:
    random = np.random.default_rng(1)
    truth = np.arange(CLIPS) % len(LABELS)
    place = np.repeat(np.arange(CLIPS), WINDOWS)
    logits = 3 * np.eye(len(LABELS))[truth[place]] + random.normal(0, 0.8, (len(place), len(LABELS)))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    moved = np.exp(logits + random.normal(0, 0.08, logits.shape))
    moved /= moved.sum(axis=1, keepdims=True)
    moved[:changed] = np.roll(moved[:changed], 1, axis=1)
    return Comparison(
        scores.astype(np.float32),
        moved.astype(np.float32),
        moved.astype(np.float32),
        place,
        np.ones(len(place), bool),
        truth,
        tuple(f"person-{clip % 4}" for clip in range(CLIPS)),
        tuple(f"clip <{clip:02d}> & \u0645.avi" for clip in range(CLIPS)),
        LABELS,
        scores.astype(np.float32),
    )


def record_of(made: Comparison, *, allow_drop: bool = False, **limits: Any) -> dict[str, Any]:
    verdict = gate(made, Limits(**limits), allow_drop=allow_drop)
    return {
        "name": "walk</title><script>alert(1)</script>",
        "release": 3,
        "kind": "lrcn",
        "precision": "int8",
        "failed": verdict.line,
        "gate": verdict.to_json(),
        "parity": {"validation": figures(made), "test": figures(made)},
        "details": details(made),
        "operators": {"clip.tflite": {"CONV_2D": 4, "SOFTMAX (float)": 1}, "head.tflite": {"SOFTMAX": 1}},
        "bytes": {"MODEL_CARD.md": 12, "clip.tflite": 85000, "head.tflite": 20123},
        "zipped_bytes": {"clip.tflite": 70000, "head.tflite": 15000},
        "zero_share": {"head.tflite": {"dense [3, 32]": 0.5, "lstm [128, 32]": 0.52}},
        "calibration": {"clips": 100, "sha256": "ab" * 32, "names": ["<a>.avi", "b.avi"]},
        "runtimes": ["ai-edge-litert 2.3.0"],
        "trials": [
            {"route": "int8", "agreement": 0.95, "ms": 0.21, "refused": "agreement below 0.97"},
            {"route": "int8-weights", "agreement": 0.993, "ms": 0.28, "refused": None},
        ],
        "structure": {"flex": False, "custom operators": 0},
        "provenance": {"command": "edge-har convert RUN --out NAME.ehar", "versions": {"numpy": "2.4"}},
        "rebuild_error": 1e-7,
    }


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return record_of(comparison())


@pytest.fixture(scope="module")
def page(record: dict[str, Any]) -> Page:
    return Page(report.html(record))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_and_a_keyboard_are_enough_to_read_it(
    record: dict[str, Any], tmp_path: Path, dark: bool
) -> None:
    report.write_report(tmp_path / "model", record)
    with Browser() as browser:
        browser.look(width=PHONE_WH[0], height=PHONE_WH[1], dark=dark)
        browser.open((tmp_path / "model.report.html").as_uri())
        assert browser.run("document.documentElement.scrollWidth") == PHONE_WH[0]
        assert browser.run(SCROLLING) > 1  # wide tables, each in its frame
        assert barriers(browser) == []
        names = browser.run("[...document.querySelectorAll('[role=region]')].map((e) => e.ariaLabel)")
        assert len(names) == len(set(names)) > 5
        assert browser.run("document.querySelectorAll('main').length") == 1


def test_both_files_are_written_whole(record: dict[str, Any], tmp_path: Path) -> None:
    report.write_report(tmp_path / "my.model", record)
    assert {path.name for path in tmp_path.iterdir()} == {"my.model.report.json", "my.model.report.html"}
    assert json.loads((tmp_path / "my.model.report.json").read_text()) == record
    assert (tmp_path / "my.model.report.html").read_text().startswith("<!DOCTYPE html>\n<html")
    with pytest.raises(DataError, match="cannot be written"):
        report.write_report(tmp_path / "absent" / "x", record)


def test_the_page_refers_to_nothing_outside(record: dict[str, Any], page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "img", "object", "base"}
        assert not attributes.keys() & {"href", "src", "srcset", "action", "data"}
        assert not any(name.startswith("on") for name in attributes)
    text = report.html(record)
    assert "@import" not in text and "url(" not in text and "://" not in text


def test_names_are_text_not_html(page: Page) -> None:
    assert "script" not in {tag for tag, _ in page.tags}
    for shown in (*LABELS, "walk</title><script>alert(1)</script>", "clip <00> & \u0645.avi", "<a>.avi"):
        assert shown in page.text
    odd = report.html({"name": "a\x00b\ud800\u200d"})
    assert "a\ufffdb\ufffd\u200d" in odd
    odd.encode()


def test_the_verdict_comes_first(page: Page) -> None:
    body = page.text.partition("lrcn int8")[2]
    assert body.strip().startswith("Passed: the quantised stream gives the float model's prediction on 98.")
    assert "of 240 windows, and is correct on" in body


def test_a_refused_one_says_why() -> None:
    refused = record_of(comparison(changed=30))
    text = Page(report.html(refused)).text
    assert text.index("Refused: no bundle was written.") < text.index("The parity gate")
    for breach in refused["gate"]["breaches"]:
        assert breach in text
    assert "broken" in text and "kept" in text


def test_an_allowed_drop_does_not_look_like_a_pass() -> None:
    text = Page(report.html(record_of(comparison(changed=30), allow_drop=True))).text
    assert "--allow-drop was given" in text and "Passed" not in text


def test_every_section_is_there(page: Page) -> None:
    for title in (
        "The parity gate",
        "By label",
        "Confusion",
        "Worst clips",
        "Probabilities",
        "Sizes",
        "Operators",
        "Precisions tried",
        "Structure of the files",
        "Calibration",
        "Runtimes",
        "Where it comes from",
        "Also measured",
    ):
        assert title in page.text
    for figure in ("Float TFLite whole clip", "85,000", "70,000", "50% to 52%", "agreement below 0.97"):
        assert figure in page.text
    assert [attributes["class"] for tag, attributes in page.tags if tag == "path"][-1] == "dots"


def test_absent_sections_are_left_out() -> None:
    page = Page(report.html({"name": "small", "release": 1}))
    assert page.titles == [] and "Passed." in page.text


def test_outputs_alone_have_no_accuracy() -> None:
    unlabelled = replace(comparison(), labelled=False)
    text = Page(report.html(record_of(unlabelled))).text
    assert "Accuracy was not measured on them." in text and "not known" in text
    assert "Confusion" not in text and "Accuracy lost" not in text


def test_no_stage_says_the_same_twice_or_nothing(record: dict[str, Any], page: Page) -> None:
    """A section that a later stage adds is shown without a change here."""
    grown = Page(report.html(record | {"new_stage": {"speed_up": 1.5, "of": ["a", "b"]}}))
    assert len(grown.titles) == len(page.titles)
    assert "new stage" in grown.text and "speed up" in grown.text and "a, b" in grown.text
