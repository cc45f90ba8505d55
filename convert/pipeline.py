"""`convert`: a trained model to a bundle on disk, through every stage, or to one error and no bundle."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.compress.finetune import fine_tuned, fine_tuning_of
from convert.compress.prune import MOST_PRUNED, STEPS, prune, tfmot
from convert.compress.qat import qat
from convert.compress.shrink import MOST_SHRUNK, shrink
from convert.inputs.clips import Calibration, choose_calibration
from convert.inputs.keras_file import SUFFIXES, check_form
from convert.inputs.subject import FileFacts, SourceModel, subject_of_file, subject_of_run
from convert.package.card import model_card
from convert.package.report import write_report
from convert.precisions import AUTO, CALIBRATED, INT8, NAME_OF, PRECISIONS
from convert.tflite.build import FLOAT_CLIP, PLACEHOLDER_CARD, Built, GraphBuilder
from convert.tflite.flatbuffer import FLOAT_MARK, kernels
from convert.tflite.quantise import TIMEOUT_S
from convert.tflite.search import NoRouteError, Trial, TrialResult, choose
from convert.verify import parity
from convert.verify.compactness import Variant, compactness
from convert.verify.golden import TOLERANCE, choose_golden
from convert.verify.parity import MAX_DROP_POINTS, Comparison, Limits, Reference, Verdict
from convert.verify.runtimes import check_promised, interpreters, runtimes_that_agree
from convert.verify.structure import check_structure
from edge_har.errors import BundleError, MisuseError
from edge_har.model.bundle import (
    GATE,
    MODEL_CARD,
    SUFFIX,
    Bundle,
    open_bundle,
    pack_bundle,
    read_bundle,
    write_bundle,
)
from edge_har.model.interpreter import runtime_name
from edge_har.model.manifest import SLOW_SOURCE, Manifest, Smoothing
from edge_har.model.recognizer import check_golden
from train.data.batches import CachedClip
from train.tf import keras, tf

Report = Callable[[str], None]

CODE_LICENCE = "Apache-2.0"
UNSTATED = "not stated; ask whoever made them"
HELD_OUT = "held-out groups"
OUTPUTS_ONLY = "all groups trained on: outputs compared, accuracy not measured"
UNLABELLED = "clips without labels: outputs compared, accuracy not measured"
PRUNE = 0.5
NOT_A_COMMIT = "unknown"


@dataclass(frozen=True)
class Options:
    """How to convert. Raises MisuseError for what cannot be.

    shrink: share of filters and units removed. prune: share of weights set to zero (0: none; default PRUNE for a RUN, 0
    for a model file). qat: train under int8's rounding. fine_tune_steps: batches that the model learns on after each of
    these. control: measure what they saved and cost, beside a dense model fine-tuned just as long. precision: one of
    convert.modes.PRECISIONS, or AUTO; default int8, or int8 weights for a model with states. file: what a model file
    does not say.

    name: default the bundle's file name. release: default one more than that of the bundle to be replaced, else 1.
    golden: folder of the user's own golden clips. runtimes: Python interpreters whose TFLite runtimes to try and list.
    metrics, protocol: figures measured elsewhere (leave-one-group-out) that stand in the manifest beside the gate's.
    data, cache: where the RUN's clips are now, and are kept decoded. min_agreement (default: by precision),
    max_drop_points: the gate's limits. allow_drop: write the bundle although it breaks them, and say so in it.
    """

    prune: float | None = None
    shrink: float = 0.0
    qat: bool = False
    fine_tune_steps: int = STEPS
    control: bool = True
    precision: str | None = None
    name: str | None = None
    version: str | None = None
    release: int | None = None
    golden: Path | None = None
    runtimes: tuple[Path, ...] = ()
    smoothing: Smoothing = field(default_factory=Smoothing)
    temperature: float = 1.0
    reject_threshold: float | None = None
    weights_terms: str = UNSTATED
    data_terms: str = UNSTATED
    metrics: Mapping[str, Any] = field(default_factory=dict)
    protocol: str | None = None
    file: FileFacts = field(default_factory=FileFacts)
    data: Path | None = None
    cache: Path | None = None
    timeout_s: float = TIMEOUT_S
    min_agreement: float | None = None
    max_drop_points: float = MAX_DROP_POINTS
    allow_drop: bool = False

    def __post_init__(self) -> None:
        if self.prune is not None and not 0 <= self.prune <= MOST_PRUNED:
            raise MisuseError(f"the pruned share must be 0 to {MOST_PRUNED}, got {self.prune}")
        if self.fine_tune_steps < 1:
            raise MisuseError(f"pruning needs 1 step of fine-tuning or more, got {self.fine_tune_steps}")
        if not 0 <= self.shrink <= MOST_SHRUNK:
            raise MisuseError(f"the share of units removed must be 0 to {MOST_SHRUNK}, got {self.shrink}")
        if self.precision not in (None, AUTO, *PRECISIONS):
            raise MisuseError(
                f"precision must be one of {', '.join((AUTO, *PRECISIONS))}, got {self.precision!r}"
            )
        if self.release is not None and self.release < 1:
            raise MisuseError(f"release must be 1 or more, got {self.release}")
        Limits(self.min_agreement or 0.0, self.max_drop_points)  # it checks itself

    def pruned_share(self, subject: SourceModel) -> float:
        """The share to prune: what was asked for, else PRUNE for our own trainings and nothing of a model file."""
        if self.prune is not None:
            return self.prune
        return PRUNE if subject.run is not None else 0.0


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert a RUN folder or a model file (.h5, .keras) into the bundle `out`; see `convert_run`, `convert_file`.

    Raises ConversionError for a file or folder of another form, else as those.
    """
    place = Path(source)
    if place.suffix.lower() in SUFFIXES and not place.is_dir():
        return convert_file(place, out, options, report=report)
    check_form(place)
    return convert_run(place, out, options, report=report)


def convert_file(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert somebody else's Keras 2 model, with `options.file` as what its file does not say.

    As `convert_subject`, with the errors of `subject_of_file` too.
    """
    options, say = options or Options(), report or _to_stderr
    next_release(Path(out), options)
    if options.data is not None:
        raise MisuseError("--data is for a RUN; name the clips of a model file with --calibration DIR")
    subject = subject_of_file(Path(path), options.file, options.cache, say)
    return convert_subject(subject, out, options, report=say)


def convert_run(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert a finished RUN into the bundle `out` (`NAME.ehar`), with `NAME.report.json` beside it.

    As `convert_subject`, with the errors of `subject_of_run` too; nothing is loaded for an `out` that cannot be.
    """
    options, say = options or Options(), report or _to_stderr
    next_release(Path(out), options)
    if options.file != FileFacts():
        raise MisuseError(
            "labels, input range, colour, interval and calibration are for a model file; a RUN knows its own"
        )
    return convert_subject(
        subject_of_run(Path(run_dir), options.data, options.cache, say), out, options, report=say
    )


def convert_subject(
    subject: SourceModel,
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert what any source gave into the bundle `out` (`NAME.ehar`), with `NAME.report.json` beside it.

    report: takes lines of progress; default stderr. Returns the report. Raises an EdgeHarError, one line, and leaves
    no bundle, when a stage fails or the parity gate does (ParityError; the report then says `failed` and the figures).
    """
    options, say, path = options or Options(), report or _to_stderr, Path(out)
    release = next_release(path, options)
    calibration = choose_calibration(
        subject.material, subject.temporal, synthetic_share=subject.synthetic_share
    )
    original, subject = subject, changed_subject(subject, calibration, options, say)
    say("making the graphs")
    log, stem = path.with_suffix(".convert.log"), path.with_suffix("")
    with suppress(OSError):  # whoever writes to it says what is wrong
        log.unlink()
    workshop, references = workshop_of(subject, calibration, options, log), references_of(subject)
    try:
        built, trials = build_subject(workshop, subject, references, options, say)
    except NoRouteError as error:
        tried = [trial.to_json() for trial in error.trials]
        write_report(stem, {"name": options.name or path.stem, "failed": str(error), "trials": tried})
        raise
    found: dict[str, Any] = {"trials": [trial.to_json() for trial in trials]} if trials else {}
    found["structure"] = checked_structure(built)
    say("checking parity")
    bundle = built.bundle()
    comparisons = {
        name: parity.compare(reference, bundle, float_clip=workshop.float_clip)
        for name, reference in references.items()
    }
    gated = {name: parity.figures(comparison) for name, comparison in comparisons.items()}
    for name, figures in gated.items():
        say(_line(name, figures))
    slow = parity.slow_source(list(references.values())[-1], bundle)
    if slow is not None:
        found[SLOW_SOURCE] = slow
        say(_slow_line(slow))
    judged = comparisons[list(comparisons)[-1]]
    limits = limits_of(subject, built.manifest, options)
    verdict = parity.gate(judged, limits, allow_drop=options.allow_drop, searched=options.precision == AUTO)
    if not verdict.passed:
        named = named_manifest(built, options, release, path)
        write_report(stem, _report(named, built.files, built, gated, verdict, judged) | found)
        verdict.check()
    for breach in verdict.allowed:
        say(f"allowed by --allow-drop: {breach}")
    if options.control and subject is not original:
        found["compactness"] = compare_with_control(original, subject, built, calibration, options, log, say)
    measured = gated if slow is None else {**gated, SLOW_SOURCE: slow}
    manifest, files = _finish(built, subject, calibration, measured, verdict, options, release, path, say)
    said = _report(manifest, files, built, gated, verdict, judged) | found
    digest = write_bundle(path, manifest, files)
    write_report(stem, said)
    say(f"wrote {path}: {path.stat().st_size} bytes, sha256 {digest}")
    return said


def changed_subject(
    subject: SourceModel, calibration: Calibration, options: Options, say: Report
) -> SourceModel:
    """The subject with its model shrunk, pruned and trained under int8's rounding, as asked; itself where nothing is.

    Raises MisuseError where there is nothing to fine-tune on.
    """
    share, steps = options.pruned_share(subject), options.fine_tune_steps
    if not (options.shrink or share or options.qat):
        return subject
    model, tuning = subject.model, fine_tuning_of(subject, steps)
    if options.shrink:
        say(f"shrinking {options.shrink:.0%}, fine-tuning {steps} steps")
        model = shrink(model, options.shrink, tuning, report=say)
    if share:
        say(f"pruning {share:.0%}, fine-tuning {steps} steps")
        model = prune(model, share, tuning, report=say)
    if options.qat:
        say(f"quantisation-aware training, {steps} steps")
        cell_bits = 8 if options.precision == INT8 else 16
        model = qat(model, tuning, calibration=calibration.pixels, cell_bits=cell_bits, report=say)
    return replace(subject, model=model)


def workshop_of(subject: SourceModel, calibration: Calibration, options: Options, log: Path) -> GraphBuilder:
    """Where the graphs of a subject are made."""
    return GraphBuilder(
        subject.model,
        kind=subject.kind,
        labels=subject.labels,
        frame=subject.frame,
        temporal=subject.temporal,
        calibration=calibration.pixels,
        log=log,
        timeout_s=options.timeout_s,
    )


def references_of(subject: SourceModel) -> dict[str, Reference]:
    """By part, the last of which the gate judges: validation for the eye, test for the gate; without held-out clips,
    outputs on all of them.
    """
    material = subject.material
    held_out = {"validation": material.validation, "test": material.test}
    found = {name: _reference(subject, clips, held_out=True) for name, clips in held_out.items() if clips}
    return found or {"outputs_only": _reference(subject, material.training, held_out=False)}


def _reference(subject: SourceModel, clips: Sequence[CachedClip], *, held_out: bool) -> Reference:
    return Reference(
        subject.model,
        clips,
        subject.labels,
        subject.temporal,
        labelled=subject.labelled,
        held_out=held_out,
        groups_known=subject.groups_known,
    )


def build_subject(
    workshop: GraphBuilder,
    subject: SourceModel,
    references: Mapping[str, Reference],
    options: Options,
    say: Report,
) -> tuple[Built, list[Trial]]:
    """The graphs in the precision asked for, or the fastest that passes on validation clips, with what was tried.

    references: as of `references_of`. Raises ConversionError, and NoRouteError where no precision passes.
    """
    if options.precision != AUTO:
        return workshop.forced(options.precision, beside=[FLOAT_CLIP]), []
    seen = references.get("validation") or references.get("outputs_only")
    reference = seen or _reference(subject, subject.material.training, held_out=False)

    def validate(bundle: Bundle) -> TrialResult:
        comparison = parity.compare(reference, bundle)
        limits = limits_of(subject, bundle.manifest, options)
        figures, verdict = parity.figures(comparison), parity.gate(comparison, limits, searched=True)
        return TrialResult(
            figures["agreement"]["share"],
            figures["probability_error"]["max_error"],
            parity.drop_points(comparison) if comparison.accuracy_counts else None,
            "; ".join(verdict.breaches) or None,
        )

    return choose(workshop, validate, say)


def limits_of(subject: SourceModel, manifest: Manifest, options: Options) -> Limits:
    """What the gate lets pass."""
    return Limits.of(
        manifest,
        foreign=subject.run is None,
        min_agreement=options.min_agreement,
        max_drop_points=options.max_drop_points,
    )


def checked_structure(built: Built) -> dict[str, Any]:
    """What the made files are, after the checks that every one must pass. Raises ConversionError."""
    forms = {file: built.route.forms[part] for part, file in built.manifest.graphs.by_part.items()}
    kept_float = {
        file: sum(count for name, count in built.operators[file].items() if name.endswith(FLOAT_MARK))
        for file, form in forms.items()
        if form.float_layers
    }
    precisions = {file: NAME_OF[form.mode] for file, form in forms.items()}
    return check_structure(built.manifest, built.files, precisions, float_operators=kept_float).to_json()


def compare_with_control(
    original: SourceModel,
    changed: SourceModel,
    built: Built,
    calibration: Calibration,
    options: Options,
    log: Path,
    say: Report,
) -> dict[str, Any]:
    """What the changes to the model saved and cost, beside the original and a dense model fine-tuned just as long."""
    stages = sum(map(bool, (options.shrink, options.pruned_share(original), options.qat)))
    say(f"the dense control, {stages} x {options.fine_tune_steps} steps")
    dense = original.model
    for _ in range(stages):
        dense = fine_tuned(dense, fine_tuning_of(original, options.fine_tune_steps), report=say)
    names = [f"shrunk {options.shrink:.0%}"] * bool(options.shrink)
    names += [f"pruned {share:.0%}" for share in (options.pruned_share(original),) if share]
    names += ["trained under int8's rounding"] * options.qat
    variants = []
    for name, model in (("original", original.model), ("dense control", dense)):
        made = workshop_of(replace(original, model=model), calibration, options, log).build(built.route)
        variants.append(Variant(name, model, made))
    variants.append(Variant(", ".join(names), changed.model, built))
    clips = original.material.test if original.labelled else ()
    said = compactness(variants, clips, groups_known=original.groups_known)
    for line in said["says"]:
        say(line)
    return said


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def next_release(path: Path, options: Options) -> int:
    """The release to write; raises MisuseError or BundleError, before any work, for a path that cannot be written."""
    if path.suffix != SUFFIX:
        raise MisuseError(f"{path}: a bundle's name ends with {SUFFIX}")
    if not path.parent.is_dir():
        raise MisuseError(f"{path}: no such folder")
    if options.release is not None:
        return options.release
    if not path.exists():
        return 1
    try:
        return open_bundle(path).manifest.release + 1
    except BundleError as error:
        raise BundleError(f"{error}; remove it, or say --release") from error


def _line(name: str, figures: Mapping[str, Any]) -> str:
    agreement, errors = figures["agreement"], figures["probability_error"]
    low, high = agreement["interval"]
    line = (
        f"{name}: stream agrees with float on {agreement['share']:.3f} of {figures['windows']} windows "
        f"(95 % {low:.3f} to {high:.3f}), probabilities differ by {errors['mean_error']:.4f}, at most "
        f"{errors['max_error']:.4f}"
    )
    if "accuracy" in figures:
        ways = figures["accuracy"]
        line += "; clips right: " + ", ".join(f"{way} {ways[way]['clips']['share']:.3f}" for way in ways)
    return line


def _slow_line(slow: Mapping[str, Any]) -> str:
    usual, *lent = slow["window_accuracy"].items()
    shares = ", ".join(f"{share:.3f} where each frame serves {ticks}" for ticks, share in lent)
    return f"windows right: {usual[1]:.3f} where each tick has its own frame, {shares} (a slower camera)"


def named_manifest(built: Built, options: Options, release: int, path: Path) -> Manifest:
    """The manifest with what the user calls and sets it."""
    return replace(
        built.manifest,
        name=options.name or path.stem,
        version=options.version or f"{release}.0",
        release=release,
        smoothing=options.smoothing,
        temperature=options.temperature,
        reject_threshold=options.reject_threshold,
    )


def _finish(
    built: Built,
    subject: SourceModel,
    calibration: Calibration,
    measured: Mapping[str, Any],
    verdict: Verdict,
    options: Options,
    release: int,
    path: Path,
    say: Report,
) -> tuple[Manifest, dict[str, bytes]]:
    named = named_manifest(built, options, release, path)
    golden, strips, shows = choose_golden(replace(built, manifest=named).bundle(), options.golden)
    manifest = replace(
        named,
        golden=tuple(golden),
        golden_tolerance=TOLERANCE,
        metrics={**measured, **options.metrics, GATE: verdict.to_json()},
        protocol=options.protocol or _protocol(subject),
        calibration=(
            {"clips": len(calibration.pixels), "sha256": calibration.sha256, "names": list(calibration.names)}
            if any(form.mode in CALIBRATED for form in built.route.forms.values())
            else {}
        ),
        runtimes=(runtime_name(),),
        provenance=provenance(subject, options, built),
        licence={"code": CODE_LICENCE, "weights": options.weights_terms, "data": options.data_terms},
    )
    files = {**built.files, **strips}
    content, _ = pack_bundle(manifest, {**files, MODEL_CARD: PLACEHOLDER_CARD})
    check_golden(read_bundle(content))
    others = runtimes_that_agree(content, interpreters(options.runtimes, say), say)
    check_promised(manifest, others)
    manifest = replace(manifest, runtimes=tuple(dict.fromkeys((*manifest.runtimes, *others))))
    return manifest, {**files, MODEL_CARD: model_card(manifest, shows)}


def _protocol(subject: SourceModel) -> str:
    """How the gate's figures were measured."""
    if not subject.labelled:
        return UNLABELLED
    return HELD_OUT if subject.material.validation or subject.material.test else OUTPUTS_ONLY


def provenance(subject: SourceModel, options: Options, built: Built) -> dict[str, Any]:
    """Where a bundle comes from, the same wherever and whenever it is made: no clock, no path."""
    share = options.pruned_share(subject)
    command = subject.command + (f" --shrink {options.shrink:g}" if options.shrink else "")
    command += f" --prune {share:g}" + " --qat" * options.qat
    if share or options.shrink or options.qat:
        command += f" --fine-tune-steps {options.fine_tune_steps}"
    said: dict[str, Any] = {
        **_commit(),
        "command": command + (f" --precision {options.precision}" if options.precision else ""),
        **subject.provenance,
        "versions": {
            "tensorflow": tf.__version__,
            "tf_keras": keras.__version__,
            "tfmot": tfmot.__version__,
            "numpy": np.__version__,
        },
    }
    if options.shrink:
        said["shrunk_share"] = options.shrink
    if options.qat:
        said["quantisation_aware_steps"] = options.fine_tune_steps
    if share:
        said |= {"pruned_share": share, "zero_share": round(_zero_share(built), 4)}
    return said


def _zero_share(built: Built) -> float:
    """Over all kernels that the stream runs, as exported."""
    values = [
        kernel.values for name in built.manifest.graphs.of_stream for kernel in kernels(built.files[name])
    ]
    return float(sum((v == 0).sum() for v in values) / sum(v.size for v in values))


def _commit() -> dict[str, str]:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        commit, date = git("log", "-1", "--format=%H %cI").split()
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError, ValueError):
        return {"commit": NOT_A_COMMIT}
    return {"commit": commit + (" with changes" if changed else ""), "commit_date": date}


def _report(
    manifest: Manifest,
    files: Mapping[str, bytes],
    built: Built,
    gated: Mapping[str, Any],
    verdict: Verdict,
    judged: Comparison,
) -> dict[str, Any]:
    """What NAME.report.json and NAME.report.html say, also of a bundle that the gate refused."""
    return {
        "name": manifest.name,
        "release": manifest.release,
        "kind": manifest.kind,
        "precision": manifest.precision,
        "failed": None if verdict.passed else "; ".join(verdict.breaches),
        GATE: verdict.to_json(),
        "parity": dict(gated),
        "details": parity.details(judged),
        "rebuild_error": float(np.float32(built.rebuild_error)),
        "zero_share": built.zero_shares(),
        "operators": {name: dict(counts) for name, counts in built.operators.items()},
        "bytes": {name: len(content) for name, content in sorted(files.items())},
        "zipped_bytes": {name: len(zlib.compress(content, 9)) for name, content in sorted(files.items())},
        "golden": [{"file": g.file, "label": g.label} for g in manifest.golden],
        "calibration": dict(manifest.calibration),
        "runtimes": list(manifest.runtimes),
        "provenance": dict(manifest.provenance),
    }
