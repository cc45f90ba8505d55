"""Where events and pictures go."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_har.errors import MisuseError
from edge_har.options.addresses import holds_password
from edge_har.options.fields import options_of
from edge_har.options.reading import OptionReader

if TYPE_CHECKING:
    from edge_har.pipeline.outputs import EventSink, FrameSink
    from edge_har.sinks.console import ConsoleOptions
    from edge_har.sinks.options import SinkContext, SinkOptions

# Modules by name: a kind's libraries are loaded when it is used.
KINDS = {
    "jsonl": ("edge_har.sinks.jsonl", "JsonLinesOptions"),
    "mqtt": ("edge_har.sinks.mqtt", "MqttOptions"),
    "webhook": ("edge_har.sinks.webhook", "WebhookOptions"),
    "apprise": ("edge_har.sinks.notify", "AppriseOptions"),
    "video": ("edge_har.sinks.video", "VideoOptions"),
    "clips": ("edge_har.sinks.clips", "ClipsOptions"),
    "window": ("edge_har.sinks.window", "WindowOptions"),
}
# What a line begins with, to the kind; a window needs nothing behind it.
SCHEMES = {
    "http": "webhook",
    "https": "webhook",
    "mqtts": "mqtt",
    **{kind: kind for kind in KINDS if kind != "webhook"},
}
STANDALONE = ("window",)
STDOUT = "stdout"  # the name of the sink that no user named
GRAMMAR = (
    "jsonl:FILE, mqtt://HOST, mqtts://HOST, http(s)://HOST/..., apprise:URL, video:FOLDER, clips:FOLDER or "
    "window"
)


def options_class(kind: object) -> type[SinkOptions]:
    """The options of a kind of sink; raises MisuseError where there is none."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise MisuseError(f"no kind of sink is called {kind!r}; there are {', '.join(KINDS)}")
    module, name = KINDS[kind]
    found: type[SinkOptions] = getattr(importlib.import_module(module), name)
    return found


def options_of_text(text: str) -> SinkOptions:
    """The options in one line, as on a command line: an address, and `?option=value&option=value`.

    What a web server's address has there belongs to the server: options of a webhook follow `#`. Raises
    MisuseError; also for a password, which would be in the list of processes.
    """
    scheme, colon, rest = text.partition(":")
    if scheme not in SCHEMES or not (colon or scheme in STANDALONE):
        hint = f"; did you mean jsonl:{text}?" if text.endswith((".jsonl", ".json")) else ""
        raise MisuseError(f"a sink is {GRAMMAR}{hint}")
    found = options_class(SCHEMES[scheme])
    # Before anything is read: a password may hold the mark behind which options stand.
    if found.password_instead is not None and holds_password(text):
        raise MisuseError(
            f"a password in the address shows in the list of processes: use {found.password_instead}; an @ "
            "that belongs to none is written %40"
        )
    address, _, query = rest.partition(found.query_mark)
    given = found.of_address(scheme, address)
    # No message quotes a value, which may be a secret.
    return found(**OptionReader(show_values=False).query(query, found.kind, options_of(found), given))


def with_standard_output(
    all_options: Sequence[SinkOptions], console: ConsoleOptions | None = None
) -> list[SinkOptions]:
    """These, and standard output first unless it is among them: as JSON lines, or as `console`."""
    from edge_har.sinks.jsonl import STANDARD_OUTPUT, JsonLinesOptions

    for options in all_options:
        if isinstance(options, JsonLinesOptions) and options.path == STANDARD_OUTPUT:
            return list(all_options)
    return [console or JsonLinesOptions(STANDARD_OUTPUT, name=STDOUT), *all_options]


@dataclass
class Outputs:
    """The open sinks of a run."""

    event_sinks: list[EventSink] = field(default_factory=list)
    frame_sinks: list[FrameSink] = field(default_factory=list)

    def close(self) -> None:
        """Close all together: each may take its time, but all do at the same time."""
        all_of_them: list[EventSink | FrameSink] = [*self.event_sinks, *self.frame_sinks]
        everything = {id(one): one for one in all_of_them}
        for one in everything.values():
            one.stop()
        for one in everything.values():
            one.close()


def open_outputs(all_options: Iterable[SinkOptions], context: SinkContext) -> Outputs:
    """Open all of them; raises EdgeHarError where one cannot be, and then closes the others."""
    from edge_har.sinks.options import check_names

    all_options = list(all_options)
    check_names(all_options)
    outputs = Outputs()
    try:
        for options in all_options:
            opened = options.open(context)
            if opened.events is not None:
                outputs.event_sinks.append(opened.events)
            if opened.frames is not None:
                outputs.frame_sinks.append(opened.frames)
    except BaseException:
        outputs.close()
        raise
    return outputs
