"""Notifications of events that begin, to telephones and whatever else apprise knows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from edge_har.errors import MisuseError, RuntimeMissingError
from edge_har.options.fields import option
from edge_har.options.kinds import LABELS, NUMBER, TEXT, TRUTH
from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import OpenedSink
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import RetryLater
from edge_har.sinks.options import DeliveryOptions, SinkContext
from edge_har.sinks.queued import QueuedSink

if TYPE_CHECKING:
    from apprise import Apprise

APPRISE_LOG = "apprise"


@dataclass(frozen=True)
class AppriseOptions(DeliveryOptions):
    """A service that apprise knows. Its address is never shown: most hold a token."""

    kind: ClassVar[str] = "apprise"
    # What stands behind ? belongs to apprise.
    query_mark: ClassVar[str] = "#"
    password_instead: ClassVar[str | None] = "url_env or url_file"
    url: str = option(
        TEXT, "address of the service, as apprise writes it", needed=True, secret=True, address=True
    )
    labels: tuple[str, ...] = option(LABELS, "labels of the events to notify of", otherwise="all", default=())
    min_score: float = option(NUMBER, "lowest score to notify of", default=0.0, low=0.0, high=1.0)
    updates: bool = option(TRUTH, "notify of `update` events too", default=False)

    @classmethod
    def of_address(cls, scheme: str, address: str) -> dict[str, object]:
        """The address itself."""
        return {"url": address} if address else {}

    def _check(self) -> None:
        super()._check()
        if "://" not in self.url:
            raise MisuseError("apprise: url is SERVICE://..., as apprise writes it")

    def open(self, context: SinkContext) -> OpenedSink:
        """A sink that notifies in a thread of its own."""
        self.check_installed()
        for label in self.labels:
            if label not in context.run_status.labels:
                raise MisuseError(
                    f"apprise: the model knows no {label!r}, but {', '.join(context.run_status.labels)}"
                )
        target = AppriseDestination(self)
        state = SinkState(self.called)
        sink = NotifySink(
            self, target, state, spool=self.open_spool(), updates=self.updates, waits=context.waits
        )
        context.run_status.add_sink(state)
        return OpenedSink(events=sink)

    def check_installed(self) -> None:
        """Raise RuntimeMissingError without apprise."""
        try:
            import apprise  # noqa: F401
        except ImportError as error:
            raise RuntimeMissingError(
                "notifications need a library: pip install 'edge-har[notify]'"
            ) from error


class NotifySink(QueuedSink):
    """Takes the events that are worth a notification; the others do not wait anywhere."""

    def __init__(
        self, options: AppriseOptions, target: AppriseDestination, state: SinkState, **queue: Any
    ) -> None:
        self._options = options
        super().__init__(target, state, **queue)

    def write(self, event: Event) -> None:
        """Take one event; never waits."""
        options = self._options
        if event.type not in ("start", "update") or event.label is None or event.score is None:
            return
        if event.score < options.min_score or (options.labels and event.label not in options.labels):
            return
        super().write(event)


class AppriseDestination:
    """A service that takes one notification at a time."""

    batch = 1

    def __init__(self, options: AppriseOptions) -> None:
        import apprise

        # Its messages may hold tokens, and failures are reported here.
        logging.getLogger(APPRISE_LOG).setLevel(logging.CRITICAL + 1)
        self._service: Apprise = apprise.Apprise(asset=apprise.AppriseAsset(app_id="edge_har"))
        if not self._service.add(options.url):
            raise MisuseError(f"{options.called}: url is no address that apprise knows")
        self._name = str(self._service[0].service_name)

    def deliver(self, events: Sequence[Event]) -> None:
        """Notify of one after the other; raises RetryLater where the service does not take it."""
        for delivered, event in enumerate(events):
            title, body = notification(event)
            if not self._service.notify(title=title, body=body):
                # apprise does not distinguish an outage from a wrong token.
                raise RetryLater(
                    f"{self._name} did not take the notification: it cannot be reached, or its url is wrong",
                    delivered=delivered,
                )

    def tend(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Nothing is open."""


def notification(event: Event) -> tuple[str, str]:
    """Title and body. The time is this machine's: a notification that waited shows when the event began."""
    at = datetime.fromisoformat(event.time.replace("Z", "+00:00")).astimezone()
    score = "" if event.score is None else f", {event.score:.0%}"
    return f"{event.label}: {event.source}", f"{event.label} at {event.source}{score}, {at:%Y-%m-%d %H:%M:%S}"
