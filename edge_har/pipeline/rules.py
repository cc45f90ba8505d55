"""Which activities are reported: on or off, how sure, at which hours of the day, from which sources."""

from __future__ import annotations

import difflib
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edge_har.errors import MisuseError
from edge_har.options.fields import check_values, option
from edge_har.options.kinds import DURATION, PROBABILITY, TEXT, TEXTS, TRUTH, Kind, texts_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The activity that is reported, where requested, while no label is sure enough.
UNKNOWN = "unknown"
HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True)
class Hours:
    """A part of every day, in minutes since midnight as the clock on the wall shows them;
    `until` is no longer in it.

    Where the clock is put forward, what it skips does not come;
    where it is put back, what it shows twice comes twice.
    """

    since: int
    until: int

    @classmethod
    def parse(cls, text: str) -> Hours:
        """`22:00-06:00`, over midnight too. Raises MisuseError for anything else."""
        found = HOURS.fullmatch(text.strip())
        since, until = (
            (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
        )
        if found is None or until > MINUTES_A_DAY or since == until:
            raise MisuseError(f"hours are HH:MM-HH:MM, such as 22:00-06:00, got {text!r}")
        return cls(since, until)

    def __str__(self) -> str:
        return "-".join(f"{at // 60:02d}:{at % 60:02d}" for at in (self.since, self.until))

    def __contains__(self, minute: int) -> bool:
        if self.since < self.until:
            return self.since <= minute < self.until
        return minute >= self.since or minute < self.until


def _read_hours(value: object) -> tuple[Hours, ...]:
    return tuple(Hours.parse(text) for text in texts_of([value] if isinstance(value, str) else value))


_HOURS_SCHEMA = {"type": "string", "pattern": f"^{HOURS.pattern}$"}
HOURS_OF_DAY = Kind(
    _read_hours,
    lambda text: _read_hours(text.split(",")),
    'a list of texts such as "22:00-06:00"',
    {"anyOf": [_HOURS_SCHEMA, {"type": "array", "items": _HOURS_SCHEMA}]},
)


@dataclass(frozen=True)
class LabelRule:
    """The rule of one label, which replaces that of all labels.
    Raises MisuseError for values out of range.
    """

    enabled: bool = option(TRUTH, "whether its events are reported at all", default=True)
    enter: float | None = option(
        PROBABILITY,
        "an event starts at this average probability",
        otherwise="as for all labels",
        default=None,
    )
    cooldown_s: float | None = option(
        DURATION, "after an event, start no other for this time", otherwise="as for all labels", default=None
    )
    hours: tuple[Hours, ...] = option(
        HOURS_OF_DAY,
        'the hours in which its events may start, as in `["22:00-06:00"]`',
        otherwise="always",
        default=(),
    )
    sources: tuple[str, ...] = option(
        TEXTS, "names of the sources at which its events may start", otherwise="all", default=()
    )

    def __post_init__(self) -> None:
        check_values(self)

    def holds_at(self, source: str, minute: int) -> bool:
        """Whether an event may start at `source` when the clock shows `minute`."""
        if not self.enabled or (self.sources and source not in self.sources):
            return False
        return not self.hours or any(minute in hours for hours in self.hours)


def check_cooldown(seconds: float) -> None:
    """Raises MisuseError where `seconds` is no cool-down."""
    if not (math.isfinite(seconds) and seconds >= 0):
        raise MisuseError(f"a cool-down must be 0 or more seconds, got {seconds}")


@dataclass(frozen=True)
class Rules:
    """Rules by label. only: whether labels without a rule start no event.
    zone: whose clock the hours mean, such as Europe/Paris; None: this machine's.

    Raises MisuseError for a zone that this machine does not know.
    """

    labels: Mapping[str, LabelRule] = field(default_factory=dict)
    zone: str | None = option(
        TEXT,
        'the time zone of `hours`, such as `"Europe/Paris"`',
        otherwise="this machine's",
        default=None,
        table="events",
        command_line="--zone",
    )
    only: bool = False

    def __post_init__(self) -> None:
        _zone(self.zone)

    def check_names(self, labels: Iterable[str], sources: Iterable[str]) -> None:
        """Raises MisuseError where a rule names a label or a source that does not exist."""
        known, named = tuple(labels), tuple(sources)
        for label, rule in self.labels.items():
            if label not in known:
                folded = {name.lower(): name for name in known}
                near = difflib.get_close_matches(label.lower(), folded, 1)
                hint = f"did you mean {folded[near[0]]}?" if near else f"there are {', '.join(known)}"
                raise MisuseError(f"the model has no label {label!r}; {hint}")
            for source in rule.sources:
                if source not in named:
                    raise MisuseError(
                        f"the rule of {label!r} names the source {source!r}; there are {', '.join(named)}"
                    )

    def gate(self, source: str, *, clock: Callable[[], float] = time.time) -> RuleClock | None:
        """What bars events of one source; None where no rule ever does. clock: the wall clock."""
        at_times = self.only or any(not r.enabled or r.hours or r.sources for r in self.labels.values())
        return RuleClock(self, source, clock) if at_times else None


class RuleClock:
    """Which labels may start an event at one source now;
    looked up once a second, as hours change at no other time.
    """

    def __init__(self, rules: Rules, source: str, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._source = source
        self._clock = clock
        self._zone = _zone(rules.zone)
        self._second: int | None = None
        self._barred: NDArray[np.bool_] | None = None
        self._names: tuple[str, ...] = ()

    def barred(self, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """For each of `names`, whether it may not start an event now: bool [names]."""
        second = int(self._clock())
        if self._barred is None or second != self._second or names is not self._names:
            # Whoever makes events has it loaded; the help of `run` needs no more than the declarations.
            import numpy as np

            now = datetime.fromtimestamp(second, self._zone)
            minute = now.hour * 60 + now.minute
            rules = (self._rules.labels.get(name) for name in names)
            only = self._rules.only
            self._barred = np.array(
                [only if r is None else not r.holds_at(self._source, minute) for r in rules]
            )
            self._second, self._names = second, names
        return self._barred


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise MisuseError(
            f"no time zone {name!r} on this machine; expected one such as Europe/Paris (apt install tzdata)"
        ) from None
