"""`edge-har run`: live sources, or a file, to events."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from edge_har.cli.logs import verbosity_options, watch_log
from edge_har.errors import MisuseError


@click.command("run")
@click.option(
    "--model", metavar="BUNDLE", help="A bundle (.ehar, or a folder such as DIR/current, which is watched)."
)
@click.option(
    "--source",
    "sources",
    metavar="URI",
    multiple=True,
    help="A file, http(s):// motion JPEG, rtsp://, /dev/videoN, synthetic:LABEL.",
)
@click.option("--camera", metavar="N", type=click.IntRange(min=0), help="The camera /dev/videoN.")
@click.option(
    "--duration", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="End after this time."
)
@click.option("--realtime", is_flag=True, help="Play a file by the clock, as a camera would.")
@click.option("--wait-for-source", is_flag=True, help="Wait for a source that is not there at first.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads of a graph."
)
@click.option(
    "--smooth", metavar="SECONDS", type=click.FloatRange(min=0), help="Average probabilities over this time."
)
@click.option("--enter", type=click.FloatRange(0, 1), help="An event starts at this average probability.")
@click.option("--leave", type=click.FloatRange(0, 1), help="An event ends below this average probability.")
@click.option(
    "--min-duration", metavar="SECONDS", type=click.FloatRange(min=0), help="Tell no shorter events."
)
@verbosity_options
def command(
    model: str | None,
    sources: tuple[str, ...],
    camera: int | None,
    duration: float | None,
    realtime: bool,
    wait_for_source: bool,
    threads: int,
    smooth: float | None,
    enter: float | None,
    leave: float | None,
    min_duration: float | None,
    verbosity: int,
) -> None:
    """Recognise what happens in a live source, or a file, as it happens.

    Events go to stdout, one JSON object a line, and to stderr for people. Files play as fast as they can be read and
    end with exit 0; cameras and streams run until Ctrl-C, and are opened again when they are lost. The thresholds are
    the bundle's where none is given.
    """
    uris = [*sources, *([] if camera is None else [str(camera)])]
    if len(uris) != 1:
        raise MisuseError(f"name one source, with --source URI or --camera N; got {len(uris)}")

    from edge_har.bundle import default_bundle_path, open_bundle
    from edge_har.memory import release_library_pages
    from edge_har.pipeline import Pipeline
    from edge_har.sinks.base import Sink
    from edge_har.sinks.console import ConsoleSink
    from edge_har.sinks.jsonl import JsonLinesSink
    from edge_har.stream import RunOptions

    watch_log(verbosity)
    options = RunOptions(
        threads=threads,
        duration_s=duration,
        realtime=realtime,
        wait_for_source=wait_for_source,
        smooth_s=smooth,
        enter=enter,
        leave=leave,
        min_s=min_duration,
    )
    sinks: list[Sink] = [JsonLinesSink(sys.stdout)]
    if verbosity >= 0:
        sinks.append(ConsoleSink(sys.stderr))
    bundle = open_bundle(model or default_bundle_path())
    pipeline = Pipeline(bundle, uris, sinks, options, bundle_path=Path(model) if model else None)
    release_library_pages()
    stop = threading.Event()
    _end_on_signals(stop)
    summaries = pipeline.run(stop)
    if verbosity >= 0:
        for summary in summaries:
            click.echo(str(summary), err=True)
    if pipeline.threads_left:
        # A source's library hangs in a read; taking the interpreter down around it could crash.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _end_on_signals(stop: threading.Event) -> None:
    """The first Ctrl-C or SIGTERM ends the run and closes what is open; a second one ends the process."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
