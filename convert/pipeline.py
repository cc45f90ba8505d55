"""`convert_run`: a RUN folder to a bundle on disk, through every stage, or to one error and no bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert import parity
from convert.build import PLACEHOLDER_CARD, Built, build
from convert.card import model_card
from convert.flatbuffer import kernels
from convert.golden import TOLERANCE, choose_golden
from convert.graphs import check_input
from convert.material import Calibration, Material, choose_calibration, material_of_run
from convert.modes import CALIBRATED, PRECISIONS
from convert.prune import STEPS, prune, tfmot
from convert.quantise import TIMEOUT_S
from convert.runtimes import runtimes_that_agree
from edge_har.bundle import (
    MODEL_CARD,
    SUFFIX,
    Bundle,
    Manifest,
    Smoothing,
    open_bundle,
    pack_bundle,
    read_bundle,
    write_bundle,
)
from edge_har.errors import BundleError, ConversionError, MisuseError, ParityError
from edge_har.interpreter import runtime_name
from edge_har.recognizer import check_golden
from train.augment import Amounts, decide_mirror
from train.batches import WindowPlan, training_batches
from train.fit import class_weights
from train.runs import MODEL, Run, load_run, write_json
from train.tf import keras, tf

Report = Callable[[str], None]

CODE_LICENCE = "Apache-2.0"
UNSTATED = "not stated; ask whoever made them"
HELD_OUT = "held-out groups"
OUTPUTS_ONLY = "all groups trained on: outputs compared, accuracy not measured"
NOT_A_COMMIT = "unknown"


@dataclass(frozen=True)
class Options:
    """How to convert. prune: share of weights set to zero (0: none). prune_steps: batches of fine-tuning.

    name: default the bundle's file name. release: default one more than that of the bundle to be replaced, else 1.
    golden: folder of the user's own golden clips. runtimes: Python interpreters whose TFLite runtimes to try and list. metrics, protocol: figures measured elsewhere (leave-one-group-out)
    that stand in the manifest beside the gate's. data, cache: where the RUN's clips are now, and are kept decoded.
    Raises MisuseError.
    """

    prune: float = 0.5
    prune_steps: int = STEPS
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
    data: Path | None = None
    cache: Path | None = None
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        if not 0 <= self.prune < 1:
            raise MisuseError(f"the pruned share must be 0 or more and below 1, got {self.prune}")
        if self.prune_steps < 1:
            raise MisuseError(f"pruning needs 1 step of fine-tuning or more, got {self.prune_steps}")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise MisuseError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.release is not None and self.release < 1:
            raise MisuseError(f"release must be 1 or more, got {self.release}")


def convert_run(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    report: Report | None = None,
) -> dict[str, Any]:
    """Convert a finished RUN into the bundle `out` (`NAME.ehar`), with `NAME.report.json` beside it.

    report: takes lines of progress; default stderr. Returns the report. Raises an EdgeHarError, one line, and leaves
    no bundle, when a stage fails or the parity gate does (ParityError; the report then says `failed` and the figures).
    """
    options, say, path = options or Options(), report or _to_stderr, Path(out)
    release = next_release(path, options)
    run = load_run(run_dir)
    model = load_model(run)
    material = material_of_run(run, options.data, options.cache, say)
    if options.prune:
        say(f"pruning {options.prune:.0%}, fine-tuning {options.prune_steps} steps")
        model = pruned_model(model, run, material, options.prune, options.prune_steps, say)
    share = run.config.synthetic_share
    calibration = choose_calibration(material, run.config.contract, synthetic_share=share)
    say("making the graphs")
    built = build_run(model, run, calibration, options, log=path.with_suffix(".convert.log"))
    say("checking parity")
    gated, comparison = _compare(model, built.bundle(), run, material, say)
    report_path = path.with_suffix(".report.json")
    try:
        parity.gate(comparison, built.manifest.precision)
    except ParityError as error:
        write_json(report_path, {"failed": str(error), "parity": gated})
        raise
    manifest, files = _finish(built, run, calibration, gated, options, release, path, say)
    said = _report(manifest, files, built, gated)
    digest = write_bundle(path, manifest, files)
    write_json(report_path, said)
    say(f"wrote {path}: {path.stat().st_size} bytes, sha256 {digest}")
    return said


def load_model(run: Run) -> Any:
    """The RUN's Keras model. Raises ConversionError for an input that no bundle can feed, else DataError."""
    check_keras_file(run.folder / MODEL)
    return run.model()


def check_keras_file(path: Path) -> None:
    """Raises ConversionError, in one line, where a `.keras` file cannot be read or its input cannot be fed."""
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ConversionError(f"{path}: not a Keras model that can be read: {first_line}") from error
    try:
        check_input(model)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error


def pruned_model(model: Any, run: Run, material: Material, share: float, steps: int, report: Report) -> Any:
    """The model with `share` of its weights at zero, fine-tuned on windows of its own training."""
    config = run.config
    sampling = replace(
        config.sampling, seed=config.seed + 1
    )  # other windows than those of the training's first steps
    plan = WindowPlan(material.training, sampling, material.synthetic)
    amounts = Amounts().scaled(config.augmentation)
    batches = training_batches(plan, 0, steps, decide_mirror(config.mirror, run.labels), amounts)
    return prune(
        model,
        share,
        batches,
        steps=steps,
        learning_rate=config.learning_rate,
        label_smoothing=config.label_smoothing,
        class_weights=class_weights([clip.label for clip in material.training], len(run.labels)).tolist(),
        report=report,
    )


def build_run(model: Any, run: Run, calibration: Calibration, options: Options, *, log: Path) -> Built:
    """The graphs of a RUN's (pruned) model."""
    return build(
        model,
        kind=run.config.model,
        labels=run.labels,
        frame=run.config.frame_spec,
        temporal=run.config.contract,
        calibration=calibration.pixels,
        log=log,
        precision=options.precision,
        timeout_s=options.timeout_s,
    )


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


def _compare(
    model: Any, bundle: Bundle, run: Run, material: Material, say: Report
) -> tuple[dict[str, Any], parity.Comparison]:
    """Figures by part, and what the gate looks at: validation for the eye, test for the gate; without held-out clips,
    outputs on all of them.
    """
    parts = {"validation": material.validation, "test": material.test}
    held_out = {name: clips for name, clips in parts.items() if clips}
    clips_of = held_out or {"outputs_only": material.training}
    said, comparisons = {}, {}
    for name, clips in clips_of.items():
        comparisons[name] = parity.compare(model, bundle, clips)
        said[name] = parity.figures(comparisons[name], groups_known=run.groups_known, accuracy=bool(held_out))
        say(_line(name, said[name]))
    return said, comparisons[list(clips_of)[-1]]


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


def _finish(
    built: Built,
    run: Run,
    calibration: Calibration,
    gated: Mapping[str, Any],
    options: Options,
    release: int,
    path: Path,
    say: Report,
) -> tuple[Manifest, dict[str, bytes]]:
    named = replace(
        built.manifest,
        name=options.name or path.stem,
        version=options.version or f"{release}.0",
        release=release,
        smoothing=options.smoothing,
        temperature=options.temperature,
        reject_threshold=options.reject_threshold,
    )
    golden, strips, shows = choose_golden(replace(built, manifest=named).bundle(), options.golden)
    manifest = replace(
        named,
        golden=tuple(golden),
        golden_tolerance=TOLERANCE,
        metrics={**gated, **options.metrics},
        protocol=options.protocol or (OUTPUTS_ONLY if "outputs_only" in gated else HELD_OUT),
        calibration=(
            {"clips": len(calibration.pixels), "sha256": calibration.sha256, "names": list(calibration.names)}
            if any(form.mode in CALIBRATED for form in built.route.forms.values())
            else {}
        ),
        runtimes=(runtime_name(),),
        provenance=provenance(run, options, built),
        licence={"code": CODE_LICENCE, "weights": options.weights_terms, "data": options.data_terms},
    )
    files = {**built.files, **strips}
    content, _ = pack_bundle(manifest, {**files, MODEL_CARD: PLACEHOLDER_CARD})
    check_golden(read_bundle(content))
    others = runtimes_that_agree(content, options.runtimes, say)
    manifest = replace(manifest, runtimes=tuple(dict.fromkeys((*manifest.runtimes, *others))))
    return manifest, {**files, MODEL_CARD: model_card(manifest, shows)}


def provenance(run: Run, options: Options, built: Built) -> dict[str, Any]:
    """Where a bundle comes from, the same wherever and whenever it is made: no clock, no path."""
    command = (
        f"edge-har convert RUN --out NAME.ehar --prune {options.prune:g} --prune-steps {options.prune_steps}"
    )
    said: dict[str, Any] = {
        **_commit(),
        "command": command + (f" --precision {options.precision}" if options.precision else ""),
        "index_sha256": run.index_sha256,
        "model_sha256": run.metrics["model_sha256"],
        "seed": run.config.seed,
        "trained_on": list(run.metrics["trained_on"]["groups"]),
        "synthetic_share": run.config.synthetic_share,
        "versions": {
            "tensorflow": tf.__version__,
            "tf_keras": keras.__version__,
            "tfmot": tfmot.__version__,
            "numpy": np.__version__,
        },
    }
    if options.prune:
        said |= {"pruned_share": options.prune, "zero_share": round(_zero_share(built), 4)}
    return said


def _zero_share(built: Built) -> float:
    """Over all kernels of step and head, as exported."""
    graphs = built.manifest.graphs
    values = [kernel.values for name in (graphs.step, graphs.head) for kernel in kernels(built.files[name])]
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
    manifest: Manifest, files: Mapping[str, bytes], built: Built, gated: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "release": manifest.release,
        "kind": manifest.kind,
        "precision": manifest.precision,
        "parity": dict(gated),
        "agreement_limit": parity.AGREEMENT_LIMITS.get(manifest.precision, parity.OTHER_AGREEMENT_LIMIT),
        "failed": None,
        "rebuild_error": float(np.float32(built.rebuild_error)),
        "zero_share": built.zero_shares(),
        "operators": {name: dict(counts) for name, counts in built.operators.items()},
        "bytes": {name: len(content) for name, content in sorted(files.items())},
        "golden": [{"file": g.file, "label": g.label} for g in manifest.golden],
        "calibration": dict(manifest.calibration),
        "provenance": dict(manifest.provenance),
    }
