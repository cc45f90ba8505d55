"""How a run is asked to go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edge_har.errors import MisuseError
from edge_har.model.manifest import Manifest, Smoothing
from edge_har.pipeline.events import Tuning
from edge_har.pipeline.rules import UNKNOWN, RuleClock, Rules, check_cooldown

MAX_THREADS = 256  # of a graph


@dataclass(frozen=True)
class RunOptions:
    """How to run. duration_s: of the source's time, for live sources also of the wall clock; None: no limit.

    realtime: play a file by the clock. wait_for_source: a source that is not there at first is waited for. give_up_s:
    a source that stays away so long is not tried again; None: for ever. enter, leave, smooth_s, min_s: in place of the
    bundle's smoothing. cooldown_s: after an event's end no other of its label starts for so long. unknown: tell it as
    an activity where no label reaches the bundle's reject threshold. rules: by label. threads: CPU threads of a graph.

    Raises MisuseError for values that cannot be.
    """

    threads: int = 1
    duration_s: float | None = None
    realtime: bool = False
    wait_for_source: bool = False
    give_up_s: float | None = None
    smooth_s: float | None = None
    enter: float | None = None
    leave: float | None = None
    min_s: float | None = None
    cooldown_s: float = 0.0
    unknown: bool = False
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        for name in ("duration_s", "give_up_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise MisuseError(f"{name} must be more than 0 seconds, got {value}")
        check_cooldown(self.cooldown_s)
        if not 1 <= self.threads <= MAX_THREADS:
            raise MisuseError(f"threads must be 1 to {MAX_THREADS}, got {self.threads}")

    def tuning(self, manifest: Manifest, gate: RuleClock | None) -> Tuning:
        """When the predictions of a bundle become events at one source."""
        return Tuning(manifest.reject_threshold, self.unknown, self.cooldown_s, self.rules.labels, gate)

    def check(self, manifest: Manifest, sources: tuple[str, ...]) -> None:
        """Raises MisuseError where what is asked for and the bundle, or the names of the sources, do not go together."""
        self.smoothing(manifest.smoothing)
        if self.unknown and manifest.reject_threshold is None:
            raise MisuseError("the bundle has no reject threshold: nothing in it is unknown")
        labels = (*manifest.labels, UNKNOWN) if self.unknown else manifest.labels
        self.rules.check_names(labels, sources)

    def smoothing(self, of_bundle: Smoothing) -> Smoothing:
        """The bundle's smoothing with what is set here; raises MisuseError where that cannot be."""
        asked = {name: getattr(self, name) for name in ("smooth_s", "enter", "leave", "min_s")}
        given = {name: value for name, value in asked.items() if value is not None}
        if "enter" in given and "leave" not in given:
            given["leave"] = min(of_bundle.leave, given["enter"])
        if "leave" in given and "enter" not in given:
            given["enter"] = max(of_bundle.enter, given["leave"])
        return replace(of_bundle, **given)
