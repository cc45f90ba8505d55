"""`edge-har classify`: what happens in recorded files."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

import click

from edge_har.cli._crash import graph_crash_line
from edge_har.cli.command import Command
from edge_har.cli.logs import verbosity_options
from edge_har.errors import printable
from edge_har.system.work import interruptible

if TYPE_CHECKING:
    from edge_har.classify import Classifier, Result
    from edge_har.pipeline.squeezed import Squeezed

MAX_PATH_COLUMN = 60  # characters; longer paths push their row to the right
MAX_SEGMENTS_SHOWN = 6
# What people write elsewhere.
INSTEAD = {
    **dict.fromkeys(
        ("--input", "-i", "--video", "--file", "--path", "--source", "--data"),
        "files need none: classify PATH...",
    ),
    "--camera": "a camera is for edge-har run",
    **dict.fromkeys(("--bundle", "--weights", "-m"), "did you mean --model?"),
    **dict.fromkeys(("--output", "--out", "-o", "--csv"), "did you mean --json > FILE?"),
}


@click.command(
    "classify",
    cls=Command,
    instead=INSTEAD,
    examples={
        "Two files": "edge-har classify walk.mp4 jump.mp4",
        "All videos in a folder, as JSON lines": "edge-har classify recordings --json > results.jsonl",
    },
)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option("--model", metavar="BUNDLE", help="A bundle (.ehar or its folder); the shipped one by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads of a graph."
)
@verbosity_options
@interruptible
def command(paths: tuple[str, ...], model: str | None, as_json: bool, threads: int, verbosity: int) -> None:
    """Name the activity in recorded files.

    PATH is a video, a folder or a pattern. A folder is searched, in sorted order, for videos and for folders
    of numbered pictures. A file that cannot be read gets a line that says why; the others are classified all
    the same, and the exit code is 1.
    """
    from edge_har.classify import Classifier, find_files
    from edge_har.model.bundle import default_bundle_path, open_bundle
    from edge_har.model.trial import ensure_tried
    from edge_har.system.memory import release_startup_memory

    files = find_files(paths, (lambda line: click.echo(line, err=True)) if verbosity >= 0 else None)
    path = model or default_bundle_path()
    bundle = open_bundle(path)
    ensure_tried(bundle, path)
    with graph_crash_line(model, sys.stderr):
        classifier = Classifier(bundle, threads=threads)
        release_startup_memory()
        failed = _show(classifier, files, as_json=as_json, verbosity=verbosity)
    if failed and verbosity >= 0:
        click.echo(f"{failed} of {len(files)} could not be read", err=True)
    if failed:
        sys.exit(1)


def _show(classifier: Classifier, files: list[str], *, as_json: bool, verbosity: int) -> int:
    """Write what each file shows; how many could not be read."""
    from edge_har.classify import Result, UnreadableFile

    column = min(MAX_PATH_COLUMN, max(len(printable(file)) for file in files))
    progress = verbosity >= 0 and sys.stderr.isatty()
    failed, squeezed = 0, set[tuple[int, int]]()
    for number, outcome in enumerate(classifier.files(files), 1):
        failed += isinstance(outcome, UnreadableFile)
        if progress:
            click.echo("\r\x1b[K", nl=False, err=True)
        if verbosity >= 0 and isinstance(outcome, Result) and outcome.squeezed is not None:
            # Of a folder of such recordings one line a size is enough.
            if outcome.squeezed.size_wh not in squeezed:
                click.echo(_squeezed(outcome.path, outcome.squeezed), err=True)
            squeezed.add(outcome.squeezed.size_wh)
        if as_json:
            line = json.dumps(outcome.to_json())
        elif isinstance(outcome, UnreadableFile):
            line = f"{printable(outcome.path):<{column}}  error: {outcome.error}"
        else:
            line = _row(outcome, column)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        if progress and number < len(files):
            click.echo(f"{number} of {len(files)}", nl=False, err=True)
    return failed


def _row(outcome: Result, column: int) -> str:
    """One line for people: path, label and its probability, then when what happened, then what to know about
    it.
    """
    label = "unknown" if outcome.rejected else outcome.label
    row = f"{printable(outcome.path):<{column}}  {label:<14} {outcome.scores[outcome.label]:.2f}"
    if len(outcome.segments) > 1:
        shown = [f"{s.start_s:.1f}-{s.end_s:.1f} s {s.label or 'unknown'}" for s in outcome.segments]
        rest = len(shown) - MAX_SEGMENTS_SHOWN
        row += "  " + ", ".join(shown[:MAX_SEGMENTS_SHOWN]) + (f", and {rest} more" if rest > 0 else "")
    notes = ["shorter than a window, filled"] * outcome.padded + (
        [outcome.warning] if outcome.warning else []
    )
    return row + (f"  ({'; '.join(notes)})" if notes else "")


def _squeezed(path: str, squeezed: Squeezed) -> str:
    """The line about pictures that the model takes distorted: this command cuts none, but `run` does."""
    uri = shlex.quote(f"{path}?crop={','.join(map(str, squeezed.part))}")
    return printable(
        f"warning: {path}: its picture of {squeezed.reason}; edge-har run --source {uri} takes its middle"
    )
