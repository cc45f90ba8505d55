"""`edge-har benchmark`: every form of the models beside each other, accuracy against latency,
as Markdown and PNG.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_har.cli.command import Command
from edge_har.cli.progress import progress
from edge_har.errors import MisuseError


@click.command(
    cls=Command,
    examples={
        "What train made": "edge-har benchmark --run runs/mine --out benchmark.md",
        "All models, trained on a data set": "edge-har benchmark --clips my_clips --out benchmark.md",
    },
)
@click.option(
    "--clips",
    type=click.Path(path_type=Path),
    help="A data set; every model is trained on it with each group held out in turn.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="A finished RUN, in place of --clips; may be given several times.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The Markdown file to write; a PNG is written beside it.",
)
@click.option("--folds", type=click.IntRange(min=1), help="How many folds of --clips.  [default: all]")
@click.option(
    "--rounds",
    type=click.IntRange(min=10),
    default=200,
    show_default=True,
    help="Timed calls of each form of a model.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads of each form."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count(),
    show_default="cores",
    help="Trainings at once.",
)
def benchmark(
    clips: Path | None,
    runs: tuple[Path, ...],
    out: Path,
    folds: int | None,
    rounds: int,
    threads: int,
    jobs: int,
) -> None:
    """Compare float Keras, float TFLite and what `convert` makes of them, as whole clips and as streams.

    Latency of all forms is measured in turns in one run, so that ratios hold; accuracy is on the same
    held-out clips for all. With --clips, folds that an earlier command made are used again. With --run, the
    clips that the RUN held out are used.
    """
    if (clips is None) == (not runs):
        raise MisuseError("name either --clips DIR or one or more --run RUN")
    if folds is not None and clips is None:
        raise MisuseError("--folds is how many folds of --clips are measured: omit it beside --run")
    if out.suffix != ".md":
        raise MisuseError(f"--out is a Markdown file ending with .md, got {out.name}")
    from benchmarks.pages.latency import compare_folds, compare_runs

    words = ["edge-har", "benchmark", "--rounds", str(rounds), "--threads", str(threads)]
    with progress("measuring rounds") as on_progress:
        if clips is not None:
            words += ["--clips", clips.name, *([] if folds is None else ["--folds", str(folds)])]
            compare_folds(
                clips,
                out,
                words,
                rounds=rounds,
                threads=threads,
                jobs=jobs,
                say=_say,
                count=folds,
                on_progress=on_progress,
            )
        else:
            words += [word for run in runs for word in ("--run", run.name)]
            compare_runs(runs, out, words, rounds=rounds, threads=threads, say=_say, on_progress=on_progress)
    _say(f"wrote {out} and {out.with_suffix('.png')}")


def _say(line: str) -> None:
    click.echo(line, err=True)
