"""One rule says what a label may be, and which two would be taken for each other."""

from __future__ import annotations

import pytest

from edge_har.errors import BundleError, DataError, MisuseError
from edge_har.model.labels import MAX_LABELS, check_label, check_labels, composed


@pytest.mark.parametrize(
    "label", ["Run", "Gehen über", "走る", "x" * 64, "é", "up/down", "Wave_One-Hand (2)"]
)
def test_a_label_is_any_text_that_shows(label: str) -> None:
    check_label(label, DataError)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("", "must not be empty"),
        ("x" * 65, "64 characters at most, 'xxxxxxxxxxxxxxxxxxxx'... has 65"),
        ("a\x1b[31m", r"'a\\x1b[31m' holds a control character"),
        ("a\nb", "holds a control character"),
        ("a\u200bb", r"'a\\u200bb' holds a control character, or one that does not show"),
        ("a\u200d", "does not show"),
        ("\ufeffa", "does not show"),
        ("a\u202eb", "does not show"),
        ("a\u00adb", "does not show"),
        ("a\u3164", "does not show"),
        ("a\ufe0f", "does not show"),
        ("a\u034fb", "does not show"),
        ("a\u00a0b", "does not show"),
        ("a\ud800", "does not show"),
        ("Bend ", "begins or ends with a blank"),
        (" Bend", "begins or ends with a blank"),
        ("Bend  over", "two in a row"),
        ("e\u0301", r"'e\\u0301' has accents apart from their letters"),
    ],
)
def test_a_label_that_cannot_be(label: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        check_label(label, DataError)
    assert says.replace("\\\\", "\\") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pair",
    [
        ("Walk", "walk"),
        ("Bend", "Bend "),
        ("Bend over", "Bend  over"),
        ("\u00e9", "e\u0301"),
        ("Run", "Ｒｕｎ"),
        ("Straße", "STRASSE"),
        ("Run", "Ru\u200bn"),
        ("Bend over", "Bend\u00a0over"),
    ],
)
def test_two_labels_that_people_take_for_one(pair: tuple[str, str]) -> None:
    for labels in (pair, pair[::-1], ("Other", *pair)):
        with pytest.raises(MisuseError, match="differ only in case, blanks or encoding: give both one name"):
            check_labels(labels, MisuseError)


def test_what_looks_the_same_is_spelt_out() -> None:
    with pytest.raises(DataError) as caught:
        check_labels(("\u00e9", "e\u0301"), DataError)
    assert r"labels '\xe9' and 'e\u0301' differ" in str(caught.value)


def test_how_many_labels_there_may_be() -> None:
    check_labels(("Run", "Walk"), BundleError)
    check_labels([f"label {number}" for number in range(MAX_LABELS)], BundleError)
    with pytest.raises(BundleError, match=r"only one label \(Run\); recognition needs 2 or more"):
        check_labels(("Run",), BundleError)
    for labels in ((), [f"label {number}" for number in range(MAX_LABELS + 1)]):
        with pytest.raises(BundleError, match=f"expected 2 to 1,000 labels, got {len(labels)}"):
            check_labels(labels, BundleError)
    with pytest.raises(BundleError, match="label 'Run' occurs twice"):
        check_labels(("Run", "Walk", "Run"), BundleError)


def test_what_a_file_system_took_apart_is_put_together() -> None:
    assert composed("e\u0301") == "\u00e9"
