"""The configuration file of `edge-har run`: TOML to options;
every problem in it is reported, by key, never a secret.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edge_har.config.declared import LogOptions, MainOptions, SourceNames
from edge_har.errors import MisuseError, printable
from edge_har.options.fields import Option, options_of
from edge_har.options.reading import OptionReader, found_value, join
from edge_har.options.secrets import base_of
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import Hours, LabelRule, Rules
from edge_har.sinks import KINDS, options_class, with_standard_output
from edge_har.sinks.options import SinkOptions
from edge_har.sources import Address, parse_address
from edge_har.sources.named import NAME, NamedSource
from edge_har.sources.options import SourceOptions
from edge_har.web.options import TOKEN_VARIABLE, WebOptions

MAX_BYTES = 256 * 1024
MAX_PROBLEMS = 50  # that are reported
POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
TABLES = ("source", "events", "labels", "sink", "web", "log")


class ConfigError(MisuseError):
    """A configuration that cannot be used. problems: one line each, which names the file and the key."""

    def __init__(self, path: Path, problems: Iterable[str]) -> None:
        found = list(problems)
        if len(found) > MAX_PROBLEMS:
            found[MAX_PROBLEMS:] = [f"and {len(found) - MAX_PROBLEMS} more"]
        self.problems = tuple(f"{path}{'' if p[:1] == ':' else ': '}{p}" for p in found)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class SourceConfig:
    """A source to follow. name: what events call it. address: what its URI and options mean; without what may
    not be shown.
    """

    name: str
    address: Address

    def named_source(self, *, realtime: bool) -> NamedSource:
        """How a run opens it."""
        return NamedSource(self.name, partial(self.address.open, realtime=realtime))


@dataclass(frozen=True, kw_only=True)
class Config(MainOptions):
    """What a configuration file sets. path: of the file; None: there is none.
    web: None where no page is served.
    """

    path: Path | None = None
    options: RunOptions = field(default_factory=RunOptions)
    sources: tuple[SourceConfig, ...] = ()
    sinks: tuple[SinkOptions, ...] = ()
    web: WebOptions | None = None
    log: LogOptions = field(default_factory=LogOptions)

    def to_json(self) -> dict[str, Any]:
        """All settings, defaults included, with secrets as ***."""
        options, rules = _shown(self.options), _shown(self.options.rules)
        return {
            "model": self.model,
            **{name: options[name] for name in RUN if name in TOP},
            "display": self.display,
            "source": [_shown_source(source) for source in self.sources],
            "events": {name: {**options, **rules}[name] for name in EVENTS},
            "labels": {label: _shown(rule) for label, rule in self.options.rules.labels.items()},
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
    if reading.lines:
        raise ConfigError(path, reading.lines)
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
    position = POSITION.search(message)
    what = printable(message[: position.start()] if position else message)
    if position and position[1]:
        return f":{position[1]}: {what} (column {position[2]})"
    return f":{text.count(chr(10)) + 1}: {what} (at the end)" if position else what


# Tables and their options -----------------------------------------------------------------------------------

RUN = options_of(RunOptions)
# In order: the bundle, how to run, whether a window is shown.
_MAIN = options_of(MainOptions)
_ALL_MAIN = {"model": _MAIN.pop("model"), **RUN, **options_of(Rules), **_MAIN}
TOP = {name: found for name, found in _ALL_MAIN.items() if found.table is None}
EVENTS = {name: found for name, found in _ALL_MAIN.items() if found.table == "events"}
SOURCE = options_of(SourceNames) | options_of(SourceOptions)
LABEL, WEB, LOG = options_of(LabelRule), options_of(WebOptions), options_of(LogOptions)


def all_tables() -> dict[str, dict[str, Option]]:
    """The options of every table; that of a kind of sink is called `sink KIND`,
    that before the first table ``.
    """
    tables = {"": TOP, "source": SOURCE, "events": EVENTS, "labels": LABEL, "web": WEB, "log": LOG}
    return tables | {f"sink {kind}": options_of(options_class(kind)) for kind in KINDS}


def label_of_text(text: str) -> tuple[str, LabelRule]:
    """A label and its rule from `NAME?option=value&option=value`, with the keys of [labels.NAME];
    lists have commas.

    Raises MisuseError.
    """
    name, _, query = text.partition("?")
    values = OptionReader(Path()).query(query, "--label", LABEL)
    if not name:
        raise MisuseError("--label: expected NAME, or NAME?option=value")
    return name, LabelRule(**values)


def web_of_text(text: str, of_file: WebOptions | None) -> WebOptions:
    """The live page's options from `HOST:PORT?option=value`, over those of a file. Raises MisuseError."""
    listen, _, query = text.partition("?")
    options = {key: found for key, found in WEB.items() if key != "listen"}
    values = OptionReader(Path()).query(query, "--web", options)
    if of_file is not None:
        return replace(of_file, listen=listen, **values)
    values.setdefault("token", os.environ.get(TOKEN_VARIABLE) or None)
    return WebOptions(listen, **values)


def _where_it_belongs(at: str, key: str) -> str | None:
    """A hint where a key that is unknown in the table `at` belongs; None: nowhere."""
    if key in EVENTS and at != "events":
        return "it belongs in [events]"
    return "it belongs before the first table" if key in TOP and at else None


class _Reading(OptionReader):
    """Reads the tables of a file. folder: of the file, where relative paths begin."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _where_it_belongs)

    def config(self, table: Mapping[str, Any]) -> Config:
        """The whole file."""
        top = {key: value for key, value in table.items() if key not in TABLES}
        values = self.values(top, "", TOP, more_keys=TABLES)
        events = self.values(self.table(table, "events"), "events", EVENTS)
        if "enter" in events and "leave" in events and events["leave"] > events["enter"]:
            self.add("events.leave", f"must not be above enter, {events['enter']:g}, got {events['leave']:g}")
        rules = self.rules(self.table(table, "labels"), events.pop("zone", None))
        settings = {name: value for name, value in {**values, **events}.items() if name in RUN}
        options = self.make("", RUN, RunOptions, {**settings, "rules": rules})
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
        self.add(key, f"expected a table, [{key}], found {found_value(found)}")
        return {}

    def tables(self, table: Mapping[str, Any], key: str) -> list[tuple[Mapping[str, Any], str]]:
        """The tables of a list of them, and what messages call each: the first is `KEY[1]`."""
        found = table.get(key, [])
        if not isinstance(found, list):
            self.add(key, f"expected tables, each begun with [[{key}]], found {found_value(found)}")
            return []
        named = [(one, f"{key}[{number}]") for number, one in enumerate(found, 1)]
        for one, at in named:
            if not isinstance(one, dict):
                self.add(at, f"expected a table, found {found_value(one)}")
        return [(one, at) for one, at in named if isinstance(one, dict)]

    def once(self, key: str, names: list[str]) -> None:
        """A problem for each name that comes again."""
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.add(key, f"{names.count(name)} of them are called {name}; give each a name of its own")

    def rules(self, tables: Mapping[str, Any], zone: str | None) -> Rules:
        """[labels.NAME], and the zone of their hours."""
        rules: dict[str, LabelRule] = {}
        for label, table in tables.items():
            at = join("labels", label)
            if not isinstance(table, dict):
                self.add(at, f"expected a table, [{at}], found {found_value(table)}")
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
        values = self.values(table, at, SOURCE, loosely=True)
        name, uri = values.pop("name", None), values.pop("uri", None)
        if name is not None and not NAME.fullmatch(name):
            self.add(f"{at}.name", f"a name is letters, digits, _ and -, found {found_value(name)}")
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
                address = replace(parse_address(self.path(uri), options), name=address.name)
            return SourceConfig(name or address.name, address)
        return None

    def sink(self, table: Mapping[str, Any], at: str) -> SinkOptions | None:
        """A [[sink]]; None where it cannot be used."""
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            near = difflib.get_close_matches(str(kind), KINDS, 1) if kind is not None else []
            hint = f"; did you mean {near[0]}?" if near else ""
            found = "it is missing" if kind is None else f"found {found_value(kind)}"
            self.add(f"{at}.kind", f"expected one of {', '.join(KINDS)}; {found}{hint}")
            return None
        found_class, before = options_class(kind), len(self.lines)
        options = options_of(found_class)
        values = self.values({k: v for k, v in table.items() if k != "kind"}, at, options, loosely=True)
        return self.make(at, options, found_class, values) if len(self.lines) == before else None

    def web(self, table: Mapping[str, Any]) -> WebOptions | None:
        """[web]; the token may stand in the environment."""
        before = len(self.lines)
        values = self.values(table, "web", WEB)
        values.setdefault("token", os.environ.get(TOKEN_VARIABLE) or None)
        return self.make("web", WEB, WebOptions, values) if len(self.lines) == before else None


# How settings are shown -------------------------------------------------------------------------------------


def _shown(made: Any) -> dict[str, Any]:
    return {
        name: _shown_value(found.shown(getattr(made, name))) for name, found in options_of(type(made)).items()
    }


def _shown_value(value: Any) -> Any:
    if isinstance(value, Hours):
        return str(value)
    return list(map(_shown_value, value)) if isinstance(value, tuple) else value


def _shown_source(source: SourceConfig) -> dict[str, Any]:
    options = _shown(source.address.options)
    options.pop("password")
    return {"name": source.name, "uri": source.address.name, "kind": source.address.kind, **options}
