"""`edge-har run`: live sources, or files, to events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_har.cli.logs import (
    AUTO,
    JOURNALD,
    PLAIN,
    VERBOSITIES,
    beginning,
    tell,
    verbosity_options,
    watch_log,
)
from edge_har.cli.stderr import non_blocking_stderr
from edge_har.errors import MisuseError
from edge_har.options import durations

if TYPE_CHECKING:
    from edge_har.config.file import Config
    from edge_har.pipeline.options import RunOptions
    from edge_har.pipeline.pipeline import Reload
    from edge_har.pipeline.rules import Rules
    from edge_har.sinks.options import SinkOptions
    from edge_har.sources.named import NamedSource
    from edge_har.web import WebOptions

FIXED_OPTIONS = ("threads", "duration_s", "realtime", "wait_for_source", "give_up_s")  # for a whole run
NAMES = {"min_duration_s": "min_s"}  # of options here: in RunOptions
FOR_PEOPLE = ("info", "debug")  # levels at which events are told on stderr too
SAYS_ALL = "debug"  # the level at which libraries are heard as well

log = logging.getLogger("edge_har")


def _seconds(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Seconds of a span of time: 90, 90s, 10m, 2h."""
    if value is None:
        return None
    try:
        return durations.parse_duration(value)
    except (TypeError, ValueError):
        raise click.BadParameter(f"{value!r} is not {durations.EXPECTED}.", context, option) from None


PROBABILITY = click.FloatRange(0, 1)


@click.command("run")
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings from a TOML file; what stands on the command line wins.",
)
@click.option(
    "--model", metavar="BUNDLE", help="A bundle (.ehar, or a folder such as DIR/current, which is watched)."
)
@click.option(
    "--source",
    "sources",
    metavar="[NAME=]URI",
    multiple=True,
    help="A file, folder or pattern, rtsp://, http(s):// motion JPEG, /dev/videoN, usb:NAME, csi:0, - (standard "
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
@click.option(
    "--duration",
    "duration_s",
    metavar="TIME",
    callback=_seconds,
    help="End after this time, such as 90s or 2h.",
)
@click.option("--realtime/--no-realtime", default=None, help="Play a file by the clock, as a camera would.")
@click.option(
    "--wait-for-source/--no-wait-for-source",
    default=None,
    help="Wait for a source that is not there at first.",
)
@click.option(
    "--give-up",
    "give_up_s",
    metavar="TIME",
    callback=_seconds,
    help="End a source that stays away so long, such as 10m.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of a graph.  [default: 1]")
@click.option(
    "--smooth", "smooth_s", metavar="TIME", callback=_seconds, help="Average probabilities over this time."
)
@click.option("--enter", type=PROBABILITY, help="An event starts at this average probability.")
@click.option("--leave", type=PROBABILITY, help="An event ends below this average probability.")
@click.option(
    "--min-duration", "min_duration_s", metavar="TIME", callback=_seconds, help="Tell no shorter events."
)
@click.option(
    "--cooldown",
    "cooldown_s",
    metavar="TIME",
    callback=_seconds,
    help="After an event, start no other of its label for this time.",
)
@click.option(
    "--label",
    "labels",
    metavar="NAME?OPTION=VALUE&...",
    multiple=True,
    help="A rule for one label: enabled=no, enter=0.8, cooldown_s=1m, hours=22:00-06:00, sources=door,attic.",
)
@click.option("--zone", metavar="ZONE", help="Whose clock hours mean, such as Europe/Paris; this machine's.")
@click.option(
    "--sink",
    "asked",
    metavar="SINK",
    multiple=True,
    help="Where events or pictures go as well: jsonl:FILE, mqtt://HOST, https://HOST/..., video:FOLDER, clips:FOLDER.",
)
@click.option("--display/--no-display", default=None, help="Show what is seen in a window.")
@click.option(
    "--unknown/--no-unknown",
    default=None,
    help="Tell 'unknown' while no label is sure enough for the bundle.",
)
@click.option(
    "--web",
    "listen",
    metavar="HOST:PORT[?OPTION=VALUE&...]",
    help="Serve a live page there; beyond 127.0.0.1 $EDGE_HAR_WEB_TOKEN guards it.",
)
@click.option(
    "--log-format",
    type=click.Choice([AUTO, PLAIN, JOURNALD]),
    help="Lines on stderr for people, or with priorities for systemd's journal.  [default: auto]",
)
@verbosity_options
def command(
    config_path: Path | None,
    sources: tuple[str, ...],
    cameras: tuple[int, ...],
    asked: tuple[str, ...],
    labels: tuple[str, ...],
    zone: str | None,
    model: str | None,
    display: bool | None,
    listen: str | None,
    log_format: str | None,
    verbosity: int,
    **options: Any,
) -> None:
    """Recognise what happens in live sources, or files, as it happens.

    Events go to stdout, one JSON object a line, and to stderr for people. Files play as fast as they can be read and
    end with exit 0; cameras and streams run until Ctrl-C, and are opened again when they are lost. Of several sources
    one that fails ends alone, and the run ends with exit 1. The thresholds are the bundle's where none is given.
    """
    named = (*sources, *(str(camera) for camera in cameras))
    if not named and config_path is None:
        raise MisuseError("name a source, with --source [NAME=]URI or --camera N, or --config FILE")
    _run(
        Given(config_path, named, asked, labels, zone, model, display, listen, log_format, verbosity, options)
    )


@dataclass(frozen=True)
class Given:
    """What stands on the command line. options: fields of RunOptions; None: not given."""

    config_path: Path | None
    sources: tuple[str, ...] = field(repr=False)  # an address may hold a password
    sinks: tuple[str, ...] = field(repr=False)
    labels: tuple[str, ...]
    zone: str | None
    model: str | None
    display: bool | None
    listen: str | None
    log_format: str | None
    verbosity: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a run does: the command line over the configuration file. model: path of the bundle; None: the shipped one,
    which does not change.
    """

    config: Config
    model: Path | None
    options: RunOptions
    sinks: list[SinkOptions]
    web: WebOptions | None
    level: str
    log_form: str
    sources: tuple[str, ...] = field(repr=False)

    def feeds(self) -> list[NamedSource]:
        """What is followed. Raises MisuseError where there is nothing."""
        from edge_har.sources.named import named_source

        realtime = self.options.realtime
        feeds = [named_source(text, realtime=realtime) for text in self.sources]
        feeds = feeds or [source.feed(realtime=realtime) for source in self.config.sources]
        if not feeds:
            raise MisuseError(f"{self.config.path}: no source; add a [[source]], or name one with --source")
        return feeds

    def fixed(self) -> dict[str, object]:
        """What holds for a whole run, by the key that sets it in a configuration file."""
        options = {name: getattr(self.options, name) for name in FIXED_OPTIONS}
        told = {"source": self.sources or self.config.sources, "sink": self.sinks, "web": self.web}
        return {**options, **told, "log": (self.level, self.log_form)}


def plan(given: Given) -> Plan:
    """Read the configuration file, if there is one, and put the command line over it.

    Raises MisuseError for what cannot be.
    """
    from edge_har.config.file import Config, read_config, web_of_text
    from edge_har.model.bundle import default_bundle_path
    from edge_har.sinks import options_of_text, with_standard_output

    if given.model == "":
        raise MisuseError("--model: expected a bundle, found an empty text")
    config = Config() if given.config_path is None else read_config(given.config_path)
    model = given.model or config.model
    asked = {NAMES.get(name, name): value for name, value in given.options.items() if value is not None}
    # 0 is no limit.
    asked |= {name: asked[name] or None for name in ("duration_s", "give_up_s") if name in asked}
    rules = _rules(given.labels, given.zone, config.options.rules)
    sinks = [options_of_text(text) for text in given.sinks] or list(config.sinks)
    if config.display if given.display is None else given.display:
        sinks.append(options_of_text("window"))
    return Plan(
        config=config,
        model=Path(model) if model else None if config.path is None else default_bundle_path(),
        options=replace(config.options, rules=rules, **asked),
        sinks=with_standard_output(sinks),
        web=config.web if given.listen is None else web_of_text(given.listen, config.web),
        level=VERBOSITIES[given.verbosity] if given.verbosity else config.log.level,
        log_form=given.log_format or config.log.form,
        sources=given.sources,
    )


def _rules(labels: tuple[str, ...], zone: str | None, of_file: Rules) -> Rules:
    from edge_har.config.file import label_of_text

    return replace(
        of_file,
        labels={**of_file.labels, **dict(map(label_of_text, labels))},
        zone=zone if zone is not None else of_file.zone,
    )


def _rereader(given: Given, running: Plan) -> Callable[[], Reload]:
    """What reads the settings of a run again; of what holds for a whole run it only says that it changed."""
    from edge_har.model.bundle import open_bundle
    from edge_har.pipeline.pipeline import Reload

    names = tuple(feed.name for feed in running.feeds())

    def read() -> Reload:
        fresh = plan(given)
        manifest = open_bundle(fresh.model).manifest if fresh.model else None
        before = running.fixed()
        changed = [key for key, value in fresh.fixed().items() if value != before[key]]
        if changed:
            log.warning("changed, but only a restart takes it: %s", ", ".join(changed))
        if manifest is not None:
            fresh.config.check(manifest, names, fresh.options)
        kept = {name: getattr(running.options, name) for name in FIXED_OPTIONS}
        return Reload(replace(fresh.options, **kept), fresh.model, manifest)

    return read


def _run(given: Given) -> None:
    from edge_har.model.bundle import default_bundle_path, open_bundle
    from edge_har.pipeline import systemd as service
    from edge_har.pipeline.observer import PipelineObserver
    from edge_har.pipeline.outputs import EventSink
    from edge_har.pipeline.pipeline import Pipeline
    from edge_har.sinks import open_outputs
    from edge_har.sinks.console import ConsoleSink
    from edge_har.sinks.options import SinkContext
    from edge_har.system.memory import release_library_pages
    from edge_har.web import start_web

    watch_log(given.verbosity, given.log_format or AUTO)
    wanted = plan(given)
    watch_log(wanted.level, wanted.log_form)
    tells_people = wanted.level in FOR_PEOPLE
    feeds = wanted.feeds()
    sinks: list[EventSink] = []
    bundle = open_bundle(wanted.model or default_bundle_path())
    wanted.config.check(bundle.manifest, tuple(feed.name for feed in feeds), wanted.options)
    pipeline = Pipeline(
        bundle,
        feeds,
        sinks,
        wanted.options,
        bundle_path=wanted.model,
        on_reload=_rereader(given, wanted) if given.config_path is not None else None,
        observer=click.get_current_context().find_object(PipelineObserver),
    )
    release_library_pages()
    stop = threading.Event()
    service.end_on_signals(stop)
    service.reload_on_hangup(pipeline.reload)
    told = click.get_current_context().with_resource(
        non_blocking_stderr(
            lambda: not (pipeline.is_live or stop.is_set()), libraries=wanted.level == SAYS_ALL
        )
    )
    with ExitStack() as running:
        setting = SinkContext(pipeline.run_status, waits=lambda: not pipeline.is_live, quit=stop.set)
        outlets = open_outputs(wanted.sinks, setting)
        running.callback(outlets.close)
        sinks += outlets.event_sinks
        if tells_people:
            sinks.append(ConsoleSink(told, beginning(logging.INFO)))
        for viewer in outlets.frame_sinks:
            pipeline.frame_sinks.add(viewer)
        if wanted.web is not None:
            running.callback(start_web(wanted.web, pipeline.run_status, pipeline.frame_sinks).close)
        running.enter_context(service.Heartbeat(pipeline.run_status))
        summaries = pipeline.run(stop)
    if tells_people:
        for summary in summaries:
            tell(f"{beginning(logging.INFO)}{summary}")
    if pipeline.failures or any(sink.lost for sink in pipeline.run_status.sinks):
        click.get_current_context().exit(1)
