"""The table of fine-tuning under rounding: what is converted, and what the page reports of it."""

from benchmarks.experiments.conversions import ParityRow
from benchmarks.pages.qat import Qat, entries_of, page


def test_each_conversion_is_made_without_and_with_qat_of_one_training() -> None:
    entries = entries_of(("--interval-ms", "100"))
    assert len({entry.name for entry in entries}) == len(entries)
    for plain, tuned in zip(entries[::2], entries[1::2], strict=True):
        assert (plain.model, plain.options) == (tuned.model, tuned.options)
        assert plain.options[-2:] == ("--interval-ms", "100")
        assert tuned.conversion == (*plain.conversion, "--qat")


def test_the_page_gives_agreement_error_and_accuracy() -> None:
    report = {
        "windows": 254,
        "agreement": {"share": 0.98125, "interval": [0.91, 1.0]},
        "probability_error": {"mean_error": 0.00123, "max_error": 0.0456},
        "accuracy": {"float": {"windows": {"share": 0.5}}, "stream": {"windows": {"share": 0.25}}},
    }
    row = ParityRow("some", "LRCN", "int8+qat", "int8", 0.4, report, None)
    text = page(Qat((row,), "0" * 64), ["python", "-m", "benchmarks", "qat"])
    assert "| LRCN | int8 --qat | 254 | 0.981 (0.91 to 1.00) | 0.0012, 0.046 | 0.500 | 0.250 |" in text
    assert "python -m benchmarks qat" in text
