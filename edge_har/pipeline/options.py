"""Options of a run, declared without loading what a run needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edge_har.errors import MisuseError
from edge_har.options.fields import check_values, option
from edge_har.options.kinds import DURATION, LIMIT, PROBABILITY, TRUTH, WHOLE
from edge_har.pipeline.rules import UNKNOWN, RuleClock, Rules

# The help of `run` is made from the declarations here, without numpy and OpenCV.
if TYPE_CHECKING:
    from edge_har.model.manifest import Manifest, Smoothing
    from edge_har.pipeline.events import Tuning

MAX_THREADS = 256  # of a graph


@dataclass(frozen=True)
class RunOptions:
    """How sources are followed, and when predictions become events. Times are in seconds.

    threads: CPU threads of each graph. duration_s: end after this time. realtime: play recordings by the
    clock. wait_for_source: wait for a source that is not there at first, where it is an error otherwise.
    give_up_s: a source that stays away so long is an error. smooth_s, enter, leave, min_s: of `Smoothing`, in
    place of the bundle's. cooldown_s: after an event, no other of its label starts for this time. unknown:
    report `unknown` while no label is sure enough. rules: by label. None: no limit, or the bundle's value.

    Raises MisuseError for values that cannot be.
    """

    threads: int = option(
        WHOLE,
        "CPU threads that a model uses",
        default=1,
        low=1,
        high=MAX_THREADS,
        fixed=True,
        command_line="--threads",
    )
    duration_s: float | None = option(
        LIMIT,
        "end after this time",
        otherwise="no limit",
        default=None,
        fixed=True,
        command_line="--duration",
    )
    realtime: bool = option(
        TRUTH,
        "play files at their own speed, as a camera would",
        default=False,
        fixed=True,
        command_line="--realtime",
    )
    wait_for_source: bool = option(
        TRUTH,
        "wait for a source that cannot be opened at the start",
        default=False,
        fixed=True,
        command_line="--wait-for-source",
    )
    give_up_s: float | None = option(
        LIMIT,
        "give up a source that has sent nothing for this time",
        otherwise="never",
        default=None,
        fixed=True,
        command_line="--give-up",
    )
    smooth_s: float | None = option(
        DURATION,
        "average probabilities over this time",
        otherwise="the bundle's",
        default=None,
        table="events",
        command_line="--smooth",
    )
    enter: float | None = option(
        PROBABILITY,
        "an event starts at this average probability",
        otherwise="the bundle's",
        default=None,
        table="events",
        command_line="--enter",
    )
    leave: float | None = option(
        PROBABILITY,
        "an event ends below this average probability",
        otherwise="the bundle's",
        default=None,
        table="events",
        command_line="--leave",
    )
    min_s: float | None = option(
        DURATION,
        "report only events that last at least this long",
        otherwise="the bundle's",
        default=None,
        table="events",
        command_line="--min-duration",
    )
    cooldown_s: float = option(
        DURATION,
        "after an event, start no other event of its label for this time",
        default=0.0,
        table="events",
        command_line="--cooldown",
    )
    unknown: bool = option(
        TRUTH,
        "report `unknown` while no label reaches the reject threshold",
        default=False,
        table="events",
        command_line="--unknown",
    )
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        check_values(self)

    def tuning(self, manifest: Manifest, gate: RuleClock | None) -> Tuning:
        """When the predictions of a bundle become events at one source."""
        from edge_har.pipeline.events import Tuning

        return Tuning(manifest.reject_threshold, self.unknown, self.cooldown_s, self.rules.labels, gate)

    def check(self, manifest: Manifest, sources: tuple[str, ...]) -> None:
        """Raises MisuseError where these options and the bundle, or the names of the sources,
        do not go together.
        """
        self.smoothing(manifest.smoothing)
        if self.unknown and manifest.reject_threshold is None:
            raise MisuseError("the bundle has no reject threshold: nothing in it is unknown")
        labels = (*manifest.labels, UNKNOWN) if self.unknown else manifest.labels
        self.rules.check_names(labels, sources)

    def without_effect(self, manifest: Manifest) -> list[str]:
        """A line about each threshold that is set and does not hold, because the bundle's does."""
        floor = manifest.reject_threshold
        if floor is None:
            return []
        given = {"enter": self.enter}
        lines = []
        for label, rule in self.rules.labels.items():
            name = f"enter of the label {label!r}"
            if label != UNKNOWN or not self.unknown:
                given[name] = rule.enter
            elif rule.enter is not None:
                lines.append(
                    f"{name} has no effect: it begins where no label reaches the bundle's reject threshold, "
                    f"{floor:g}"
                )
        return lines + [
            f"{name} is {enter:g}, but no label begins below the bundle's {floor:g}"
            for name, enter in given.items()
            if enter is not None and enter < floor
        ]

    def smoothing(self, of_bundle: Smoothing) -> Smoothing:
        """The bundle's smoothing with what is set here; raises MisuseError where that cannot be."""
        settings = {name: getattr(self, name) for name in ("smooth_s", "enter", "leave", "min_s")}
        given = {name: value for name, value in settings.items() if value is not None}
        if "enter" in given and "leave" not in given:
            given["leave"] = min(of_bundle.leave, given["enter"])
        if "leave" in given and "enter" not in given:
            given["enter"] = max(of_bundle.enter, given["leave"])
        return replace(of_bundle, **given)
