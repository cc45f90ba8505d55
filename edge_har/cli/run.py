"""`edge-har run`: live sources, or files, to events."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import click

from edge_har.cli.logs import verbosity_options, watch_log
from edge_har.cli.patient import patient_stderr
from edge_har.errors import MisuseError

SECONDS = click.FloatRange(min=0, min_open=True)


@click.command("run")
@click.option(
    "--model", metavar="BUNDLE", help="A bundle (.ehar, or a folder such as DIR/current, which is watched)."
)
@click.option(
    "--source",
    "sources",
    metavar="[NAME=]URI",
    multiple=True,
    help="A file, http(s):// motion JPEG, rtsp://, /dev/videoN, synthetic:LABEL; may be given several times.",
)
@click.option(
    "--camera",
    "cameras",
    metavar="N",
    type=click.IntRange(min=0),
    multiple=True,
    help="The camera /dev/videoN; may be given several times.",
)
@click.option("--duration", metavar="SECONDS", type=SECONDS, help="End after this time.")
@click.option("--realtime", is_flag=True, help="Play a file by the clock, as a camera would.")
@click.option("--wait-for-source", is_flag=True, help="Wait for a source that is not there at first.")
@click.option("--give-up", metavar="SECONDS", type=SECONDS, help="End a source that stays away so long.")
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
@click.option(
    "--cooldown",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    help="After an event, start no other of its label for this time.",
)
@click.option(
    "--sink",
    "asked",
    metavar="SINK",
    multiple=True,
    help="Where events or pictures go as well: jsonl:FILE, mqtt://HOST, https://HOST/..., video:FOLDER, clips:FOLDER.",
)
@click.option("--display", is_flag=True, help="Show what is seen in a window.")
@click.option("--unknown", is_flag=True, help="Tell 'unknown' while no label is sure enough for the bundle.")
@click.option(
    "--web",
    metavar="HOST:PORT",
    help="Serve a live page there; beyond 127.0.0.1 $EDGE_HAR_WEB_TOKEN guards it.",
)
@verbosity_options
def command(
    model: str | None,
    sources: tuple[str, ...],
    cameras: tuple[int, ...],
    duration: float | None,
    realtime: bool,
    wait_for_source: bool,
    give_up: float | None,
    threads: int,
    smooth: float | None,
    enter: float | None,
    leave: float | None,
    min_duration: float | None,
    cooldown: float,
    asked: tuple[str, ...],
    display: bool,
    unknown: bool,
    web: str | None,
    verbosity: int,
) -> None:
    """Recognise what happens in live sources, or files, as it happens.

    Events go to stdout, one JSON object a line, and to stderr for people. Files play as fast as they can be read and
    end with exit 0; cameras and streams run until Ctrl-C, and are opened again when they are lost. Of several sources
    one that fails ends alone, and the run ends with exit 1. The thresholds are the bundle's where none is given.
    """
    named = [*sources, *(str(camera) for camera in cameras)]
    if not named:
        raise MisuseError("name a source, with --source [NAME=]URI or --camera N")

    from edge_har import service
    from edge_har.bundle import default_bundle_path, open_bundle
    from edge_har.memory import release_library_pages
    from edge_har.pipeline import Pipeline
    from edge_har.sinks import open_outlets, options_of_text, with_standard_output
    from edge_har.sinks.base import Sink
    from edge_har.sinks.console import ConsoleSink
    from edge_har.sinks.options import Setting
    from edge_har.stream import RunOptions
    from edge_har.web import TOKEN_VARIABLE, WebOptions, start_web

    watch_log(verbosity)
    options = RunOptions(
        threads=threads,
        duration_s=duration,
        realtime=realtime,
        wait_for_source=wait_for_source,
        give_up_s=give_up,
        smooth_s=smooth,
        enter=enter,
        leave=leave,
        min_s=min_duration,
        cooldown_s=cooldown,
        unknown=unknown,
    )
    page = WebOptions(web, token=os.environ.get(TOKEN_VARIABLE) or None) if web is not None else None
    places = with_standard_output(
        [options_of_text(text) for text in (*asked, *(["window"] if display else []))]
    )
    sinks: list[Sink] = []
    bundle = open_bundle(model or default_bundle_path())
    pipeline = Pipeline(bundle, named, sinks, options, bundle_path=Path(model) if model else None)
    release_library_pages()
    stop = threading.Event()
    service.end_on_signals(stop)
    service.reload_on_hangup(pipeline.reload)
    told = click.get_current_context().with_resource(
        patient_stderr(lambda: not (pipeline.is_live or stop.is_set()), libraries=verbosity > 0)
    )
    with ExitStack() as running:
        setting = Setting(pipeline.board, waits=lambda: not pipeline.is_live, quit=stop.set)
        outlets = open_outlets(places, setting)
        running.callback(outlets.close)
        sinks += outlets.sinks
        if verbosity >= 0:
            sinks.append(ConsoleSink(told))
        for viewer in outlets.viewers:
            pipeline.viewers.add(viewer)
        if page is not None:
            running.callback(start_web(page, pipeline.board, pipeline.viewers).close)
        running.enter_context(service.Heartbeat(pipeline.board))
        summaries = pipeline.run(stop)
    if verbosity >= 0:
        for summary in summaries:
            click.echo(str(summary), err=True)
    if pipeline.failures:
        click.get_current_context().exit(1)
