"""The configuration file of `edge-har run`: TOML to options; every problem in it is told, by key, never a secret."""

from __future__ import annotations

import difflib
import importlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from edge_har.errors import EdgeHarError, MisuseError, printable
from edge_har.model.manifest import Manifest
from edge_har.options import durations
from edge_har.options.addresses import MASK, USER_INFO, mask_uri
from edge_har.options.secrets import FROM_ENVIRONMENT, FROM_FILE, base_of, look_up, secret_names
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import UNKNOWN, Hours, LabelRule, Rules
from edge_har.sinks import KINDS, options_class, with_standard_output
from edge_har.sinks.options import NO_SPOOL, SinkOptions
from edge_har.sources import Address, parse_address
from edge_har.sources.named import NAME, NamedSource
from edge_har.sources.options import EXPECTED as SOURCE_EXPECTED
from edge_har.sources.options import READERS as SOURCE_READERS
from edge_har.sources.options import SourceOptions, yes_or_no
from edge_har.web.options import TOKEN_VARIABLE, WebOptions

MAX_BYTES = 256 * 1024
BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
MAX_PROBLEMS = 50  # that are told
MAX_SHOWN = 60  # characters of a value in a message
PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
PATH_KEYS = (
    "path",
    "spool",
    "ca_file",
    "cert_file",
    "key_file",
)  # of a sink; relative to the file they stand in
NO_PATHS = ("-", NO_SPOOL)
LEVELS = ("error", "warning", "info", "debug")  # of what is said on standard error
FORMS = ("auto", "plain", "journald")

Made = TypeVar("Made")
Reader = tuple[Callable[[object], Any], str]  # raises TypeError, ValueError or MisuseError; what is expected


class ConfigError(MisuseError):
    """A configuration that cannot be used. problems: one line each, which names the file and the key."""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        found = list(problems)
        if len(found) > MAX_PROBLEMS:
            found[MAX_PROBLEMS:] = [f"and {len(found) - MAX_PROBLEMS} more"]
        self.problems = tuple(f"{path}{'' if p[:1] == ':' else ': '}{p}" for p in found)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class LogOptions:
    """What is said on standard error. level: error, warning, info or debug. form: plain, journald, or auto: journald
    where systemd's journal reads it.
    """

    level: str = "info"
    form: str = "auto"


@dataclass(frozen=True)
class SourceConfig:
    """A source to follow. name: what events call it. address: what its URI and options mean; without what may not be
    shown.
    """

    name: str
    address: Address

    def feed(self, *, realtime: bool) -> NamedSource:
        """How a run opens it."""
        return NamedSource(self.name, partial(self.address.open, realtime=realtime))


@dataclass(frozen=True)
class Config:
    """What a configuration file asks for. path: of the file; None: there is none. model: the bundle's path; None: the
    one that ships with the package. web: None where no page is served.
    """

    path: Path | None = None
    model: str | None = None
    options: RunOptions = field(default_factory=RunOptions)
    sources: tuple[SourceConfig, ...] = ()
    sinks: tuple[SinkOptions, ...] = ()
    display: bool = False
    web: WebOptions | None = None
    log: LogOptions = field(default_factory=LogOptions)

    def check(
        self,
        manifest: Manifest,
        sources: tuple[str, ...] | None = None,
        options: RunOptions | None = None,
    ) -> None:
        """Raise ConfigError where the file names labels that the bundle, or sources that the run, does not have.

        sources: names of those that are followed; None: those of the file. options: what holds in the end; None: what
        the file says. What stands in its place is not looked at.
        """
        if self.path is None:
            return
        names = tuple(source.name for source in self.sources) if sources is None else sources
        wanted = self.options if options is None else options
        known = (*manifest.labels, UNKNOWN) if wanted.unknown else manifest.labels
        found = _Problems()
        for label, rule in self.options.rules.labels.items():
            if wanted.rules.labels.get(label) is not rule:
                continue
            found.check_name(_join("labels", label), "label of the model", label, known)
            for source in rule.sources:
                found.check_name(_join("labels", label, "sources"), "source", source, names)
        for number, sink in enumerate(self.sinks, 1):
            for label in getattr(sink, "labels", ()):
                found.check_name(f"sink[{number}].labels", "label of the model", label, known)
        if not found.lines and options is None:
            with found.caught("events"):
                wanted.check(manifest, names)
        found.end(self.path)

    def check_installed(self) -> None:
        """Raise ConfigError where a library is missing that a table needs."""
        if self.path is None:
            return
        found = _Problems()
        for number, sink in enumerate(self.sinks, 1):
            with found.caught(f"sink[{number}]"):
                sink.check_installed()
        if self.web is not None:
            from edge_har.web import check_installed

            with found.caught("web"):
                check_installed()
        found.end(self.path)

    def to_json(self) -> dict[str, Any]:
        """What is asked for, defaults and all, with secrets as ***."""
        flat = _shown(self.options)
        rules = flat.pop("rules")
        return {
            "model": self.model,
            **{name: flat[name] for name in TOP_OPTIONS},
            "display": self.display,
            "source": [_shown_source(source) for source in self.sources],
            "events": {**{name: flat[name] for name in EVENT_OPTIONS}, "zone": rules["zone"]},
            "labels": rules["labels"],
            "sink": [{"kind": sink.kind, **_shown(sink)} for sink in self.sinks],
            "web": None if self.web is None else _shown(self.web),
            "log": _shown(self.log),
        }


def read_config(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError with all that is wrong in it."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(path, [f"cannot be read: {getattr(error, 'strerror', 'no such file')}"]) from error
    return config_of(content, path)


def config_of(content: bytes, path: Path) -> Config:
    """As `read_config`, from what stands in the file `path`."""
    table = _parse(content, path)
    reading = _Reading(path.absolute().parent)
    config = reading.config(table)
    reading.end(path)
    return replace(config, path=path)


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise ConfigError(path, [f"a configuration is at most {MAX_BYTES} bytes"])
    # A module of the standard library from 3.11, the same one by another name before.
    reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(path, [f":{line}: not UTF-8 text"]) from None
    try:
        table: dict[str, Any] = reader.loads(text)
    except RecursionError:
        raise ConfigError(path, ["tables and lists are nested too deep"]) from None
    except (ValueError, OverflowError) as error:
        raise ConfigError(path, [_syntax(str(error), text)]) from None
    return table


def _syntax(message: str, text: str) -> str:
    """What a TOML parser says, as `:LINE: what, column N`; the text of the line is not shown."""
    place = PLACE.search(message)
    what = printable(message[: place.start()] if place else message)
    if place and place[1]:
        return f":{place[1]}: {what} (column {place[2]})"
    return f":{text.count(chr(10)) + 1}: {what} (at the end)" if place else what


# What stands in tables ------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value or "\0" in value:
        raise ValueError
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return float(value)


def _probability(value: object) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def _limit(value: object) -> float | None:
    return durations.parse_duration(value) or None


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_text, value))


def _hours(value: object) -> tuple[Hours, ...]:
    return tuple(Hours.parse(text) for text in _texts([value] if isinstance(value, str) else value))


def _one_of(*names: str) -> Reader:
    def read(value: object) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return read, " or ".join((", ".join(f'"{name}"' for name in names[:-1]), f'"{names[-1]}"'))


TEXT: Reader = (_text, "a text")
TRUTH: Reader = (_truth, "true or false")
WHOLE: Reader = (_whole, "a whole number")
NUMBER: Reader = (_number, "a number")
PROBABILITY: Reader = (_probability, "a probability, 0 to 1")
DURATION: Reader = (durations.parse_duration, durations.EXPECTED)
LIMIT: Reader = (_limit, f"{durations.EXPECTED}; 0: no limit")
TEXTS: Reader = (_texts, "a list of texts")
TOP_OPTIONS: dict[str, Reader] = {
    "threads": WHOLE,
    "duration_s": LIMIT,
    "realtime": TRUTH,
    "wait_for_source": TRUTH,
    "give_up_s": LIMIT,
}
EVENT_OPTIONS: dict[str, Reader] = {
    "smooth_s": DURATION,
    "enter": PROBABILITY,
    "leave": PROBABILITY,
    "min_s": DURATION,
    "cooldown_s": DURATION,
    "unknown": TRUTH,
}
TABLES = ("source", "events", "labels", "sink", "web", "log")
TOP: dict[str, Reader] = {"model": TEXT, **TOP_OPTIONS, "display": TRUTH}
EVENTS: dict[str, Reader] = {**EVENT_OPTIONS, "zone": TEXT}
LABEL: dict[str, Reader] = {
    "enabled": TRUTH,
    "enter": PROBABILITY,
    "cooldown_s": DURATION,
    "hours": (_hours, 'a list of texts such as "22:00-06:00"'),
    "sources": TEXTS,
}
SOURCE: dict[str, Reader] = {
    "name": TEXT,
    "uri": TEXT,
    **{name: (read, SOURCE_EXPECTED[name]) for name, read in SOURCE_READERS.items()},
}
WEB: dict[str, Reader] = {"listen": TEXT, "token": TEXT, "rate_hz": NUMBER, "picture_px": WHOLE}
LOG: dict[str, Reader] = {"level": _one_of(*LEVELS), "form": _one_of(*FORMS)}
SOURCE_SECRETS = ("uri", *secret_names(SourceOptions))
ADDRESSES = ("uri", "url")  # secrets that may stand in the file as long as no password is seen in them


def all_keys() -> dict[str, dict[str, object]]:
    """Every key by table, with what holds where it is not given; `MISSING` where it must be. For the documentation."""

    def defaults(made: object, readers: Iterable[str]) -> dict[str, object]:
        return {name: getattr(made, name) for name in readers}

    options, rule = RunOptions(), LabelRule()
    known = {
        "": {"model": None, **defaults(options, TOP_OPTIONS), "display": False},
        "source": {"name": None, "uri": MISSING, **defaults(SourceOptions(), SOURCE_READERS)},
        "events": {**defaults(options, EVENT_OPTIONS), "zone": None},
        "labels": defaults(rule, LABEL),
        "web": defaults(WebOptions(), WEB),
        "log": defaults(LogOptions(), LOG),
    }
    for kind in KINDS:
        known[f"sink {kind}"] = {f.name: f.default for f in fields(options_class(kind))}
    return known


def label_of_text(text: str) -> tuple[str, LabelRule]:
    """A label and its rule from `NAME?option=value&option=value`, with the keys of [labels.NAME]; lists have commas.

    Raises MisuseError.
    """
    name, _, query = text.partition("?")
    values = _of_query("--label", query, LABEL)
    if not name:
        raise MisuseError("--label: expected NAME?option=value")
    return name, LabelRule(**values)


def web_of_text(text: str, of_file: WebOptions | None) -> WebOptions:
    """The live page's options from `HOST:PORT?option=value`, over those of a file. Raises MisuseError."""
    listen, _, query = text.partition("?")
    readers = {key: reader for key, reader in WEB.items() if key != "listen"}
    values = _of_query("--web", query, readers, secret_names(WebOptions))
    if of_file is not None:
        return replace(of_file, listen=listen, **values)
    values.setdefault("token", os.environ.get(TOKEN_VARIABLE) or None)
    return WebOptions(listen, **values)


def _of_query(
    option: str, query: str, readers: Mapping[str, Reader], secrets: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values of `option=value&option=value`, as a table of the file would have them."""
    pairs = parse_qsl(query, keep_blank_values=True)
    said = {key: (partial(_said, reader), expected) for key, (reader, expected) in readers.items()}
    reading = _Reading(Path())
    values = reading.values(dict(pairs), option, said, secrets)
    if len(dict(pairs)) < len(pairs):
        reading.add(option, "an option is given twice")
    if reading.lines:
        raise MisuseError("; ".join(reading.lines))
    return values


def _said(read: Callable[[object], Any], value: object) -> Any:
    """A text as whatever `read` takes: as it is, a truth value, a number, a list."""
    kinds: tuple[Callable[[Any], Any], ...] = (str, yes_or_no, int, float, lambda text: text.split(","))
    for kind in kinds:
        try:
            return read(kind(value))
        except (TypeError, ValueError):
            continue
    raise ValueError


class _Problems:
    """What is wrong, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        self.lines.append(printable(f"{where}: {what}" if where else what))

    def end(self, path: Path) -> None:
        """Raise ConfigError if there was any."""
        if self.lines:
            raise ConfigError(path, self.lines)

    @contextmanager
    def caught(self, where: str) -> Iterator[None]:
        """What is raised on purpose becomes a problem of `where`."""
        try:
            yield
        except EdgeHarError as error:
            self.add(where, str(error))

    def check_name(self, where: str, what: str, name: str, known: Iterable[str]) -> None:
        """A problem where `name` is not among those known."""
        known = tuple(known)
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            self.add(where, f"no {what} is called {name!r}; {hint}")


class _Reading(_Problems):
    """Reads tables, and goes on after a problem. folder: of the file, where relative paths begin."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def config(self, table: Mapping[str, Any]) -> Config:
        """The whole file."""
        values = self.values({k: v for k, v in table.items() if k not in TABLES}, "", TOP)
        events = self.values(self.table(table, "events"), "events", EVENTS)
        if "enter" in events and "leave" in events and events["leave"] > events["enter"]:
            self.add("events.leave", f"must not be above enter, {events['enter']:g}, got {events['leave']:g}")
        rules = self.rules(self.table(table, "labels"), events.pop("zone", None))
        asked = {name: values[name] for name in TOP_OPTIONS if name in values}
        options = self.make("", (*TOP_OPTIONS, *EVENTS), RunOptions, {**asked, **events, "rules": rules})
        if "model" in values:
            values["model"] = self.path(values["model"])
        config = Config(
            model=values.get("model"),
            options=options or RunOptions(),
            sources=tuple(filter(None, (self.source(t, at) for t, at in self.tables(table, "source")))),
            sinks=tuple(filter(None, (self.sink(t, at) for t, at in self.tables(table, "sink")))),
            display=values.get("display", False),
            web=self.web(self.table(table, "web")) if "web" in table else None,
            log=LogOptions(**self.values(self.table(table, "log"), "log", LOG)),
        )
        self.once("source", [source.name for source in config.sources])
        windows = ["window"] if config.display else []
        self.once("sink", [*(sink.called for sink in with_standard_output(config.sinks)), *windows])
        return config

    def table(self, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """A table of the file; an empty one where it is not there."""
        found = table.get(key, {})
        if isinstance(found, dict):
            return found
        self.add(key, f"expected a table, [{key}], found {_found(found)}")
        return {}

    def tables(self, table: Mapping[str, Any], key: str) -> list[tuple[Mapping[str, Any], str]]:
        """The tables of a list of them, and what messages call each: the first is `KEY[1]`."""
        found = table.get(key, [])
        if not isinstance(found, list):
            self.add(key, f"expected tables, each begun with [[{key}]], found {_found(found)}")
            return []
        named = [(one, f"{key}[{number}]") for number, one in enumerate(found, 1)]
        for one, at in named:
            if not isinstance(one, dict):
                self.add(at, f"expected a table, found {_found(one)}")
        return [(one, at) for one, at in named if isinstance(one, dict)]

    def values(
        self, table: Mapping[str, Any], at: str, readers: Mapping[str, Reader], secrets: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The values of a table by the names of what they set; those that are wrong are left out."""
        values: dict[str, Any] = {}
        for key, value in table.items():
            where, name = _join(at, key), key
            if key not in readers and (base := base_of(key, secrets)) is not None:
                name = base
            if name not in readers:
                self.unknown(at, key, readers, secrets)
                continue
            if name in values:
                self.add(where, f"{name} is given twice")
                continue
            try:
                if name != key:
                    value = look_up(key, value, self._folder)
                elif name in secrets:
                    _check_no_secret(name, value)
                values[name] = readers[name][0](value)
            except MisuseError as error:
                self.add(where, str(error).removeprefix(f"{key}: "))
            except (TypeError, ValueError, OverflowError):
                found = "" if name in secrets else f", found {_found(value)}"
                self.add(where, f"expected {readers[name][1]}{found}")
        return values

    def unknown(self, at: str, key: str, readers: Mapping[str, Reader], secrets: tuple[str, ...]) -> None:
        """A problem: there is no such key; which one may have been meant."""
        known = [k for k in readers if k not in secrets or k in ADDRESSES]
        known += [s + ending for s in secrets for ending in (FROM_ENVIRONMENT, FROM_FILE)]
        known += [] if at else TABLES
        near = difflib.get_close_matches(key, known, 1)
        elsewhere = [name for name, keys in (("events", EVENTS), ("", TOP)) if key in keys and name != at]
        hint = f"expected one of {', '.join(known)}"
        if near:
            hint = f"did you mean {near[0]}?"
        elif elsewhere:
            hint = f"it belongs in [{elsewhere[0]}]" if elsewhere[0] else "it belongs before the first table"
        self.add(_join(at, key), f"no such key; {hint}")

    def make(
        self, at: str, keys: Iterable[str], made: Callable[..., Made], values: Mapping[str, Any]
    ) -> Made | None:
        """What the values make; None, and a problem, where they do not go together."""
        try:
            return made(**values)
        except MisuseError as error:
            text = re.sub(r"^(?:\w+: |a source's )", "", str(error))
            first, _, rest = text.partition(" ")
            if first in keys:
                at, text = _join(at, first), rest
            self.add(at, text)
            return None

    def path(self, text: str) -> str:
        """A path of this file: a relative one begins in its folder."""
        if text in NO_PATHS:
            return text
        return str(self._folder / os.path.expanduser(text))

    def once(self, key: str, names: list[str]) -> None:
        """A problem for each name that comes again."""
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.add(key, f"{names.count(name)} of them are called {name}; give each a name of its own")

    def rules(self, tables: Mapping[str, Any], zone: str | None) -> Rules:
        """[labels.NAME], and the zone of their hours."""
        rules: dict[str, LabelRule] = {}
        for label, table in tables.items():
            at = _join("labels", label)
            if not isinstance(table, dict):
                self.add(at, f"expected a table, [{at}], found {_found(table)}")
                continue
            rule = self.make(at, LABEL, LabelRule, self.values(table, at, LABEL))
            if rule is not None:
                rules[label] = rule
        try:
            return Rules(rules, zone)
        except MisuseError as error:
            self.add("events.zone", str(error))
            return Rules()

    def source(self, table: Mapping[str, Any], at: str) -> SourceConfig | None:
        """A [[source]]; None where it cannot be used."""
        before = len(self.lines)
        values = self.values(table, at, SOURCE, SOURCE_SECRETS)
        name, uri = values.pop("name", None), values.pop("uri", None)
        if name is not None and not NAME.fullmatch(name):
            self.add(f"{at}.name", f"a name is letters, digits, _ and -, found {_found(name)}")
        if uri is None and not {key for key in table if key == "uri" or base_of(key, ("uri",))}:
            self.add(at, "uri is missing: the address of the source")
        if uri is None or len(self.lines) > before:
            return None
        options = self.make(at, SOURCE, SourceOptions, values)
        if options is None:
            return None
        with self.caught(at):
            address = parse_address(uri, options)
            if address.kind == "files" and not os.path.isabs(address.target) and "://" not in uri:
                address = replace(parse_address(str(self._folder / uri), options), name=address.name)
            return SourceConfig(name or address.name, address)
        return None

    def sink(self, table: Mapping[str, Any], at: str) -> SinkOptions | None:
        """A [[sink]]; None where it cannot be used."""
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            near = difflib.get_close_matches(str(kind), KINDS, 1) if kind is not None else []
            hint = f"; did you mean {near[0]}?" if near else ""
            found = "it is missing" if kind is None else f"found {_found(kind)}"
            self.add(f"{at}.kind", f"expected one of {', '.join(KINDS)}; {found}{hint}")
            return None
        found_class, before = options_class(kind), len(self.lines)
        readers, secrets = found_class.readers(), found_class.secret_names()
        values = self.values({k: v for k, v in table.items() if k != "kind"}, at, readers, secrets)
        for key in PATH_KEYS:
            if isinstance(values.get(key), str):
                values[key] = self.path(values[key])
        return self.make(at, readers, found_class, values) if len(self.lines) == before else None

    def web(self, table: Mapping[str, Any]) -> WebOptions | None:
        """[web]; the token may stand in the environment."""
        before = len(self.lines)
        values = self.values(table, "web", WEB, secret_names(WebOptions))
        values.setdefault("token", os.environ.get(TOKEN_VARIABLE) or None)
        return self.make("web", WEB, WebOptions, values) if len(self.lines) == before else None


def _check_no_secret(name: str, value: object) -> None:
    """Raise MisuseError where a secret stands in the file itself."""
    if name not in ADDRESSES:
        raise MisuseError(f"a secret does not stand here: use {name}_env or {name}_file")
    if isinstance(value, str) and USER_INFO.search(value):
        instead = "leave it out and use password_env or password_file, or" if name == "uri" else "use"
        raise MisuseError(f"a password stands in the address: {instead} {name}_env or {name}_file")


# How keys, values and settings are shown ------------------------------------------------------------------------------


def _join(at: str, *keys: str) -> str:
    """A dotted path: `at`, which is one, and keys below it; what is no bare key is quoted."""
    shown = (key if BARE_KEY.fullmatch(key) else json.dumps(_short(mask_uri(key))) for key in keys)
    return ".".join((*((at,) if at else ()), *shown))


def _found(value: object) -> str:
    """A value as it stands in a file, short and without passwords."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(_short(mask_uri(value)), ensure_ascii=False)
    if isinstance(value, (int, float)):
        try:
            return _short(str(value))
        except ValueError:
            return "a number that is too long"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    return "a date or time"


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _shown(made: Any) -> dict[str, Any]:
    return {
        f.name: MASK
        if f.metadata.get("secret") and getattr(made, f.name)
        else _shown_value(getattr(made, f.name))
        for f in fields(made)
    }


def _shown_value(value: Any) -> Any:
    if isinstance(value, Hours):
        return str(value)
    if is_dataclass(value):
        return _shown(value)
    if isinstance(value, Mapping):
        return {str(key): _shown_value(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_shown_value(one) for one in value]
    return value


def _shown_source(source: SourceConfig) -> dict[str, Any]:
    options = _shown(source.address.options)
    options.pop("password")
    return {"name": source.name, "uri": source.address.name, "kind": source.address.kind, **options}
