"""What a run does: the command line over the configuration file, checked against the bundle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_har.config.declared import VERBOSE
from edge_har.config.file import RUN, TOP, Config, ConfigError, label_of_text, read_config, web_of_text
from edge_har.errors import MisuseError
from edge_har.model.bundle import default_bundle_path
from edge_har.model.manifest import Manifest
from edge_har.options.fields import options_of
from edge_har.options.reading import Problems, join
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import UNKNOWN, LabelRule, Rules
from edge_har.sinks import STDOUT, options_of_text, with_standard_output
from edge_har.sinks.console import ConsoleOptions
from edge_har.sinks.options import SinkOptions
from edge_har.sources.named import NamedSource, named_source
from edge_har.web.options import WebOptions

FIXED = tuple(
    name for name in RUN if TOP.get(name) and TOP[name].fixed
)  # options of RunOptions, for a whole run


@dataclass(frozen=True)
class CommandLine:
    """What the command line sets. options: of RunOptions, by name; None: not given, as with all others.

    console: whether a person reads standard output.
    """

    config_path: Path | None = None
    sources: tuple[str, ...] = field(default=(), repr=False)  # an address may hold a password
    sinks: tuple[str, ...] = field(default=(), repr=False)
    labels: tuple[str, ...] = ()
    zone: str | None = None
    model: str | None = None
    display: bool | None = None
    web: str | None = None
    level: str | None = None
    form: str | None = None
    console: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a run does. model: path of the bundle; None: the shipped one, which does not change.

    sources: addresses of the command line, instead of those of the file.
    """

    config: Config
    model: Path | None
    options: RunOptions
    sinks: list[SinkOptions]
    web: WebOptions | None
    level: str
    log_form: str
    sources: tuple[str, ...] = field(default=(), repr=False)

    def named_sources(self) -> list[NamedSource]:
        """The sources that are followed. Raises MisuseError where there is none."""
        realtime = self.options.realtime
        found = [named_source(text, realtime=realtime) for text in self.sources]
        found = found or [source.named_source(realtime=realtime) for source in self.config.sources]
        if not found:
            raise MisuseError(f"{self.config.path}: no source; add a [[source]], or name one with --source")
        return found

    def fixed(self) -> dict[str, object]:
        """What holds for a whole run, by the key that sets it in a configuration file."""
        options = {name: getattr(self.options, name) for name in FIXED}
        lists = {"source": self.sources or self.config.sources, "sink": self.sinks, "web": self.web}
        return {**options, **lists, "log": (self.level, self.log_form)}

    def check_names(self, manifest: Manifest, sources: tuple[str, ...]) -> None:
        """Raise ConfigError where the file names labels that the bundle, or sources that the run,
        does not have.

        sources: names of those that are followed. What the command line replaces is not looked at.
        """
        if self.config.path is None:
            return
        known = (*manifest.labels, UNKNOWN) if self.options.unknown else manifest.labels
        found = Problems()
        for label, rule in self.config.options.rules.labels.items():
            if self.options.rules.labels.get(label) is not rule:
                continue
            found.check_name(join("labels", label), "label of the model", label, known)
            for source in rule.sources:
                found.check_name(join("labels", label, "sources"), "source", source, sources)
        for number, sink in enumerate(self.config.sinks, 1):
            for name, declared in options_of(type(sink)).items():
                for label in getattr(sink, name) if declared.kind.is_labels else ():
                    found.check_name(f"sink[{number}].{name}", "label of the model", label, known)
        self._end(found)

    def check_fit(self, manifest: Manifest) -> None:
        """Raise ConfigError where the file, which is all that is followed,
        and the bundle do not go together.
        """
        names = tuple(source.name for source in self.config.sources)
        self.check_names(manifest, names)
        found = Problems()
        with found.caught("events"):
            self.options.check(manifest, names)
        self._end(found)

    def check_installed(self) -> None:
        """Raise ConfigError where a library is missing that a table of the file needs."""
        found = Problems()
        for number, sink in enumerate(self.config.sinks, 1):
            with found.caught(f"sink[{number}]"):
                sink.check_installed()
        if self.config.web is not None:
            from edge_har.web import check_installed

            with found.caught("web"):
                check_installed()
        self._end(found)

    def _end(self, found: Problems) -> None:
        if found.lines:
            raise ConfigError(self.config.path or Path("command line"), found.lines)


def plan(given: CommandLine) -> Plan:
    """Read the configuration file, if there is one, and put the command line over it.

    Raises MisuseError for what cannot be.
    """
    return merge(Config() if given.config_path is None else read_config(given.config_path), given)


def merge(config: Config, given: CommandLine) -> Plan:
    """The command line over a configuration. Raises MisuseError for what cannot be."""
    model = given.model or config.model
    level = given.level or config.log.level
    # Read again, as 0 is no limit.
    options = {name: RUN[name].read(value) for name, value in given.options.items() if value is not None}
    sinks = [options_of_text(text) for text in given.sinks] or list(config.sinks)
    if config.display if given.display is None else given.display:
        sinks.append(options_of_text("window"))
    console = ConsoleOptions(name=STDOUT, source_time=level == VERBOSE)
    return Plan(
        config=config,
        model=Path(model) if model else None if config.path is None else default_bundle_path(),
        options=replace(config.options, rules=_rules(given, config.options.rules), **options),
        sinks=with_standard_output(sinks, console if given.console else None),
        web=config.web if given.web is None else web_of_text(given.web, config.web),
        level=level,
        log_form=given.form or config.log.form,
        sources=given.sources,
    )


def _rules(given: CommandLine, of_file: Rules) -> Rules:
    """The rules of the file with those of the command line over them.

    `--label NAME` leaves the rule of its label as it is, but enabled, and switches off the labels that no
    `--label` names.
    """
    labels = {**of_file.labels, **dict(map(label_of_text, given.labels))}
    alone = [text for text in given.labels if "?" not in text]
    for name in alone:
        labels[name] = replace(of_file.labels.get(name, LabelRule()), enabled=True)
    if alone:
        named = [text.partition("?")[0] for text in given.labels]
        labels = {name: rule for name, rule in labels.items() if name in named}
        if given.options.get("unknown"):
            labels.setdefault(UNKNOWN, LabelRule())
    zone = of_file.zone if given.zone is None else given.zone
    return replace(of_file, labels=labels, zone=zone, only=bool(alone))
