"""Where events and pictures go."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from edge_har.errors import MisuseError
from edge_har.options.addresses import USER_INFO
from edge_har.options.fields import options_of
from edge_har.options.reading import OptionReader

if TYPE_CHECKING:
    from edge_har.pipeline.outputs import EventSink, FrameSink
    from edge_har.sinks.options import SinkContext, SinkOptions

# Modules by name: a kind's libraries are loaded when it is used.
KINDS = {
    "jsonl": ("edge_har.sinks.jsonl", "JsonLinesOptions"),
    "mqtt": ("edge_har.sinks.mqtt", "MqttOptions"),
    "webhook": ("edge_har.sinks.webhook", "WebhookOptions"),
    "video": ("edge_har.sinks.video", "VideoOptions"),
    "clips": ("edge_har.sinks.clips", "ClipsOptions"),
    "window": ("edge_har.sinks.window", "WindowOptions"),
}
GRAMMAR = "jsonl:FILE, mqtt://HOST, mqtts://HOST, http(s)://HOST/..., video:FOLDER, clips:FOLDER or window"


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
    if scheme in ("http", "https") and colon:
        url, _, options = text.partition("#")
        if USER_INFO.search(url):
            raise MisuseError(
                "a password in the address shows in the list of processes: "
                "use url_env or url_file, or a token"
            )
        return _options_of("webhook", {"url": url}, options)
    address, _, options = rest.partition("?")
    if scheme in ("mqtt", "mqtts") and address.startswith("//"):
        return _options_of("mqtt", _broker(scheme, address), options)
    if scheme == "window" or (colon and scheme in ("jsonl", "video", "clips")):
        return _options_of(scheme, {"path": address} if address else {}, options)
    raise MisuseError(f"a sink is {GRAMMAR}")


def with_standard_output(all_options: Sequence[SinkOptions]) -> list[SinkOptions]:
    """These, and standard output first unless it is among them."""
    from edge_har.sinks.jsonl import STANDARD_OUTPUT, JsonLinesOptions

    for options in all_options:
        if isinstance(options, JsonLinesOptions) and options.path == STANDARD_OUTPUT:
            return list(all_options)
    return [JsonLinesOptions(STANDARD_OUTPUT, name="stdout"), *all_options]


def _broker(scheme: str, address: str) -> dict[str, object]:
    try:
        parts = urlsplit(f"mqtt:{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise MisuseError(f"a broker is {scheme}://USER@HOST:PORT/TOPIC") from None
    if parts.password is not None:
        raise MisuseError(
            "a password in the address shows in the list of processes: use password_env or password_file"
        )
    table = {
        "host": host or "",
        "port": port,
        "user": unquote(parts.username or ""),
        "topic": parts.path.strip("/"),
        "tls": scheme == "mqtts",
    }
    return {name: value for name, value in table.items() if value not in (None, "", False)}


def _options_of(kind: str, given: dict[str, object], query: str) -> SinkOptions:
    """The options of a kind from its address and from a query; no message quotes a value, which may be a secret."""
    found = options_class(kind)
    return found(**OptionReader(show_values=False).query(query, kind, options_of(found), given))


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
