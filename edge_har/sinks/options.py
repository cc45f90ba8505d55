"""Where events go, as a user names it: the options that kinds of sinks share."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from edge_har.errors import MisuseError
from edge_har.options.fields import check_values, option
from edge_har.options.kinds import BYTES, PATH, TEXT, TRUTH
from edge_har.pipeline.outputs import OpenedSink
from edge_har.pipeline.status import RunStatus
from edge_har.sinks.spool import MAX_BYTES, Spool
from edge_har.system.files import expand_user, home

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
NO_SPOOL = "off"
MIN_SPOOL_BYTES = 100_000


@dataclass(frozen=True)
class SinkContext:
    """What a sink is opened in. board: of the run. waits: whether the sources are files, so that nobody is
    late: then a sink whose queue is full lets recognition wait rather than drop anything.
    quit: ends the run, for a window that a user closes.
    """

    run_status: RunStatus
    waits: Callable[[], bool] = lambda: False
    quit: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class SinkOptions(ABC):
    """What all sinks have.

    Raises MisuseError for a value that cannot be, as all options do.
    """

    kind: ClassVar[str]
    # The option that the address of a line sets, and what comes between the address and other options.
    address_option: ClassVar[str | None] = None
    query_mark: ClassVar[str] = "?"
    # What to use in place of a password in the address; None: the address is none of a server.
    password_instead: ClassVar[str | None] = None
    name: str | None = option(
        TEXT,
        "its name in messages and metrics, and that of the folder where its events wait",
        otherwise="its kind",
        default=None,
    )

    def __post_init__(self) -> None:
        if self.name is not None and not NAME.fullmatch(self.name):
            raise MisuseError(f"a sink's name is letters, digits, _, . and -, got {self.name!r}")
        check_values(self, f"{self.kind}: ")
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

    @classmethod
    def of_address(cls, scheme: str, address: str) -> dict[str, object]:
        """The values by option that `scheme:address` sets. Raises MisuseError where it cannot be."""
        if not address:
            return {}
        if cls.address_option is None:
            raise MisuseError(f"{cls.kind}: expected nothing behind {scheme}: but options, as ?option=value")
        return {cls.address_option: address}

    @property
    def called(self) -> str:
        """What messages call it."""
        return self.name or self.kind


def spool_option(default: str | None = None) -> Any:
    """The declaration of `spool`, which some kinds have off by default."""
    return option(
        PATH,
        "the folder where events wait on the disk; `off`: they wait in memory",
        otherwise="`spool/NAME` in the home of edge_har",
        default=default,
        kw_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class DeliveryOptions(SinkOptions):
    """What sinks have that bring events somewhere."""

    updates: bool = option(TRUTH, "deliver `update` events too", default=True)
    spool: str | None = spool_option()
    spool_bytes: int = option(
        BYTES,
        "largest size of that folder; beyond it the oldest events are dropped",
        default=MAX_BYTES,
        low=MIN_SPOOL_BYTES,
    )

    def open_spool(self) -> Spool | None:
        """The spool that the options name. Raises EdgeHarError where its folder cannot be used."""
        if self.spool == NO_SPOOL:
            return None
        folder = home() / "spool" / self.called if self.spool is None else expand_user(self.spool)
        return Spool(folder, name=self.called, max_bytes=self.spool_bytes)


def slug(name: str) -> str:
    """`name` in letters, digits, _ and -; a few digits distinguish it from others where something else
    was in it.
    """
    safe = UNSAFE.sub("_", name).strip("_")
    return safe if safe == name else f"{safe}_{hashlib.sha256(name.encode()).hexdigest()[:4]}".lstrip("_")


def check_names(all_options: Iterable[SinkOptions]) -> None:
    """Raises MisuseError where two sinks have the same name: their events would wait in the same folder."""
    names: set[str] = set()
    for options in all_options:
        if options.called in names:
            raise MisuseError(f"two sinks are called {options.called}; give each a name")
        names.add(options.called)
