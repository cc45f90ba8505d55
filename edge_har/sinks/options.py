"""Where events go, as a user says it: options of each kind of sink, from a table or one line of text."""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edge_har.errors import MisuseError
from edge_har.options import durations
from edge_har.options.secrets import base_of, look_up, secret_names
from edge_har.pipeline.outputs import OpenedSink
from edge_har.pipeline.status import RunStatus
from edge_har.sinks.spool import MAX_BYTES, Spool

if TYPE_CHECKING:
    from typing_extensions import Self

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
NO_SPOOL = "off"
MIN_SPOOL_BYTES = 100_000
YES, NO = ("1", "yes", "true", "on", ""), ("0", "no", "false", "off")
Reader = tuple[Callable[[object], Any], str]  # reads a value; what is expected
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True)
class SinkContext:
    """What a sink is opened in. board: of the run. waits: whether the sources are files, so that nobody is late: then a
    sink whose queue is full lets recognition wait rather than drop anything. quit: ends the run, for a window that a user closes.
    """

    run_status: RunStatus
    waits: Callable[[], bool] = lambda: False
    quit: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class SinkOptions(ABC):
    """What all sinks have. name: in messages and metrics, and of the folder where its events wait; None: its kind.

    Raises MisuseError for a value that cannot be, as all options do.
    """

    kind: ClassVar[str]
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not NAME.fullmatch(self.name):
            raise MisuseError(f"a sink's name is letters, digits, _, . and -, got {self.name!r}")
        self._check()

    @abstractmethod
    def open(self, context: SinkContext) -> OpenedSink:
        """What takes the events, or the pictures, or both; its counters are in the run's status.

        Raises EdgeHarError where it cannot be.
        """

    def check_installed(self) -> None:  # noqa: B027  most kinds need nothing more
        """Raise RuntimeMissingError, with the command that installs it, where a library is missing."""

    def _check(self) -> None:  # noqa: B027  most kinds have something to check
        """Raise MisuseError for values of this kind that cannot be."""

    def _at_least(self, least: float, *names: str) -> None:
        for name in names:
            if not getattr(self, name) >= least:
                raise MisuseError(f"{self.kind}: {name} is {least:g} or more, got {getattr(self, name):g}")

    @property
    def called(self) -> str:
        """What messages call it."""
        return self.name or self.kind

    @classmethod
    def secret_names(cls) -> tuple[str, ...]:
        """Names of the options that are never shown."""
        return secret_names(cls)

    @classmethod
    def readers(cls) -> dict[str, Reader]:
        """By option: what reads a value for it (raising TypeError or ValueError), and what is expected."""
        return {f.name: _reader(f.name, str(f.type)) for f in fields(cls)}

    @classmethod
    def from_table(cls, table: Mapping[str, object]) -> Self:
        """The options of a table with the names of the fields; texts are read as what the field holds.

        Raises MisuseError naming the key.
        """
        known = {f.name: f for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in table.items():
            name, read = key, value
            if key not in known and (base := base_of(key, cls.secret_names())) is not None:
                name, read = base, look_up(key, value)
            if name not in known:
                raise MisuseError(f"{cls.kind} has no option {key!r}; it has {', '.join(known)}")
            if name in values:
                raise MisuseError(f"{cls.kind}: {name} is given twice")
            read_value, expected = cls.readers()[name]
            try:
                values[name] = read_value(read)
            except (TypeError, ValueError):
                # The value is not shown: it may be a secret that slipped into the wrong place.
                raise MisuseError(f"{cls.kind}: {name} is {expected}") from None
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class DeliveryOptions(SinkOptions):
    """What sinks have that bring events somewhere. updates: bring `update` events too. spool: the folder in which
    events wait on the disk while they cannot be delivered; None: `spool/NAME` in edge_har's home; `off`: they wait in
    memory, for this run only. spool_bytes: how many bytes of them; where more come the oldest go.
    """

    updates: bool = True
    spool: str | None = None
    spool_bytes: int = MAX_BYTES

    def _check(self) -> None:
        self._at_least(MIN_SPOOL_BYTES, "spool_bytes")

    def open_spool(self) -> Spool | None:
        """The spool that is asked for. Raises EdgeHarError where its folder cannot be used."""
        if self.spool == NO_SPOOL:
            return None
        if self.spool is not None:
            folder = Path(self.spool).expanduser()
        else:
            from edge_har.system.files import home

            folder = home() / "spool" / self.called
        return Spool(folder, name=self.called, max_bytes=self.spool_bytes)


def slug(name: str) -> str:
    """`name` in letters, digits, _ and -; a few digits that tell it from others where something else was in it."""
    safe = UNSAFE.sub("_", name).strip("_")
    return safe if safe == name else f"{safe}_{hashlib.sha256(name.encode()).hexdigest()[:4]}".lstrip("_")


def check_names(all_options: Iterable[SinkOptions]) -> None:
    """Raises MisuseError where two sinks have the same name: their events would wait in the same folder."""
    names: set[str] = set()
    for options in all_options:
        if options.called in names:
            raise MisuseError(f"two sinks are called {options.called}; give each a name")
        names.add(options.called)


def _yes_or_no(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in (*YES, *NO):
        raise ValueError
    return text in YES


def _whole_number(value: object) -> int:
    if isinstance(value, str) and value:
        unit = value[-1].lower() if value[-1].lower() in UNITS else ""
        return int(value.removesuffix(value[-1]) if unit else value) * UNITS[unit]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _texts(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise TypeError
    return tuple(map(_text, parts))


READERS: dict[str, Reader] = {
    "str": (_text, "a text"),
    "int": (_whole_number, "a whole number"),
    "float": (_number, "a number"),
    "bool": (_yes_or_no, "true or false"),
    "tuple[str, ...]": (_texts, "a list of texts"),
}
SECONDS: Reader = (durations.parse_duration, durations.EXPECTED)


def _reader(name: str, annotation: str) -> Reader:
    kind = annotation.removesuffix(" | None")
    return SECONDS if kind == "float" and name.endswith("_s") else READERS[kind]
