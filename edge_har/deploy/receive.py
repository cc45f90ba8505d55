"""The device's side: receive a bundle, go back to the one before, report what is there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import select
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_har import __version__
from edge_har.deploy.replies import DeploymentFailed, DeviceReply, Outcome, refused
from edge_har.deploy.selftest import run_selftest
from edge_har.deploy.store import CONFIG, CURRENT, PREVIOUS, BundleStore
from edge_har.errors import BundleError, MisuseError
from edge_har.model.bundle import (
    MAX_BUNDLE_BYTES,
    Bundle,
    default_bundle_path,
    open_bundle,
    read_bundle,
)

SPARE_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
SHA256_RULE = re.compile(r"[0-9a-f]{64}")

# What `flash` does on the device, in this order; each may be cut off at any point and done again.
STEPS = (
    "lock",
    "reconcile",
    "clear-staging",
    "permission",
    "unchanged",
    "space",
    "receive",
    "verify",
    "release",
    "extract",
    "store",
    "selftest",
    "pending",
    "previous",
    "swap",
    "read-back",
    "confirm",
    "collect",
    "done",
)


@dataclass(frozen=True)
class Offer:
    """What a sender announces.

    length: of the bundle, in bytes. sha256: of these bytes. digest: of the manifest, given so
    that a bundle which is current already is not transferred. Raises MisuseError.
    """

    length: int
    sha256: str
    digest: str | None = None
    allow_downgrade: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.length <= MAX_BUNDLE_BYTES:
            raise MisuseError(f"a bundle has 1 to {MAX_BUNDLE_BYTES} bytes, got a length of {self.length}")
        if not SHA256_RULE.fullmatch(self.sha256) or not SHA256_RULE.fullmatch(self.digest or self.sha256):
            raise MisuseError("a sha256 is 64 digits of 0-9 and a-f")


@dataclass(frozen=True)
class ReceiveLimits:
    """How long the device waits, in seconds. on_step: called with the name of each step before it begins."""

    lock_s: float = 2.0
    idle_s: float = 30.0
    transfer_s: float = 600.0
    selftest_s: float = 120.0
    on_step: Callable[[str], None] | None = None


def receive(offer: Offer, source: int, limits: ReceiveLimits = ReceiveLimits()) -> DeviceReply:
    """Read the offered bundle from the file descriptor `source` and make it current on this device."""
    store = BundleStore(on_step=limits.on_step)

    def install_offered() -> DeviceReply:
        _check_permission(store)
        store.step("unchanged")
        unchanged = _unchanged(store, offer.digest)
        if unchanged is not None:
            return unchanged
        store.step("space")
        _check_space(store, offer.length)
        store.step("receive")
        content = read_exactly(source, offer.length, idle_s=limits.idle_s, deadline_s=limits.transfer_s)
        if hashlib.sha256(content).hexdigest() != offer.sha256:
            raise refused("what arrived is not what was sent (sha256 differs): send it again")
        store.step("verify")
        bundle = read_bundle(content)
        unchanged = _unchanged(store, bundle.digest)
        if unchanged is not None:
            return unchanged
        store.step("release")
        if not offer.allow_downgrade:
            _check_release(store, bundle)
        store.install(bundle)
        return _activate(store, bundle, limits)

    return _run_change(store, limits, install_offered)


def install_shipped(limits: ReceiveLimits = ReceiveLimits()) -> DeviceReply:
    """Make the bundle that ships with the package current on a device that has none yet; UNCHANGED, about the
    one that is there, where it has one.

    It needs no permission: it came with the program.
    """
    store = BundleStore(on_step=limits.on_step)

    def install() -> DeviceReply:
        digest = store.digest_of(CURRENT)
        if digest is not None and store.is_whole(digest):
            return _reply_about(Outcome.UNCHANGED, store.open_version(digest))
        bundle = open_bundle(default_bundle_path())
        store.install(bundle)
        return _activate(store, bundle, limits)

    return _run_change(store, limits, install)


def roll_back(limits: ReceiveLimits = ReceiveLimits()) -> DeviceReply:
    """Make the previous bundle of this device current, and the current one previous."""
    store = BundleStore(on_step=limits.on_step)

    def activate_previous() -> DeviceReply:
        digest = store.digest_of(PREVIOUS)
        if digest is None:
            raise refused("there is no previous bundle on this device to go back to")
        try:
            bundle = store.open_version(digest)
        except BundleError as error:
            raise refused(f"the previous bundle cannot be used, flash one instead: {error}") from error
        return _activate(store, bundle, limits)

    return _run_change(store, limits, activate_previous)


def status(root: Path | None = None) -> DeviceReply:
    """What is on this device; BROKEN where `current` is damaged. root: of the store; None: this user's."""
    store = BundleStore(root)
    try:
        pending = store.pending()
        about: dict[str, Any] = {
            "home": str(store.root),
            "edge_har": __version__,
            "pending": None if pending is None else pending.digest,
            CURRENT: _describe(store, store.digest_of(CURRENT)),
            PREVIOUS: _describe(store, store.digest_of(PREVIOUS)),
        }
    except OSError as error:
        return DeviceReply(Outcome.REFUSED, f"{store.root} cannot be read: {error.strerror}")
    current = about[CURRENT]
    cut_off = "" if pending is None else f"a change to {pending.digest[:12]} is under way, or was cut off"
    if current is None:
        return DeviceReply(Outcome.OK, cut_off or "no bundle on this device yet", store=about)
    digest = current["digest"]
    if "error" in current:
        return DeviceReply(
            Outcome.BROKEN, f"current is damaged: {current['error']}", digest=digest, store=about
        )
    model = f"{current['name']}@{digest[:12]}"
    return DeviceReply(Outcome.OK, cut_off, model, current["version"], current["release"], digest, about)


def read_exactly(source: int, length: int, *, idle_s: float, deadline_s: float) -> bytes:
    """Exactly `length` bytes from a file descriptor; refused when cut off, silent or too late."""
    end_s = time.monotonic() + deadline_s
    chunks: list[bytes] = []
    missing = length
    while missing:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise refused(
                f"the transfer took longer than {deadline_s:g} s ({length - missing} of {length} bytes)"
            )
        if not select.select([source], [], [], min(idle_s, left_s))[0]:
            if left_s < idle_s:
                continue
            raise refused(
                f"the sender was silent for {idle_s:g} s after {length - missing} of {length} bytes"
            )
        chunk = os.read(source, min(CHUNK_BYTES, missing))
        if not chunk:
            raise refused(f"the transfer was cut off after {length - missing} of {length} bytes")
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def _run_change(store: BundleStore, limits: ReceiveLimits, change: Callable[[], DeviceReply]) -> DeviceReply:
    """Run `change` under the store's lock, from a settled state; every end is a reply."""
    try:
        with store.locked(limits.lock_s):
            try:
                store.reconcile()
                store.clear_staging()
                reply = change()
            finally:
                # Only room is lost where this fails, and the next flash tries again.
                with contextlib.suppress(OSError):
                    store.collect()
        store.step("done")
        return reply
    except DeploymentFailed as failure:
        return DeviceReply(failure.outcome, str(failure))
    except BundleError as error:
        return DeviceReply(Outcome.REFUSED, str(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return DeviceReply(Outcome.REFUSED, f"the device cannot store it: {error.strerror or error}{where}")


def _activate(store: BundleStore, bundle: Bundle, limits: ReceiveLimits) -> DeviceReply:
    store.step("selftest")
    run_selftest(store.versions / bundle.digest, timeout_s=limits.selftest_s)
    store.activate(bundle.digest)
    return _reply_about(Outcome.OK, bundle)


def _reply_about(outcome: Outcome, bundle: Bundle) -> DeviceReply:
    manifest = bundle.manifest
    return DeviceReply(outcome, "", bundle.model_id, manifest.version, manifest.release, bundle.digest)


def _check_permission(store: BundleStore) -> None:
    """Until a release key can be pinned, every bundle counts as unsigned."""
    store.step("permission")
    if not store.allows_unsigned():
        raise refused(
            f"this device takes no unsigned bundles: put the line `allow_unsigned = true` into "
            f"{store.root / CONFIG} on the device"
        )


def _unchanged(store: BundleStore, digest: str | None) -> DeviceReply | None:
    if digest is None or store.digest_of(CURRENT) != digest:
        return None
    try:
        return _reply_about(Outcome.UNCHANGED, store.open_version(digest))
    except BundleError:
        return None  # damaged on the device: flashing it again repairs it


def _check_space(store: BundleStore, length: int) -> None:
    needed, free = 2 * length + SPARE_BYTES, shutil.disk_usage(store.root).free
    if free < needed:
        raise refused(
            f"the device's disk is too full: {needed >> 20} MiB must be free at {store.root}, "
            f"{free >> 20} MiB are"
        )


def _check_release(store: BundleStore, bundle: Bundle) -> None:
    digest = store.digest_of(CURRENT)
    if digest is None:
        return
    try:
        current = store.open_version(digest).manifest
    except BundleError:
        return  # damaged: any whole bundle is better
    if current.name == bundle.manifest.name and bundle.manifest.release < current.release:
        raise refused(
            f"release {bundle.manifest.release} of {current.name} is older than release "
            f"{current.release} on the device (--allow-downgrade installs it all the same)"
        )


def _describe(store: BundleStore, digest: str | None) -> dict[str, Any] | None:
    if digest is None:
        return None
    try:
        manifest = store.open_version(digest).manifest
    except BundleError as error:
        return {"digest": digest, "error": str(error)}
    return {
        "digest": digest,
        "name": manifest.name,
        "version": manifest.version,
        "release": manifest.release,
    }
