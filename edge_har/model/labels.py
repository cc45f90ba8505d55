"""What a label may be: the one rule of clips, splits, trainings, conversions and bundles."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from edge_har.errors import EdgeHarError

MIN_LABELS = 2  # with one there is nothing to tell apart
MAX_LABELS = 1_000  # each is a number in every prediction; the largest public sets of actions have 700
MAX_LABEL_CHARACTERS = 64  # a label is a column of a table, a topic and a line of a page

# Characters without any width that str.isprintable lets pass: fillers, joiners, selectors of a variant.
INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)


def composed(text: str) -> str:
    """`text` with each accented letter as one character (Unicode's NFC); some file systems take it apart."""
    return unicodedata.normalize("NFC", text)


def check_label(label: str, error: type[EdgeHarError]) -> None:
    """Raise `error` unless `label` may be one: 1 to MAX_LABEL_CHARACTERS visible characters and single
    blanks between them, composed (NFC).
    """
    if not label:
        raise error("a label must not be empty")
    if len(label) > MAX_LABEL_CHARACTERS:
        raise error(
            f"a label has {MAX_LABEL_CHARACTERS} characters at most, {label[:20]!r}... has {len(label)}"
        )
    if not label.isprintable() or not INVISIBLE.isdisjoint(label):
        raise error(f"label {label!a} holds a control character, or one that does not show; take it out")
    if label != " ".join(label.split()):
        raise error(f"label {label!r} begins or ends with a blank, or has two in a row; take it out")
    if label != composed(label):
        raise error(f"label {label!a} has accents apart from their letters; write it composed (NFC)")


def check_distinct(labels: Sequence[str], error: type[EdgeHarError]) -> None:
    """Raise `error` where two of `labels` are equal, or differ only in case, blanks or in how Unicode writes
    them: whoever reads them takes them for one.
    """
    first: dict[str, str] = {}
    for label in labels:
        key = _key(label)
        if key in first:
            raise error(_alike(first[key], label))
        first[key] = label


def check_labels(labels: Sequence[str], error: type[EdgeHarError]) -> None:
    """Raise `error` unless `labels` are MIN_LABELS to MAX_LABELS labels that nobody takes for each other."""
    if len(labels) == 1:
        raise error(f"only one label ({labels[0]}); recognition needs {MIN_LABELS} or more")
    if not MIN_LABELS <= len(labels) <= MAX_LABELS:
        raise error(f"expected {MIN_LABELS} to {MAX_LABELS:,} labels, got {len(labels)}")
    check_distinct(labels, error)
    for label in labels:
        check_label(label, error)


def _key(label: str) -> str:
    folded = unicodedata.normalize("NFKC", label).casefold()
    visible = "".join(c for c in folded if c not in INVISIBLE and unicodedata.category(c) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFKC", " ".join(visible.split()))


def _alike(one: str, other: str) -> str:
    if one == other:
        return f"label {one!r} occurs twice"
    # Where it is the encoding that differs, both look the same unless it is spelt out.
    shown = (ascii(one), ascii(other)) if composed(one) == composed(other) else (repr(one), repr(other))
    return f"labels {shown[0]} and {shown[1]} differ only in case, blanks or encoding: give both one name"
