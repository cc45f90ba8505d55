"""`convert`: a trained model to a bundle on disk, through every stage, or to one error and no bundle."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from convert.compress.finetune import MOST_PRUNED, STEPS, fine_tuned, fine_tuning_of
from convert.compress.qat import qat
from convert.compress.shrink import MOST_SHRUNK, shrink
from convert.graphs.float_graphs import float_graphs
from convert.inputs.clips import Calibration, choose_calibration
from convert.inputs.keras_file import SUFFIXES, check_file_format
from convert.inputs.source_model import FileFacts, SourceModel, source_model_of_file, source_model_of_run
from convert.package.card import model_card
from convert.package.report import write_report
from convert.precisions import AUTO, CALIBRATED, FLOAT16, INT8, MIXED, PRECISIONS
from convert.tflite.build import FLOAT_CLIP, PLACEHOLDER_CARD, Built, GraphBuilder, graph_tensors
from convert.tflite.quantise import TIMEOUT_S, convert_one
from convert.tflite.search import NoPassingPlanError, Trial, TrialResult, choose
from convert.verify.compactness import Variant, compactness, files_zero_fraction
from convert.verify.comparison import Comparison, Comparisons, Reference, float_scores, slow_source
from convert.verify.figures import details, drop_points, figures
from convert.verify.gate import MAX_DROP_POINTS, TRAIN_LONGER, Limits, Verdict, gate
from convert.verify.golden import TOLERANCE, choose_golden, own_videos
from convert.verify.rejection import FAMILIARITY, REJECTION, Wanted, events_elsewhere, fit_rejection
from convert.verify.runtimes import check_promised, check_requested, interpreters, runtimes_that_agree
from convert.verify.structure import check_structure
from edge_har.cli.progress import to_stderr
from edge_har.errors import BundleError, ConversionError, MisuseError
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
from edge_har.model.manifest import (
    RELEASE,
    SLOW_SOURCE,
    Manifest,
    Smoothing,
    check_name,
    check_settings,
    check_text,
)
from edge_har.model.recognizer import check_golden
from edge_har.model.values import check_range
from edge_har.system.files import PathKind, path_kind
from train.checkout import UNKNOWN, checkout
from train.data.batches import CachedClip
from train.tf import keras, tf

Report = Callable[[str], None]

CODE_LICENCE = "Apache-2.0"
PRUNING_LIBRARY = "tensorflow-model-optimization"
UNSTATED = "not stated; ask whoever made them"
HELD_OUT = "held-out groups"
OUTPUTS_ONLY = "all groups trained on: outputs compared, accuracy not measured"
UNLABELLED = "clips without labels: outputs compared, accuracy not measured"
# Parts of the clips: those that precisions are chosen on, in the order of preference, before the gate's.
VALIDATION, TEST, OUTPUTS, TRAINING = "validation", "test", "outputs_only", "training"
LOOK_FOR_ONE = "let --precision auto look for one that passes"
# Of a RUN, the clips that it is calibrated on are those that it was trained on.
CALIBRATE, TRAIN_ON = (f"{verb} on clips like those the camera will see" for verb in ("calibrate", "train"))


@dataclass(frozen=True)
class Options:
    """How to convert. Raises MisuseError for a value outside its limits.

    shrink: fraction of filters and units removed. prune: fraction of weights set to zero. qat: train
    under int8's rounding. fine_tune_steps: batches that the model learns on after each of these. control:
    measure what they saved and cost, beside a dense model fine-tuned just as long. precision: one of
    convert.precisions.PRECISIONS, or AUTO; default int8, int8 weights for a model with states, float16 for a
    pretrained encoder. file: what a model file does not hold.

    temperature, reject_threshold: of the probabilities; default fitted on validation clips. familiarity:
    whether it is fitted. rejects: False stores no reject threshold, and nothing of what is familiar.

    name: default the bundle's file name. release: default one more than that of the bundle to be replaced,
    else 1. golden: folder of the user's own golden clips. runtimes: Python interpreters whose TFLite runtimes
    to try and list. metrics, protocol: figures measured elsewhere (leave-one-group-out) that the manifest
    holds beside the gate's. data, cache: where the RUN's clips are now, and are kept decoded. min_agreement
    (default: by precision), max_drop_points: the gate's limits. allow_drop: write the bundle although it
    breaks them, which it then records.
    """

    prune: float = 0.0
    shrink: float = 0.0
    qat: bool = False
    fine_tune_steps: int = STEPS
    control: bool = False
    precision: str | None = None
    name: str | None = None
    version: str | None = None
    release: int | None = None
    golden: Path | None = None
    runtimes: tuple[Path, ...] = ()
    smoothing: Smoothing = field(default_factory=Smoothing)
    temperature: float | None = None
    reject_threshold: float | None = None
    familiarity: bool = True
    rejects: bool = True
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
        if not 0 <= self.prune <= MOST_PRUNED:
            raise MisuseError(f"the pruned fraction must be 0 to {MOST_PRUNED}, got {self.prune}")
        if self.fine_tune_steps < 1:
            raise MisuseError(f"fine-tuning needs 1 step or more, got {self.fine_tune_steps}")
        if not 0 <= self.shrink <= MOST_SHRUNK:
            raise MisuseError(f"the fraction of units removed must be 0 to {MOST_SHRUNK}, got {self.shrink}")
        if self.precision not in (None, AUTO, *PRECISIONS):
            raise MisuseError(
                f"precision must be one of {', '.join((AUTO, *PRECISIONS))}, got {self.precision!r}"
            )
        if self.release is not None:
            check_range("release", self.release, *RELEASE, MisuseError)
        if self.name is not None:
            check_name(self.name, MisuseError)
        if self.version is not None:
            check_text("version", self.version, MisuseError)
        temperature = 1.0 if self.temperature is None else self.temperature
        check_settings(self.smoothing, temperature, self.reject_threshold, MisuseError)
        # It checks itself.
        Limits(self.min_agreement or 0.0, self.max_drop_points)

    @property
    def compresses(self) -> bool:
        """Whether the model is shrunk, pruned or trained under int8's rounding."""
        return bool(self.shrink or self.prune or self.qat)

    def chosen_precision(self, source_model: SourceModel) -> str | None:
        """What was requested; else FLOAT16 for a pretrained encoder, and None for others. The many layers of
        such an encoder round so much in int8 that the gate refuses it: on ucf9 it agrees with float on .95 of
        windows. In float a tick takes 1.4 to 1.6 times as long.
        """
        pretrained = source_model.run is not None and source_model.run.config.design.pretrained
        return FLOAT16 if self.precision is None and pretrained else self.precision


@dataclass(frozen=True)
class Conversion:
    """One conversion at work: what its stages share.

    source_model: as it came, or as `compressed` left it. calibration: windows that set the ranges of
    integers. out: the bundle to write; its report and the converter's log are written beside it. release: of
    that bundle. report: takes lines of progress.
    """

    source_model: SourceModel
    calibration: Calibration
    options: Options
    out: Path
    release: int
    report: Report

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.options.name or self.out.stem

    @property
    def stem(self) -> Path:
        """The path of the reports, without their endings."""
        return self.out.with_suffix("")

    @property
    def log(self) -> Path:
        """Where the TFLite converter's output goes."""
        return self.out.with_suffix(".convert.log")


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert a RUN folder or a model file (.h5, .keras) into the bundle `out`; see `convert_run`,
    `convert_file`.

    Raises ConversionError for a file or folder of another format, else as those.
    """
    path = Path(source)
    if path.suffix.lower() in SUFFIXES and path_kind(path, ConversionError) is not PathKind.FOLDER:
        return convert_file(path, out, options, report=report)
    check_file_format(path)
    return convert_run(path, out, options, report=report)


def convert_file(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert an external Keras 2 model, with `options.file` for what its file does not hold.

    As `convert_source_model`, with the errors of `source_model_of_file` too.
    """
    options, report = options or Options(), report or to_stderr
    checked_release(Path(out), options)
    if options.data is not None:
        raise MisuseError("--data is for a RUN; name the clips of a model file with --calibration DIR")
    source_model = source_model_of_file(Path(path), options.file, options.cache, report)
    return convert_source_model(source_model, out, options, report=report)


def convert_run(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert a finished RUN into the bundle `out` (`NAME.ehar`), with `NAME.report.json` beside it.

    As `convert_source_model`, with the errors of `source_model_of_run` too; nothing is loaded for an `out`
    that cannot be.
    """
    options, report = options or Options(), report or to_stderr
    checked_release(Path(out), options)
    if options.file != FileFacts():
        raise MisuseError(
            "labels, input range, colour, interval and calibration are for a model file; a RUN has its own"
        )
    return convert_source_model(
        source_model_of_run(Path(run_dir), options.data, options.cache, report), out, options, report=report
    )


def convert_source_model(
    source_model: SourceModel,
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert a model, wherever it came from, into the bundle `out` (`NAME.ehar`), with `NAME.report.json`
    beside it.

    report: takes lines of progress; default stderr. Returns the report. Raises an EdgeHarError, one line, and
    leaves no bundle, when a stage fails or the parity gate does (ParityError; the report then holds `failed`
    and the figures).
    """
    options, path = options or Options(), Path(out)
    release = checked_release(path, options)
    if options.compresses:
        source_model = source_model.without_refit()
    original = Conversion(
        source_model,
        choose_calibration(
            source_model.clip_parts,
            source_model.temporal,
            synthetic_fraction=source_model.synthetic_fraction,
        ),
        options,
        path,
        release,
        report or to_stderr,
    )
    conversion = replace(original, source_model=compressed(original))
    report = conversion.report
    report("making the graphs")
    # Whoever writes to the log names what is wrong with it.
    with suppress(OSError):
        conversion.log.unlink()
    builder = builder_of(conversion)
    references = references_of(conversion.source_model, report)
    comparisons = Comparisons(references)
    try:
        built, trials = build_graphs(conversion, builder, comparisons)
    except NoPassingPlanError as error:
        write_report(conversion.stem, _report_of_none(conversion, builder, comparisons, error))
        raise
    extras: dict[str, Any] = _listed(trials)
    extras["structure"] = checked_structure(built)
    report("checking parity")
    compared = compared_on_all(builder, comparisons, built)
    measured = {name: figures(comparison) for name, comparison in compared.items()}
    for name, part in measured.items():
        report(_line(name, part))
    slow = slow_source(list(references.values())[-1], built.bundle())
    if slow is not None:
        extras[SLOW_SOURCE] = slow
        report(_slow_line(slow))
    judged_on, judged = list(compared.items())[-1]
    verdict = replace(
        judge(conversion, judged, built.manifest, allow_drop=options.allow_drop),
        refused_before=tuple(
            str(trial.plan)
            for trial in trials
            if trial.outcome and trial.outcome.refused_on == judged_on and not trial.taken
        ),
    )
    if not verdict.passed:
        named = named_manifest(conversion, built)
        write_report(conversion.stem, _report(named, built.files, built, measured, verdict, judged) | extras)
        verdict.require_passed()
    for breach in verdict.allowed:
        report(f"allowed by --allow-drop: {breach}")
    if options.control and conversion.source_model is not source_model:
        extras["compactness"] = compare_with_control(original, conversion, built)
    in_manifest = measured if slow is None else {**measured, SLOW_SOURCE: slow}
    manifest, files = _finished(conversion, built, in_manifest, verdict)
    record = _report(manifest, files, built, measured, verdict, judged) | extras
    digest = write_bundle(path, manifest, files)
    write_report(conversion.stem, record)
    report(f"wrote {path}: {path.stat().st_size} bytes, sha256 {digest}")
    return record


def compressed(conversion: Conversion) -> SourceModel:
    """The source model shrunk, pruned and trained under int8's rounding, as requested; itself where nothing
    is.

    Raises MisuseError where there is nothing to fine-tune on.
    """
    source_model, options, report = conversion.source_model, conversion.options, conversion.report
    fraction, steps = options.prune, options.fine_tune_steps
    if not options.compresses:
        return source_model
    model, tuning = source_model.model, fine_tuning_of(source_model, steps)
    if options.shrink:
        report(f"shrinking {options.shrink:.0%}, fine-tuning {steps} steps")
        model = shrink(model, options.shrink, tuning, report=report)
    if fraction:
        from convert.compress.prune import prune  # its library takes seconds to load

        report(f"pruning {fraction:.0%}, fine-tuning {steps} steps")
        model = prune(model, fraction, tuning, report=report)
    if options.qat:
        report(f"quantisation-aware training, {steps} steps")
        cell_bits = 8 if options.precision == INT8 else 16
        pixels = conversion.calibration.pixels
        model = qat(model, tuning, calibration=pixels, cell_bits=cell_bits, report=report)
    return replace(source_model, model=model)


def builder_of(conversion: Conversion) -> GraphBuilder:
    """What makes the graphs of a conversion's source model."""
    source_model = conversion.source_model
    return GraphBuilder(
        source_model.model,
        kind=source_model.kind,
        labels=source_model.labels,
        frame=source_model.frame,
        temporal=source_model.temporal,
        calibration=conversion.calibration.pixels,
        log=conversion.log,
        timeout_s=conversion.options.timeout_s,
    )


def references_of(source_model: SourceModel, report: Report = to_stderr) -> dict[str, Reference]:
    """What to compare with, by part of the clips; the gate judges the last.

    Validation is for the eye, test for the gate; without held-out clips, outputs on all of them. On
    validation clips that the model was finally trained on, outputs are compared too.
    """
    clip_parts = source_model.clip_parts
    held_out = {VALIDATION: source_model.before_refit is None, TEST: True}
    clips_of = {VALIDATION: clip_parts.validation, TEST: clip_parts.test}
    references = {
        name: _reference(source_model, clips, report, held_out=held_out[name])
        for name, clips in clips_of.items()
        if clips
    }
    return references or {OUTPUTS: _reference(source_model, clip_parts.training, report, held_out=False)}


def _reference(
    source_model: SourceModel, clips: Sequence[CachedClip], report: Report, *, held_out: bool
) -> Reference:
    return Reference(
        source_model.model,
        clips,
        source_model.labels,
        source_model.temporal,
        labelled=source_model.labelled,
        held_out=held_out,
        groups_known=source_model.groups_known,
        report=report,
    )


def build_graphs(
    conversion: Conversion, builder: GraphBuilder, comparisons: Comparisons
) -> tuple[Built, list[Trial]]:
    """The graphs in the requested precision, or the fastest that passes, with what was tried.

    A precision is chosen on validation clips, or on outputs where there are none; one that the gate's own
    clips refuse is passed over. comparisons: on the parts of `references_of`. Raises ConversionError, and
    NoPassingPlanError where no precision passes.
    """
    options, source_model = conversion.options, conversion.source_model
    precision = options.chosen_precision(source_model)
    if precision != AUTO:
        return builder.forced(precision, beside=[FLOAT_CLIP]), []
    *_, gated = comparisons.references
    if {VALIDATION, OUTPUTS} & comparisons.references.keys():
        parts = list(comparisons.references)
    else:
        training = _reference(
            source_model, source_model.clip_parts.training, conversion.report, held_out=False
        )
        comparisons = replace(comparisons, references={TRAINING: training, **comparisons.references})
        parts = [TRAINING, gated]
    loosest = Limits.loosest(min_agreement=options.min_agreement, max_drop_points=options.max_drop_points)

    def validate(bundle: Bundle) -> TrialResult:
        seen: list[Comparison] = []
        refusal: tuple[str, Verdict] | None = None
        acceptable = options.allow_drop
        for part in parts:
            comparison = comparisons.of(part, bundle)
            seen.append(comparison)
            verdict = judge(conversion, comparison, bundle.manifest)
            if not verdict.passed:
                refusal = refusal or (part, verdict)
                acceptable &= judge(conversion, comparison, bundle.manifest, allow_drop=True).passed
            # The clips of the gate are looked at only where the others leave something to decide.
            if refusal is not None and not acceptable:
                break
        measured = [figures(comparison) for comparison in seen]
        drops = [drop_points(comparison) for comparison in seen if comparison.accuracy_counts]
        return TrialResult(
            min(part["agreement"]["share"] for part in measured),
            max(part["probability_error"]["max_error"] for part in measured),
            max(drops, default=None),
            None if refusal is None else "; ".join(refusal[1].breaches),
            None if refusal is None else refusal[0],
            "" if refusal is None else refusal[1].help,
            refusal is not None and acceptable,
            not all(gate(comparison, loosest).passed for comparison in seen),
        )

    return choose(builder, validate, conversion.report, check=checked_structure)


def judge(
    conversion: Conversion, comparison: Comparison, manifest: Manifest, *, allow_drop: bool = False
) -> Verdict:
    """The gate's verdict, with what this user can still do."""
    return gate(
        comparison,
        limits_of(conversion, manifest),
        allow_drop=allow_drop,
        remedies=remedies_of(conversion, manifest),
    )


def remedies_of(conversion: Conversion, manifest: Manifest) -> list[str]:
    """What can be done about what rounding costs: only what this command can do and has not done yet."""
    options, source_model = conversion.options, conversion.source_model
    rounded_by_clips = manifest.precision in (*CALIBRATED, MIXED)
    possible = {
        LOOK_FOR_ONE: options.chosen_precision(source_model) != AUTO,
        CALIBRATE if source_model.run is None else TRAIN_ON: rounded_by_clips,
        "prune less": options.prune > 0,
        "shrink less": options.shrink > 0,
        TRAIN_LONGER: True,
    }
    return [remedy for remedy, helps in possible.items() if helps]


def compared_on_all(builder: GraphBuilder, comparisons: Comparisons, built: Built) -> dict[str, Comparison]:
    """Every way to compute the windows of every part; of the part that the gate judges, the last, the
    whole-clip graph in float32 too.
    """
    bundle = built.bundle()
    compared = {part: comparisons.of(part, bundle) for part in comparisons.references}
    part, reference = list(comparisons.references.items())[-1]
    judged = replace(compared[part], float_tflite=float_scores(reference, builder.float_clip))
    return {**compared, part: judged}


def limits_of(conversion: Conversion, manifest: Manifest) -> Limits:
    """What the gate lets pass."""
    return Limits.of(
        manifest,
        external=conversion.source_model.run is None,
        min_agreement=conversion.options.min_agreement,
        max_drop_points=conversion.options.max_drop_points,
    )


def checked_structure(built: Built) -> dict[str, Any]:
    """The structure of the made files, after the checks that each must pass. Raises ConversionError."""
    by_file = {file: built.plan.by_part[part] for part, file in built.manifest.graphs.by_part.items()}
    kept_float = {file: precision.float_layers for file, precision in by_file.items()}
    names = {file: precision.name for file, precision in by_file.items()}
    return check_structure(built.manifest, built.files, names, float_layers=kept_float).to_json()


def compare_with_control(original: Conversion, changed: Conversion, built: Built) -> dict[str, Any]:
    """What the changes saved and cost, beside the original and a dense model fine-tuned just as long."""
    source_model, options, report = original.source_model, original.options, original.report
    fraction = options.prune
    stages = sum(map(bool, (options.shrink, fraction, options.qat)))
    report(f"the dense control, {stages} x {options.fine_tune_steps} steps")
    dense = source_model.model
    for _ in range(stages):
        dense = fine_tuned(dense, fine_tuning_of(source_model, options.fine_tune_steps), report=report)
    names = [f"shrunk {options.shrink:.0%}"] * bool(options.shrink)
    names += [f"pruned {fraction:.0%}"] * bool(fraction)
    names += ["trained under int8's rounding"] * options.qat
    variants = []
    for name, model in (("original", source_model.model), ("dense control", dense)):
        control = replace(original, source_model=replace(source_model, model=model))
        variants.append(Variant(name, model, builder_of(control).build(built.plan)))
    variants.append(Variant(", ".join(names), changed.source_model.model, built))
    clips = source_model.clip_parts.test if source_model.labelled else ()
    record = compactness(variants, clips, groups_known=source_model.groups_known)
    for line in record["says"]:
        report(line)
    return record


def checked_release(path: Path, options: Options) -> int:
    """The release to write, after every check that needs no model.

    Raises MisuseError, DataError or BundleError, before any work, for a path that cannot be written, golden
    clips that cannot be packed, and runtimes that are none.
    """
    if options.golden is not None:
        own_videos(options.golden)
    check_requested(options.runtimes)
    if path.suffix != SUFFIX:
        raise MisuseError(f"{path}: a bundle's name ends with {SUFFIX}")
    if options.name is None:
        check_name(path.stem, MisuseError)
    if path_kind(path.parent, MisuseError) is not PathKind.FOLDER:
        raise MisuseError(f"{path}: no such folder")
    if options.release is not None:
        return options.release
    if path_kind(path, MisuseError) is PathKind.ABSENT:
        return 1
    try:
        return open_bundle(path).manifest.release + 1
    except BundleError as error:
        raise BundleError(f"{error}; remove it, or set --release") from error


def _line(name: str, part: Mapping[str, Any]) -> str:
    agreement, errors = part["agreement"], part["probability_error"]
    low, high = agreement["interval"]
    line = (
        f"{name}: stream agrees with float on {agreement['share']:.3f} of {part['windows']} windows "
        f"(95 % {low:.3f} to {high:.3f}), probabilities differ by {errors['mean_error']:.4f}, at most "
        f"{errors['max_error']:.4f}"
    )
    if "accuracy" in part:
        ways = part["accuracy"]
        line += "; clip accuracy: " + ", ".join(f"{way} {ways[way]['clips']['share']:.3f}" for way in ways)
    return line


def _slow_line(slow: Mapping[str, Any]) -> str:
    usual, *repeated = slow["window_accuracy"].items()
    others = ", ".join(f"{accuracy:.3f} where each frame serves {ticks}" for ticks, accuracy in repeated)
    return f"window accuracy: {usual[1]:.3f} where each tick has its own frame, {others} (a slower camera)"


def named_manifest(conversion: Conversion, built: Built) -> Manifest:
    """The manifest with the user's name, version and settings."""
    options = conversion.options
    return replace(
        built.manifest,
        name=conversion.name,
        version=options.version or f"{conversion.release}.0",
        release=conversion.release,
        smoothing=options.smoothing,
    )


def with_rejection(conversion: Conversion, built: Built) -> tuple[Built, dict[str, Any]]:
    """The graphs with temperature, reject threshold and familiarity in their manifest, and the figures of
    these. Raises ConversionError where the familiarity graph cannot be made.
    """
    options, source_model = conversion.options, conversion.source_model
    parts = source_model.clip_parts
    held_out = (parts.validation or parts.test) if source_model.labelled else ()
    wanted = Wanted(options.temperature, options.reject_threshold, options.familiarity, options.rejects)
    conversion.report("fitting temperature and reject threshold")
    head = None
    if parts.validation and source_model.before_refit is not None:
        head = float_graphs(source_model.before_refit).head
    made = fit_rejection(built.bundle(), parts.training, held_out, wanted, parts.synthetic, head)
    manifest = replace(
        built.manifest,
        temperature=made.temperature,
        reject_threshold=made.reject_threshold,
    )
    files, figures = dict(built.files), dict(made.figures)
    if made.graph is not None:
        files[FAMILIARITY] = convert_one(made.graph, conversion.log, options.timeout_s)
        manifest = replace(
            manifest,
            graphs=replace(manifest.graphs, familiarity=FAMILIARITY),
            tensors={**manifest.tensors, FAMILIARITY: graph_tensors(files[FAMILIARITY])},
        )
    rejecting = replace(built, manifest=manifest, files=files)
    if parts.other:
        figures["where_none_happens"] = events_elsewhere(rejecting.bundle(), parts.other)
    return rejecting, figures


def _finished(
    conversion: Conversion, built: Built, measured: Mapping[str, Any], verdict: Verdict
) -> tuple[Manifest, dict[str, bytes]]:
    """The whole manifest and every file of the bundle, run once by each runtime that it lists."""
    options, calibration = conversion.options, conversion.calibration
    built, rejection = with_rejection(conversion, replace(built, manifest=named_manifest(conversion, built)))
    named = built.manifest
    golden, strips, shows = choose_golden(built.bundle(), options.golden)
    manifest = replace(
        named,
        golden=tuple(golden),
        golden_tolerance=TOLERANCE,
        metrics={**measured, REJECTION: rejection, **options.metrics, GATE: verdict.to_json()},
        protocol=options.protocol or _protocol(conversion.source_model),
        calibration=(
            {"clips": len(calibration.pixels), "sha256": calibration.sha256, "names": list(calibration.names)}
            if any(precision.name in CALIBRATED for precision in built.plan.by_part.values())
            else {}
        ),
        runtimes=(runtime_name(),),
        provenance=provenance(conversion, built),
        licence={"code": CODE_LICENCE, "weights": options.weights_terms, "data": options.data_terms},
    )
    files = {**built.files, **strips}
    content, _ = pack_bundle(manifest, {**files, MODEL_CARD: PLACEHOLDER_CARD})
    check_golden(read_bundle(content))
    pythons = interpreters(options.runtimes, conversion.report)
    others = runtimes_that_agree(content, pythons, conversion.report)
    check_promised(manifest, pythons, others)
    manifest = replace(manifest, runtimes=tuple(dict.fromkeys((*manifest.runtimes, *others))))
    return manifest, {**files, MODEL_CARD: model_card(manifest, shows)}


def _protocol(source_model: SourceModel) -> str:
    """How the gate's figures were measured."""
    if not source_model.labelled:
        return UNLABELLED
    return HELD_OUT if source_model.clip_parts.validation or source_model.clip_parts.test else OUTPUTS_ONLY


def provenance(conversion: Conversion, built: Built) -> dict[str, Any]:
    """Where a bundle comes from, the same wherever and whenever it is made: no clock, no path."""
    source_model, options = conversion.source_model, conversion.options
    fraction = options.prune
    command = source_model.command + (f" --shrink {options.shrink:g}" if options.shrink else "")
    command += (f" --prune {fraction:g}" if fraction else "") + " --qat" * options.qat
    if fraction or options.shrink or options.qat:
        command += f" --fine-tune-steps {options.fine_tune_steps}"
    facts: dict[str, Any] = {
        **_commit(),
        "command": command + (f" --precision {options.precision}" if options.precision else ""),
        **source_model.provenance,
        "versions": {
            "tensorflow": tf.__version__,
            "tf_keras": keras.__version__,
            **({"tfmot": version(PRUNING_LIBRARY)} if fraction else {}),
            "numpy": np.__version__,
        },
    }
    if options.shrink:
        facts["shrunk_share"] = options.shrink
    if options.qat:
        facts["quantisation_aware_steps"] = options.fine_tune_steps
    if fraction:
        streamed = {name: built.files[name] for name in built.manifest.graphs.of_stream}
        facts |= {"pruned_share": fraction, "zero_share": round(files_zero_fraction(streamed), 4)}
    return facts


def _commit() -> dict[str, str]:
    at = checkout()
    if at is None:
        return {"commit": UNKNOWN}
    return {"commit": at.commit + (" with changes" if at.changed else ""), "commit_date": at.date}


def _listed(trials: Sequence[Trial]) -> dict[str, Any]:
    return {"trials": [trial.to_json() for trial in trials]} if trials else {}


def _report_of_none(
    conversion: Conversion, builder: GraphBuilder, comparisons: Comparisons, error: NoPassingPlanError
) -> dict[str, Any]:
    """The report where no precision passes: the figures of the closest, where one was made."""
    record = {"name": conversion.name, "failed": str(error)} | _listed(error.trials)
    built = error.closest
    if built is None:
        return record
    compared = compared_on_all(builder, comparisons, built)
    measured = {name: figures(comparison) for name, comparison in compared.items()}
    judged = list(compared.values())[-1]
    verdict = judge(conversion, judged, built.manifest)
    return _report(named_manifest(conversion, built), built.files, built, measured, verdict, judged) | record


def _report(
    manifest: Manifest,
    files: Mapping[str, bytes],
    built: Built,
    gated: Mapping[str, Any],
    verdict: Verdict,
    judged: Comparison,
) -> dict[str, Any]:
    """What NAME.report.json and NAME.report.html hold, also of a bundle that the gate refused."""
    return {
        "name": manifest.name,
        "release": manifest.release,
        "kind": manifest.kind,
        "precision": manifest.precision,
        "failed": verdict.line,
        GATE: verdict.to_json(),
        REJECTION: dict(manifest.metrics.get(REJECTION, {})),
        "parity": dict(gated),
        "details": details(judged),
        "rebuild_error": float(np.float32(built.rebuild_error)),
        "zero_share": built.zero_fractions(),
        "operators": {name: dict(counts) for name, counts in built.operators.items()},
        "bytes": {name: len(content) for name, content in sorted(files.items())},
        "zipped_bytes": {name: len(zlib.compress(content, 9)) for name, content in sorted(files.items())},
        "golden": [{"file": g.file, "label": g.label} for g in manifest.golden],
        "calibration": dict(manifest.calibration),
        "runtimes": list(manifest.runtimes),
        "provenance": dict(manifest.provenance),
    }
