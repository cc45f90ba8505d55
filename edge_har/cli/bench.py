"""`edge-har bench`: latency and memory of a bundle on this device."""

from __future__ import annotations

import json
import sys

import click

from edge_har.cli._crash import graph_crash_line
from edge_har.cli.command import Command
from edge_har.system.work import interruptible


@click.command(
    "bench",
    cls=Command,
    examples={
        "The shipped model on this machine": "edge-har bench",
        "A bundle of your own, with two threads": "edge-har bench --model mine.ehar --threads 2",
    },
)
@click.option("--model", metavar="BUNDLE", help="A bundle (.ehar or its folder); the shipped one by default.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads of a graph."
)
@click.option("--ticks", type=click.IntRange(min=1), default=500, show_default=True, help="Ticks to measure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@interruptible
def command(model: str | None, threads: int, ticks: int, as_json: bool) -> None:
    """Measure latency and memory on this device.

    Every part in turn on the same pictures of the built-in source: preparing a camera's frame, the stream's
    graphs, and the whole-clip graph beside them. A tick is counted with all that it runs.
    """
    from edge_har.bench import bench, report_lines
    from edge_har.model.bundle import default_bundle_path

    with graph_crash_line(model, sys.stderr):
        report = bench(model or default_bundle_path(), threads=threads, ticks=ticks, on_progress=_progress)
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        click.echo("\n".join(report_lines(report)))


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % 25 == 0 or done == total):
        click.echo(f"\r{done} of {total} ticks", nl=done == total, err=True)
