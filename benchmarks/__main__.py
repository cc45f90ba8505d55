"""`python -m benchmarks`: what the maintainers run to make figures, the shipped model, and to keep limits."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from edge_har.cli import HELP_INSTEAD, missing_library_in_a_line
from edge_har.cli.command import Command, Group
from edge_har.cli.usage import usage_line
from edge_har.errors import EdgeHarError, MisuseError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

CLIPS = click.option(
    "--clips",
    required=True,
    type=click.Path(path_type=Path),
    help="The data set: a folder, clips.csv or index.",
)
JOBS = click.option(
    "--jobs", type=click.IntRange(min=1), default=os.cpu_count(), show_default="cores", help="Folds at once."
)
ROOT_OF_SETS = click.option(
    "--clips",
    "clips",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder that holds the data sets, each in a folder of its name.",
)
PAGE = click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown to write."
)


@dataclass(frozen=True)
class Page:
    """A command that measures `--clips` and writes one page. measure: the function, in the
    module of benchmarks.pages named as the command, whose result the module's `page` takes.
    """

    name: str
    measure: str
    clips: Decorator
    help: str


PAGES = (
    Page(
        "compactness",
        "measure_compactness",
        ROOT_OF_SETS,
        "Compare pruned, shrunk and dense models on one data set, and write the tables.",
    ),
    Page(
        "parity",
        "measure_parity",
        ROOT_OF_SETS,
        "Compare float and quantised models on three data sets, and write the table; exit 1 past a limit.",
    ),
    Page(
        "qat",
        "measure_qat",
        CLIPS,
        "Compare quantised models with and without fine-tuning under int8's rounding, and write the table.",
    ),
    Page(
        "recipe",
        "measure_recipe",
        CLIPS,
        "Compare the default training of the published models with the notebooks' recipe on ucf9, and write "
        "the table; exit 1 where the default is worse.",
    ),
    Page(
        "distillation",
        "measure_distillation",
        CLIPS,
        "Compare a small model with and without a larger one that teaches it, and write the table.",
    ),
    Page(
        "unknown",
        "measure_unknown",
        ROOT_OF_SETS,
        "Count the events that movements never trained on start, on weizmann_full and ucf9, and write the "
        "table.",
    ),
    Page(
        "disturbances",
        "measure_disturbances",
        CLIPS,
        "Count the events that light and bumps cause where nothing happens, and write the tables.",
    ),
)
RESULTS = ".results.json"  # beside the page
RESUMES = "Results are kept by content: given again, the command goes on where it was interrupted."


@click.group(cls=Group)
def group() -> None:
    """Accuracy on people held out, the shipped model, limits on speed and memory."""


def _command_of(kind: Page) -> click.Command:
    @click.command(kind.name, cls=Command, help=f"{kind.help}\n\n{RESUMES}")
    @kind.clips
    @JOBS
    @PAGE
    def command(clips: Path, jobs: int, out: Path) -> None:
        module = import_module(f"benchmarks.pages.{kind.name}")
        measured = getattr(module, kind.measure)(clips, say=_say, jobs=jobs)
        _write(out, module.page(measured, _command(kind.name, clips, out)))
        if hasattr(measured, "check_limits"):
            measured.check_limits()

    return command


for one in PAGES:
    group.add_command(_command_of(one))


@group.command()
@ROOT_OF_SETS
@click.option(
    "--set", "only", multiple=True, metavar="NAME", help="Only this set; repeatable. [default: all]"
)
@click.option("--quick", is_flag=True, help="One seed and one fold of every row, for a try.")
@click.option(
    "--seeds", type=click.IntRange(min=1), help="At most so many of every row. [default: each row's own]"
)
@click.option("--brief", is_flag=True, help="All seeds for l alone; the others have one.")
@JOBS
@PAGE
def accuracy(
    clips: Path, only: tuple[str, ...], quick: bool, seeds: int | None, brief: bool, jobs: int, out: Path
) -> None:
    """Measure every model on people and scenes never seen, on weizmann_full, ucf9, fight and thermal, beside
    controls; write the tables, and a picture beside them.

    Weights of encoders come from the folder in EDGE_HAR_ENCODERS, else from the folder `encoders` beside
    --clips. Results are kept by content, those of the page in a .results.json beside it: given again, here or
    on another machine with the same code and clips, the command goes on where it was interrupted.
    """
    if out.suffix != ".md":
        raise MisuseError(f"--out is a Markdown file ending with .md, got {out.name}")
    from benchmarks.pages.accuracy import measure_accuracy, write

    measured = measure_accuracy(
        clips,
        say=_say,
        jobs=jobs,
        only=only,
        quick=quick,
        seeds=seeds,
        brief=brief,
        results=out.with_suffix(RESULTS),
    )
    named = [word for name in only for word in ("--set", name)]
    named += ["--quick"] * quick + ["--brief"] * brief
    named += [] if seeds is None else ["--seeds", str(seeds)]
    write(out, measured, _command("accuracy", clips, out, *named))
    _say(f"wrote {out} and {out.with_suffix('.png')}")


@group.command()
@click.option(
    "--clips",
    type=click.Path(path_type=Path),
    help="A data set; each model is trained on a part of its groups.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="A RUN instead; repeatable.",
)
@PAGE
def calibration(clips: Path | None, runs: tuple[Path, ...], out: Path) -> None:
    """Compare what int8 is calibrated on, from nothing to all real clips, and write the table.

    Kept by content: given again, the command goes on where it was interrupted.
    """
    if (clips is None) == (not runs):
        raise MisuseError("name either --clips DIR or one or more --run RUN")
    from benchmarks.pages.calibration import compare_calibrations, page

    measured = compare_calibrations(clips, runs, say=_say)
    named = [word for run in runs for word in ("--run", run.name)]
    _write(out, page(measured, _command("calibration", clips, out, *named)))


@group.command()
@PAGE
def decoding(out: Path) -> None:
    """Compare OpenCV's reader of files with PyAV's FFmpeg, and write the tables (needs ffmpeg)."""
    from benchmarks.pages.decoding import measure_decoding, page

    _write(out, page(measure_decoding(say=_say), _command("decoding", None, out)))


@group.command()
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Animated WebP to write."
)
def demo(out: Path) -> None:
    """Record the shipped model at work on the synthetic person: the picture of the README."""
    from benchmarks.pages.demo import SUFFIX, write_demo

    if out.suffix != SUFFIX:
        raise MisuseError(f"--out is a file ending with {SUFFIX}, got {out.name}")
    frames = write_demo(out)
    _say(f"wrote {out}: {frames} frames, {out.stat().st_size} bytes")


@group.command()
@click.option("--model", type=click.Path(path_type=Path), help="A bundle; default: the shipped one.")
@PAGE
def shapes(model: Path | None, out: Path) -> None:
    """Compare the events of the synthetic person in pictures of several shapes and sizes, and write the
    table; exit 1 past the limit."""
    from benchmarks.pages.shapes import measure_shapes, page

    measured = measure_shapes(model, say=_say)
    named = ["--model", model.name] if model else []
    _write(out, page(measured, _command("shapes", None, out, *named)))
    measured.check_limits()


@group.command("ship-model")
@CLIPS
@JOBS
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Bundle to write."
)
@click.option(
    "--release", type=click.IntRange(min=1), help="[default: 1 more than that of the bundle at --out]"
)
def ship_model(clips: Path, jobs: int, out: Path, release: int | None) -> None:
    """Train the motion model on all groups but a test part and pack it with the figures of the folds."""
    from benchmarks.ship import ship

    digest = ship(clips, out, release=release, say=_say, jobs=jobs)
    _say(f"wrote {out}, {out.stat().st_size / 1000:.0f} kB, {digest[:12]}")


@group.command("code-hash")
def code_hash() -> None:
    """Print the hash of what the code of `convert` does: the left side of an entry in CARRIED_OVER."""
    from benchmarks.experiments.code import code_sha256

    click.echo(code_sha256())


@group.command()
@click.option(
    "--model", "models", multiple=True, metavar="BUNDLE", help="Bundles to check; default: the shipped one."
)
def check(models: tuple[str, ...]) -> None:
    """Hold speed, memory and start-up against their limits; exit 1 naming what is past its limit."""
    from benchmarks.limits.check import run_checks

    broken = 0
    for line, within in run_checks(models):
        click.echo(line)
        broken += not within
    if broken:
        raise EdgeHarError(f"{broken} of the limits above {'is' if broken == 1 else 'are'} not kept")


@group.command()
@click.option("--model", type=click.Path(path_type=Path), help="A bundle; default: the shipped one.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
def overhead(model: Path | None, as_json: bool) -> None:
    """Measure what everything but decoding and the model costs;
    exit 1 naming what is past its limit (needs ffmpeg).
    """
    from benchmarks.limits.overhead import measure_overhead

    measured = measure_overhead(model)
    _print_figures(measured.to_json(), measured.lines(), as_json)
    broken = [limit.line() for limit in measured.limits() if not limit.kept]
    if broken:
        raise EdgeHarError("; ".join(broken))


@group.command()
@click.option(
    "--cameras", "count", type=click.IntRange(min=1), default=8, show_default=True, help="How many at once."
)
@click.option(
    "--rate", type=click.FloatRange(1), default=15.0, show_default=True, help="Pictures a second of each."
)
@click.option("--seconds", type=click.FloatRange(1), default=120.0, show_default=True)
@click.option("--model", type=click.Path(path_type=Path), help="A bundle; default: the shipped one.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
def cameras(count: int, rate: float, seconds: float, model: Path | None, as_json: bool) -> None:
    """Follow many cameras at their own rate in one process;
    exit 1 where ticks were skipped or shared a frame.
    """
    from benchmarks.limits.cameras import watch_cameras

    watch = watch_cameras(count, rate, seconds, model=model)
    _print_figures(watch.to_json(), watch.lines(), as_json)
    if watch.skipped or watch.repeated:
        raise EdgeHarError(f"{watch.skipped} ticks were skipped and {watch.repeated} shared a frame")


@group.command()
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True)
@click.option("--rate", type=click.FloatRange(1), default=30.0, show_default=True, help="Pictures a second.")
@click.option(
    "--slow-ms", type=click.FloatRange(0), default=200.0, show_default=True, help="Added to each recognition."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object instead of a table.")
def age(minutes: float, rate: float, slow_ms: float, as_json: bool) -> None:
    """Follow one camera with a model that is too slow for it;
    exit 1 where a frame was older than two periods.
    """
    from benchmarks.limits.cameras import AGE_PERIODS, watch_cameras

    watch = watch_cameras(1, rate, 60 * minutes, slow_ms=slow_ms)
    _print_figures(watch.to_json(), watch.lines(), as_json)
    if watch.oldest_periods >= AGE_PERIODS:
        raise EdgeHarError(
            f"a frame was {watch.oldest_periods:.2f} periods old, {AGE_PERIODS:g} are the limit"
        )


def _print_figures(figures: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print figures with what made them, for programs or for people."""
    from benchmarks.measure.provenance import commit
    from edge_har.bench import machine, machine_line, versions

    if as_json:
        made_by = {"commit": commit(), "machine": vars(machine()), "versions": versions()}
        click.echo(json.dumps(figures | made_by))
        return
    for line in lines:
        click.echo(line)
    click.echo(f"commit {commit()}; {machine_line(machine())}")


def _command(name: str, clips: Path | None, out: Path, *more: str) -> list[str]:
    """What a page says made it: without the folders of this machine."""
    given = ["--clips", clips.name] if clips is not None else []
    return ["python", "-m", "benchmarks", name, *given, *more, "--out", f"docs/figures/{out.name}"]


def _write(out: Path, text: str) -> None:
    out.write_text(text, encoding="utf-8")
    _say(f"wrote {out}")


def _say(line: str) -> None:
    click.echo(line, err=True)


def main() -> None:
    """Entry point: one line for every error raised on purpose."""
    try:
        with missing_library_in_a_line():
            code = group.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted; the same command goes on from there", err=True)
        code = 130
    except click.ClickException as error:
        if isinstance(error, HELP_INSTEAD):
            error.show()
        else:
            click.echo(f"error: {usage_line(error)}", err=True)
        code = error.exit_code
    except EdgeHarError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
