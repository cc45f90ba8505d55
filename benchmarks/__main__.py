"""`python -m benchmarks`: what the maintainers run to make figures, the shipped model, and to keep limits."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from edge_har.errors import EdgeHarError, MisuseError

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
    "root",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder that holds the data sets weizmann, thermal and fight.",
)


@click.group()
def group() -> None:
    """Accuracy on people left out, the shipped model, limits on speed and memory."""


@group.command()
@CLIPS
@JOBS
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown to write."
)
def accuracy(clips: Path, jobs: int, out: Path) -> None:
    """Leave one group out with every model, and write the table.

    Folds are kept by content: given again, the command goes on where it was interrupted.
    """
    from benchmarks.accuracy import measure_accuracy, page

    measured = measure_accuracy(clips, say=_say, jobs=jobs)
    out.write_text(page(measured, ["python", "-m", "benchmarks", "accuracy", "--clips", clips.name]))
    _say(f"wrote {out}")


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
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown to write."
)
def calibration(clips: Path | None, runs: tuple[Path, ...], out: Path) -> None:
    """Compare what int8 is calibrated on, from nothing to all real clips, and write the table.

    Kept by content: given again, the command goes on where it was interrupted.
    """
    if (clips is None) == (not runs):
        raise MisuseError("name either --clips DIR or one or more --run RUN")
    from benchmarks.calibration import compare_calibrations, page

    rows, index_sha256 = compare_calibrations(clips, runs, say=_say)
    given = ["--clips", clips.name] if clips is not None else [w for run in runs for w in ("--run", run.name)]
    command = ["python", "-m", "benchmarks", "calibration", *given, "--out", f"docs/{out.name}"]
    out.write_text(page(rows, command, index_sha256), encoding="utf-8")
    _say(f"wrote {out}")


@group.command()
@ROOT_OF_SETS
@JOBS
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown to write."
)
def compactness(root: Path, jobs: int, out: Path) -> None:
    """Compare pruned, shrunk and dense models on one data set, and write the tables.

    Kept by content: given again, the command goes on where it was interrupted.
    """
    from benchmarks.compactness import measure_compactness, page

    sections, index_sha256, made_at = measure_compactness(root, say=_say, jobs=jobs)
    command = ["python", "-m", "benchmarks", "compactness", "--clips", root.name, "--out", f"docs/{out.name}"]
    out.write_text(page(sections, command, index_sha256, made_at), encoding="utf-8")
    _say(f"wrote {out}")


@group.command()
@ROOT_OF_SETS
@JOBS
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown to write."
)
def parity(root: Path, jobs: int, out: Path) -> None:
    """Compare float and quantised models on three data sets, and write the table; exit 1 past a limit.

    Kept by content: given again, the command goes on where it was interrupted.
    """
    from benchmarks.parity import measure_parity, page

    measured = measure_parity(root, say=_say, jobs=jobs)
    command = ["python", "-m", "benchmarks", "parity", "--clips", root.name, "--out", f"docs/{out.name}"]
    out.write_text(page(measured, command), encoding="utf-8")
    _say(f"wrote {out}")
    measured.check()


@group.command()
@CLIPS
@JOBS
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown to write."
)
def qat(clips: Path, jobs: int, out: Path) -> None:
    """Compare quantised models with and without fine-tuning under int8's rounding, and write the table.

    Kept by content: given again, the command goes on where it was interrupted.
    """
    from benchmarks.qat import measure_qat, page

    rows, index_sha256 = measure_qat(clips, say=_say, jobs=jobs)
    command = ["python", "-m", "benchmarks", "qat", "--clips", clips.name, "--out", f"docs/{out.name}"]
    out.write_text(page(rows, command, index_sha256), encoding="utf-8")
    _say(f"wrote {out}")


@group.command()
@CLIPS
@JOBS
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown to write."
)
def disturbances(clips: Path, jobs: int, out: Path) -> None:
    """Count the events that light and knocks cause where nothing happens, and write the tables.

    Kept by content: given again, the command goes on where it was interrupted.
    """
    from benchmarks.disturbances import measure_disturbances, page

    measured = measure_disturbances(clips, say=_say, jobs=jobs)
    command = [
        "python",
        "-m",
        "benchmarks",
        "disturbances",
        "--clips",
        clips.name,
        "--out",
        f"docs/{out.name}",
    ]
    out.write_text(page(measured, command), encoding="utf-8")
    _say(f"wrote {out}")


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
    """Train the motion model on all groups and pack it with the figures of the folds."""
    from benchmarks.ship import ship

    digest = ship(clips, out, release=release, say=_say, jobs=jobs)
    _say(f"wrote {out}, {out.stat().st_size / 1000:.0f} kB, {digest[:12]}")


@group.command()
@click.option(
    "--model", "models", multiple=True, metavar="BUNDLE", help="Bundles to check; default: the shipped one."
)
def check(models: tuple[str, ...]) -> None:
    """Hold speed, memory and start-up against their limits; exit 1 naming what is past its limit."""
    from benchmarks.check import run_checks

    broken = 0
    for line, within in run_checks(models):
        click.echo(line)
        broken += not within
    if broken:
        raise EdgeHarError(f"{broken} of the limits above {'is' if broken == 1 else 'are'} not kept")


def _say(line: str) -> None:
    click.echo(line, err=True)


def main() -> None:
    """Entry point: one line for every error raised on purpose."""
    try:
        code = group.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted; the same command goes on from there", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except EdgeHarError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
