"""What a device replies, as one line of JSON; both ends of the connection use this module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge_har.errors import DeployError
from edge_har.model.manifest import RELEASE
from edge_har.model.values import read_json, whole

REPLY_VERSION = 1
MAX_TEXT = 400  # characters of a text that came from a device


class Outcome(Enum):
    """How it ended on one host. Only the first two are success."""

    OK = "OK"  # the bundle is active, read back, its golden clips pass
    UNCHANGED = "UNCHANGED"  # this very bundle was active and whole already
    UNREACHABLE = "UNREACHABLE"  # ssh did not get there or lost its way: trying again may help
    REFUSED = "REFUSED"  # the device did not take it; what was active still is
    SELFTEST_FAILED = "SELFTEST_FAILED"  # the golden clips failed there; what was active still is
    ROLLED_BACK = "ROLLED_BACK"  # it was activated, then taken back; what was active is again
    BROKEN = "BROKEN"  # taking it back failed too: look at the device
    NOT_TRIED = "NOT_TRIED"  # another host came out BROKEN first

    @property
    def good(self) -> bool:
        """Whether the device runs what was requested."""
        return self in (Outcome.OK, Outcome.UNCHANGED)


class DeploymentFailed(DeployError):
    """A device that ends in another outcome than a good one; the text is one line that says why."""

    def __init__(self, outcome: Outcome, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome


def refused(text: str) -> DeploymentFailed:
    """The device does not take it, and nothing has changed."""
    return DeploymentFailed(Outcome.REFUSED, text)


@dataclass(frozen=True)
class DeviceReply:
    """One host's result. model: `name@first 12 of the digest`; store: what `status` reports."""

    outcome: Outcome
    detail: str = ""
    model: str | None = None
    version: str | None = None
    release: int | None = None
    digest: str | None = None
    store: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; unknown fields are absent."""
        fields = {**vars(self), "outcome": self.outcome.value}
        return {"v": REPLY_VERSION} | {name: value for name, value in fields.items() if value is not None}

    def to_line(self) -> str:
        """As the one line a device prints: ASCII, whatever its locale."""
        return json.dumps(self.to_json(), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> DeviceReply | None:
        """Read a device's line; None where it is not one of this version (a greeting, a newer version)."""
        try:
            data = read_json(line.encode())
        except ValueError:
            return None
        if not isinstance(data, dict) or data.get("v") != REPLY_VERSION:
            return None
        try:
            outcome = Outcome(data.get("outcome"))
        except ValueError:
            return None
        store = data.get("store")
        return cls(
            outcome,
            detail=plain(data.get("detail") or ""),
            model=_text(data, "model"),
            version=_text(data, "version"),
            release=_release(data),
            digest=_text(data, "digest"),
            store=_plain_values(store) if isinstance(store, dict) else None,
        )


def plain(text: object) -> str:
    """A text from elsewhere, made fit for a terminal: one line, no control characters, not endless."""
    return "".join(c if c.isprintable() else " " for c in str(text)).strip()[:MAX_TEXT]


def _plain_values(value: Any) -> Any:
    """The same JSON value, its texts and keys made fit for a terminal."""
    if isinstance(value, dict):
        return {plain(key): _plain_values(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_plain_values(below) for below in value]
    return plain(value) if isinstance(value, str) else value


def _release(data: Mapping[str, Any]) -> int | None:
    try:
        release = whole(data.get("release"))
    except TypeError:
        return None
    return release if min(RELEASE) <= release <= max(RELEASE) else None


def _text(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    return plain(value) if isinstance(value, str) else None
