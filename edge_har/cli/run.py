"""`edge-har run`: live sources, or files, to events."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from edge_har.cli._crash import graph_crash_line
from edge_har.cli._options import command_line_options
from edge_har.cli.command import ARGUMENTS, Command
from edge_har.cli.logs import VERBOSITIES, beginning, verbosity_options, watch_log, write_line
from edge_har.cli.stderr import non_blocking_stderr
from edge_har.config.declared import AUTO, VERBOSE, LogOptions, MainOptions
from edge_har.errors import MisuseError
from edge_har.options.addresses import mask_uri
from edge_har.options.fields import options_of
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import Rules
from edge_har.system.work import Work

if TYPE_CHECKING:
    from edge_har.config.plan import CommandLine, Plan
    from edge_har.pipeline.observer import PipelineObserver
    from edge_har.pipeline.pipeline import Pipeline, Reload
    from edge_har.sinks import Outputs

FOR_PEOPLE = ("info", VERBOSE)  # levels at which people read stderr
RUN = options_of(RunOptions)
DEMO_SOURCE = "demo=synthetic:demo"

# What people write elsewhere, or as an argument.
INSTEAD = {
    ARGUMENTS: "did you mean --source {}?",
    **dict.fromkeys(
        ("--input", "-i", "--video", "--file", "--url", "--rtsp", "--path"), "did you mean --source?"
    ),
    **dict.fromkeys(("--webcam", "--device", "--cam", "-c"), "did you mean --camera?"),
    **dict.fromkeys(("--bundle", "--weights", "-m"), "did you mean --model?"),
    **dict.fromkeys(("--output", "--out", "-o", "--save"), "did you mean --sink jsonl:FILE?"),
    **dict.fromkeys(("--mqtt", "--broker"), "did you mean --sink mqtt://HOST?"),
    "--webhook": "did you mean --sink https://HOST/...?",
    **dict.fromkeys(("--threshold", "--confidence", "--conf", "-t"), "did you mean --enter?"),
    **dict.fromkeys(("--port", "--host", "--http"), "did you mean --web HOST:PORT?"),
    **dict.fromkeys(("--show", "--view", "--window", "--gui", "--preview"), "did you mean --display?"),
    **dict.fromkeys(("--debug", "--log-level"), "did you mean -v?"),
    **dict.fromkeys(("--time", "--timeout", "--seconds"), "did you mean --duration?"),
    **dict.fromkeys(("--labels", "--only", "--filter", "--class", "--classes"), "did you mean --label?"),
}

log = logging.getLogger("edge_har")


@click.command(
    "run",
    cls=Command,
    instead=INSTEAD,
    groups={
        "Sources": "--source --camera --demo --realtime --wait-for-source --give-up",
        "Model": "--model --threads",
        "Events": "--enter --leave --smooth --min-duration --cooldown --label --zone --unknown",
        "Outputs": "--json --sink --web --display",
        "The run": "--config --duration --log-format --quiet --verbose",
    },
    examples={
        "Without a camera": "edge-har run --demo",
        "The first camera, until Ctrl-C": "edge-har run --camera 0",
        "A network camera called door, and a live page": "edge-har run --source door=rtsp://10.0.0.5/stream "
        "--web 127.0.0.1:8080",
        "Only two activities": "edge-har run --camera 0 --label Walk --label Run",
        "A recording, its events as JSON lines in a file": "edge-har run --source visit.mp4 > events.jsonl",
        "Events to an MQTT broker too": "edge-har run --camera 0 --sink mqtt://broker.local",
    },
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read settings from a TOML file; options given here replace them.",
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
@click.option("--demo", is_flag=True, help="A synthetic person, drawn in real time: no camera is needed.")
@command_line_options(RUN)
@click.option(
    "--label",
    "labels",
    metavar="NAME[?OPTION=VALUE&...]",
    multiple=True,
    help="NAME alone: report this label and no other; may be given several times. With options, a rule for "
    "the label: enabled=no, enter=0.8, cooldown_s=1m, hours=22:00-06:00, sources=door,attic.",
)
@command_line_options(options_of(Rules))
@click.option(
    "--sink",
    "sinks",
    metavar="SINK",
    multiple=True,
    help="Send events or pictures there too: jsonl:FILE, mqtt://HOST, https://HOST/..., apprise:URL, "
    "video:FOLDER, clips:FOLDER.",
)
@click.option(
    "--web",
    metavar="HOST:PORT[?OPTION=VALUE&...]",
    help="Serve a live page at this address; beyond 127.0.0.1 it needs a token in $EDGE_HAR_WEB_TOKEN.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines on a terminal too.")
@command_line_options(options_of(LogOptions))
@verbosity_options
def command(
    config_path: Path | None,
    sources: tuple[str, ...],
    cameras: tuple[int, ...],
    demo: bool,
    as_json: bool,
    verbosity: int,
    **given: Any,
) -> None:
    """Recognise what happens in live sources, or files, as it happens.

    Events go to standard output: a readable line each on a terminal, with the time of day (with -v also the
    source's own), else a JSON object a line. Files play as fast as they can be
    read and end with exit 0; cameras and streams run until Ctrl-C, and are reconnected when they are lost.
    Of several sources one that fails ends alone, and the run ends with exit 1.
    The thresholds are the bundle's where none is given.
    """
    followed = (*sources, *(str(camera) for camera in cameras))
    if demo:
        if followed:
            raise MisuseError("--demo is a source of its own: leave out --source and --camera")
        followed = (DEMO_SOURCE,)
        given["realtime"] = given["realtime"] is not False
    if not followed and config_path is None:
        raise MisuseError(
            "name a source, with --source [NAME=]URI or --camera N, or --config FILE; or try --demo"
        )
    from edge_har.config.plan import CommandLine

    options = {name: given.pop(name) for name in RUN}
    level = VERBOSITIES[verbosity] if verbosity else None
    on_terminal = sys.stdout.isatty()
    console = on_terminal and not as_json
    line = CommandLine(config_path, followed, level=level, console=console, options=options, **given)
    _run(line, not (on_terminal or as_json))


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


@dataclass
class _Run:
    """A run that is made ready. for_people: whether people read stderr. repeats: whether they find the events
    there, as standard output is no terminal. outputs: once open.
    """

    planned: Plan
    pipeline: Pipeline
    for_people: bool
    repeats: bool
    stop: threading.Event = field(default_factory=threading.Event)
    outputs: Outputs | None = None

    @property
    def waits(self) -> bool:
        """Whether outputs may make recognition wait rather than lose anything."""
        return not (self.pipeline.is_live or self.stop.is_set())

    def do(self, stderr: TextIO) -> None:
        """Run to the end, and close what was opened."""
        from edge_har.pipeline.systemd import Heartbeat
        from edge_har.sinks import open_outputs
        from edge_har.sinks.console import ConsoleSink
        from edge_har.sinks.options import SinkContext
        from edge_har.web import start_web

        pipeline, planned = self.pipeline, self.planned
        with ExitStack() as running:
            context = SinkContext(pipeline.run_status, waits=lambda: self.waits, quit=self.stop.set)
            self.outputs = outputs = open_outputs(planned.sinks, context)
            running.callback(outputs.close)
            sinks = list(outputs.event_sinks)
            if self.for_people and self.repeats:
                verbose = planned.level == VERBOSE
                sinks.append(ConsoleSink(stderr, beginning(logging.INFO), source_time=verbose))
            pipeline.sinks = sinks
            for frame_sink in outputs.frame_sinks:
                pipeline.frame_sinks.add(frame_sink)
            if planned.web is not None:
                web = start_web(planned.web, pipeline.run_status, pipeline.frame_sinks)
                running.callback(web.close)
                # On a terminal alone: a log or a journal must not hold the token.
                if self.for_people and planned.web.token is not None and stderr.isatty():
                    write_line(f"open it in a browser, by this link that holds the token: {web.link}")
            running.enter_context(Heartbeat(pipeline.run_status))
            running.enter_context(graph_crash_line(planned.model, stderr))
            pipeline.run(self.stop)

    def end_from_outside(self) -> None:
        """Do what `do` does at the end, where it does not come to it."""
        self.pipeline.end_from_outside()
        if self.outputs is not None:
            self.outputs.close()

    def exit_code(self) -> int:
        """1 where a source failed or events are lost, else 0."""
        return int(bool(self.pipeline.failures) or any(s.lost for s in self.pipeline.run_status.sinks))


def _prepare(given: CommandLine, repeats: bool, observer: PipelineObserver | None) -> _Run:
    from edge_har.config.plan import plan
    from edge_har.model.bundle import default_bundle_path, open_bundle
    from edge_har.model.trial import ensure_tried
    from edge_har.pipeline.pipeline import Pipeline
    from edge_har.system.memory import release_startup_memory

    watch_log(given.level or VERBOSITIES[0], given.form or AUTO)
    planned = plan(given)
    watch_log(planned.level, planned.log_form)
    if any(mask_uri(address) != address for address in planned.sources):
        log.warning(
            "an address on the command line holds a password, and the list of processes shows it: name the "
            "source in a configuration file, with password_env or password_file (uri_file for all of it)"
        )
    sources = planned.named_sources()
    bundle_path = planned.model or default_bundle_path()
    bundle = open_bundle(bundle_path)
    planned.check_names(bundle.manifest, tuple(source.name for source in sources))
    ensure_tried(bundle, bundle_path)
    pipeline = Pipeline(
        bundle,
        sources,
        [],
        planned.options,
        bundle_path=planned.model,
        on_reload=_rereader(given, planned) if given.config_path is not None else None,
        observer=observer,
    )
    release_startup_memory()
    return _Run(planned, pipeline, planned.level in FOR_PEOPLE, repeats)


def _run(given: CommandLine, repeats: bool) -> None:
    from edge_har.pipeline import ending
    from edge_har.pipeline.observer import PipelineObserver
    from edge_har.pipeline.systemd import reload_on_hangup

    context = click.get_current_context()
    ending.heed_sigterm()
    run = Work(partial(_prepare, given, repeats, context.find_object(PipelineObserver))).result()
    ending.end_on_signals(run.stop)
    reload_on_hangup(run.pipeline.reload)
    stderr = context.with_resource(
        non_blocking_stderr(lambda: run.waits, libraries=run.planned.level == VERBOSE)
    )
    ending.run_until(run.stop, partial(run.do, stderr), take_over=run.end_from_outside, code=run.exit_code)
    if run.for_people:
        for summary in run.pipeline.summaries():
            write_line(f"{beginning(logging.INFO)}{summary}")
    if run.exit_code():
        context.exit(run.exit_code())
