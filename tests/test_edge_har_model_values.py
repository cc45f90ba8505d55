"""JSON that two readers would read differently, or that ends one of them, is refused."""

from __future__ import annotations

import pytest

from edge_har.model.values import MAX_DEPTH, read_json, real, whole


def nested(levels: int) -> bytes:
    return (
        b'{"a":' * (levels // 2)
        + b"[" * (levels - levels // 2)
        + b"]" * (levels - levels // 2)
        + b"}" * (levels // 2)
    )


def test_what_is_read() -> None:
    assert read_json(b'{"a": [1, 2.5, "\\u00fc", null, true, "\\ud83d\\ude00"]}') == {
        "a": [1, 2.5, "ü", None, True, "😀"]
    }
    read_json(nested(MAX_DEPTH))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (nested(MAX_DEPTH + 1), "more than 32 levels"),
        (nested(900), "more than 32 levels"),
        (nested(200_000), "more than 32 levels"),
        (b'{"a": NaN}', "not finite"),
        (b'{"a": [-Infinity]}', "not finite"),
        (b'{"a": 1e999}', "the number 1e999 is not finite"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b'{"a": [["x\\udc00y"]]}', "half of a surrogate pair"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' occurs twice"),
        (b'{"a": "\xed\xa0\x80"}', "utf-8"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "limit"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_json(content)


def test_numbers_are_numbers() -> None:
    assert (whole(3), whole(3.0), real(3)) == (3, 3, 3.0)
    for odd in (True, "3", None, [3], 2.5):
        with pytest.raises(TypeError, match="expected a whole number"):
            whole(odd)
    for odd in (True, "3", None, [3]):
        with pytest.raises(TypeError, match="expected a number"):
            real(odd)
