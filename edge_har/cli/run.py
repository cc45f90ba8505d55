"""`edge-har run`: live sources, or files, to events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_har.cli._crash import graph_crash_line
from edge_har.cli._options import command_line_options
from edge_har.cli.logs import VERBOSITIES, beginning, verbosity_options, watch_log, write_line
from edge_har.cli.stderr import non_blocking_stderr
from edge_har.config.declared import AUTO, LogOptions, MainOptions
from edge_har.errors import MisuseError
from edge_har.options.addresses import mask_uri
from edge_har.options.fields import options_of
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import Rules

if TYPE_CHECKING:
    from edge_har.config.plan import CommandLine, Plan
    from edge_har.pipeline.pipeline import Reload

FOR_PEOPLE = ("info", "debug")  # levels at which events are reported on stderr too
ALL_OF_IT = "debug"  # the level at which libraries are heard as well
RUN = options_of(RunOptions)

log = logging.getLogger("edge_har")


@click.command("run")
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings from a TOML file; what stands on the command line wins.",
)
@command_line_options(options_of(MainOptions))
@click.option(
    "--source",
    "sources",
    metavar="[NAME=]URI",
    multiple=True,
    help="A file, folder or pattern, rtsp://, http(s):// motion JPEG, /dev/videoN, usb:NAME, csi:0, - "
    "(standard "
    "input), gst:PIPELINE, synthetic:LABEL; may be given several times.",
)
@click.option(
    "--camera",
    "cameras",
    metavar="N",
    type=click.IntRange(min=0),
    multiple=True,
    help="The camera /dev/videoN; may be given several times.",
)
@command_line_options(RUN)
@click.option(
    "--label",
    "labels",
    metavar="NAME?OPTION=VALUE&...",
    multiple=True,
    help="A rule for one label: enabled=no, enter=0.8, cooldown_s=1m, hours=22:00-06:00, sources=door,attic.",
)
@command_line_options(options_of(Rules))
@click.option(
    "--sink",
    "sinks",
    metavar="SINK",
    multiple=True,
    help="Where events or pictures go as well: jsonl:FILE, mqtt://HOST, https://HOST/..., video:FOLDER, "
    "clips:FOLDER.",
)
@click.option(
    "--web",
    metavar="HOST:PORT[?OPTION=VALUE&...]",
    help="Serve a live page there; beyond 127.0.0.1 $EDGE_HAR_WEB_TOKEN guards it.",
)
@command_line_options(options_of(LogOptions))
@verbosity_options
def command(
    config_path: Path | None, sources: tuple[str, ...], cameras: tuple[int, ...], verbosity: int, **given: Any
) -> None:
    """Recognise what happens in live sources, or files, as it happens.

    Events go to stdout, one JSON object a line, and to stderr for people. Files play as fast as they can be
    read and end with exit 0; cameras and streams run until Ctrl-C, and are reconnected when they are lost.
    Of several sources one that fails ends alone, and the run ends with exit 1.
    The thresholds are the bundle's where none is given.
    """
    followed = (*sources, *(str(camera) for camera in cameras))
    if not followed and config_path is None:
        raise MisuseError("name a source, with --source [NAME=]URI or --camera N, or --config FILE")
    from edge_har.config.plan import CommandLine

    options = {name: given.pop(name) for name in RUN}
    level = VERBOSITIES[verbosity] if verbosity else None
    _run(CommandLine(config_path, followed, level=level, options=options, **given))


def _rereader(given: CommandLine, running: Plan) -> Callable[[], Reload]:
    """What reads the settings of a run again; of what holds for a whole run it only says that it changed."""
    from edge_har.config.plan import FIXED, plan
    from edge_har.model.bundle import open_bundle
    from edge_har.pipeline.pipeline import Reload

    names = tuple(source.name for source in running.named_sources())

    def read() -> Reload:
        fresh = plan(given)
        manifest = open_bundle(fresh.model).manifest if fresh.model else None
        before = running.fixed()
        changed = [key for key, value in fresh.fixed().items() if value != before[key]]
        if changed:
            log.warning("changed, but only a restart takes it: %s", ", ".join(changed))
        if manifest is not None:
            fresh.check_names(manifest, names)
        kept = {name: getattr(running.options, name) for name in FIXED}
        return Reload(replace(fresh.options, **kept), fresh.model, manifest)

    return read


def _run(given: CommandLine) -> None:
    from edge_har.config.plan import plan
    from edge_har.model.bundle import default_bundle_path, open_bundle
    from edge_har.model.trial import ensure_tried
    from edge_har.pipeline import systemd as service
    from edge_har.pipeline.observer import PipelineObserver
    from edge_har.pipeline.outputs import EventSink
    from edge_har.pipeline.pipeline import Pipeline
    from edge_har.sinks import open_outputs
    from edge_har.sinks.console import ConsoleSink
    from edge_har.sinks.options import SinkContext
    from edge_har.system.memory import release_library_pages
    from edge_har.web import start_web

    watch_log(given.level or VERBOSITIES[0], given.form or AUTO)
    planned = plan(given)
    watch_log(planned.level, planned.log_form)
    if any(mask_uri(address) != address for address in planned.sources):
        log.warning(
            "an address on the command line holds a password, and the list of processes shows it: name the "
            "source in a configuration file, with password_env or password_file (uri_file for all of it)"
        )
    for_people = planned.level in FOR_PEOPLE
    sources = planned.named_sources()
    sinks: list[EventSink] = []
    bundle_path = planned.model or default_bundle_path()
    bundle = open_bundle(bundle_path)
    planned.check_names(bundle.manifest, tuple(source.name for source in sources))
    ensure_tried(bundle, bundle_path)
    pipeline = Pipeline(
        bundle,
        sources,
        sinks,
        planned.options,
        bundle_path=planned.model,
        on_reload=_rereader(given, planned) if given.config_path is not None else None,
        observer=click.get_current_context().find_object(PipelineObserver),
    )
    release_library_pages()
    stop = threading.Event()
    service.end_on_signals(stop)
    service.reload_on_hangup(pipeline.reload)
    stderr = click.get_current_context().with_resource(
        non_blocking_stderr(
            lambda: not (pipeline.is_live or stop.is_set()), libraries=planned.level == ALL_OF_IT
        )
    )
    with ExitStack() as running:
        context = SinkContext(pipeline.run_status, waits=lambda: not pipeline.is_live, quit=stop.set)
        outputs = open_outputs(planned.sinks, context)
        running.callback(outputs.close)
        sinks += outputs.event_sinks
        if for_people:
            sinks.append(ConsoleSink(stderr, beginning(logging.INFO)))
        for frame_sink in outputs.frame_sinks:
            pipeline.frame_sinks.add(frame_sink)
        if planned.web is not None:
            running.callback(start_web(planned.web, pipeline.run_status, pipeline.frame_sinks).close)
        running.enter_context(service.Heartbeat(pipeline.run_status))
        running.enter_context(graph_crash_line(planned.model, stderr))
        summaries = pipeline.run(stop)
    if for_people:
        for summary in summaries:
            write_line(f"{beginning(logging.INFO)}{summary}")
    if pipeline.failures or any(sink.lost for sink in pipeline.run_status.sinks):
        click.get_current_context().exit(1)
