"""docs/figures/qat.md: what fine-tuning under int8's rounding buys, on one split by groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiments import conversions
from benchmarks.experiments.conversions import ParityRow, row_of
from benchmarks.experiments.entries import PARTS, SETS, TRAINING, ClipSet
from benchmarks.experiments.folds import CACHE, Experiment, Say, prepare_split, run_folds
from benchmarks.measure import provenance
from benchmarks.pages.markdown import markdown_table

PRECISIONS = (("LRCN", "int8"), ("ConvLSTM", "int8-cells16"), ("ConvLSTM", "int8"))
QAT = "+qat"  # after a precision
ALLOWED = ("--allow-drop",)

INTRODUCTION = (
    "Trainings and split are those of the parity page; nothing is pruned. Each model is converted as it is, "
    "and after "
    "`--qat`: 200 steps on its training clips with every tensor rounded as the integers will round it. Each "
    "quantised "
    "stream is compared with its own float model, on windows of groups that neither training nor calibration "
    "saw."
)
NOTES = (
    "*agree*: share of windows, at every offset, with the float model's label, with its 95 % interval over "
    "groups. "
    "*error*: of a probability, mean and largest. *float*, *stream*: shares of windows predicted rightly. "
    "`--qat` also "
    "is 200 steps more of training: *float* says what those did."
)


@dataclass(frozen=True)
class Qat:
    """Everything that the page reports. index_sha256: of the clips."""

    rows: tuple[ParityRow, ...]
    index_sha256: str


def entries_of(options: Sequence[str]) -> list[Experiment]:
    """Every conversion, without and with `--qat`. options: of `edge-har train`."""
    made = []
    for model, precision in PRECISIONS:
        for mark, more in (("", ()), (QAT, ("--qat",))):
            conversion = ("--precision", precision, *ALLOWED, *more)
            name = f"qat {model} {precision}{mark}"
            made.append(Experiment(name, model.lower(), (*TRAINING, *options), conversion=conversion))
    return made


def measure_qat(clips: Path, *, say: Say, jobs: int, cache: Path = CACHE) -> Qat:
    """A row per conversion, made where it is not in the cache. Errors as of `measure_parity`."""
    kind = next((known for known in SETS if known.name == clips.name), ClipSet(clips.name))
    folds = prepare_split(clips, PARTS, cache, say)
    run_folds(folds, conversions.entries_of(kind, converted=False), cache=cache, jobs=jobs, say=say)
    results = run_folds(folds, entries_of(kind.options), cache=cache, jobs=jobs, say=say)
    return Qat(tuple(row_of(clips.name, result) for result in results), folds.sha256)


def page(measured: Qat, command: list[str]) -> str:
    """The page as Markdown."""
    head = ["model", "--precision", "windows", "agree", "error", "float", "stream"]
    table = markdown_table([head, *map(_cells, measured.rows)])
    lines = [
        "# Fine-tuning under int8's rounding",
        "",
        INTRODUCTION,
        "",
        *table,
        "",
        NOTES,
        "",
    ]
    return "\n".join([*lines, *provenance.section(command, measured.index_sha256)])


def _cells(row: ParityRow) -> list[str]:
    agreement, error, right = (row.report[key] for key in ("agreement", "probability_error", "accuracy"))
    low, high = agreement["interval"]
    return [
        row.model,
        row.requested.replace(QAT, " --qat"),
        str(row.report["windows"]),
        f"{row.agreement:.3f} ({low:.2f} to {high:.2f})",
        f"{error['mean_error']:.4f}, {error['max_error']:.3f}",
        *(f"{right[way]['windows']['share']:.3f}" for way in ("float", "stream")),
    ]
