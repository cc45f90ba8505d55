"""Bundles on a device: each version whole in a folder of its own, and one link that says which is current.

config.toml         what the device's owner allows
versions/<digest>/  unpacked bundles, never changed once they are there
current, previous   links to versions; swapped by renaming, so that each is always whole or absent
pending.json        there while `current` changes hands: what to come back to
staging/            everything that is not finished; may be emptied at any time
tried               which bundles ran in a trial on this machine (edge_har.model.trial)
lock                held by the one process that changes anything; the kernel frees it with its holder
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_har.deploy.replies import DeploymentFailed, Outcome, refused
from edge_har.errors import BundleError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.system.files import home, sync_directory, take_lock

CONFIG = "config.toml"
VERSIONS = "versions"
STAGING = "staging"
CURRENT = "current"
PREVIOUS = "previous"
PENDING = "pending.json"
LOCK = "lock"
LOCK_POLL_S = 0.1
DIGEST_RULE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pending:
    """A change of `current` under way: to `digest`, from what `current` and `previous` were."""

    digest: str
    current: str | None
    previous: str | None


class BundleStore:
    """The store under `root`. Everything that changes it needs `locked()`; reading does not.

    on_step: called with the name of each step before it begins.
    """

    def __init__(self, root: Path | None = None, on_step: Callable[[str], None] | None = None) -> None:
        self.root = home() if root is None else root
        self.versions = self.root / VERSIONS
        self.staging = self.root / STAGING
        self._on_step = on_step

    def step(self, name: str) -> None:
        """Report which step comes next."""
        if self._on_step is not None:
            self._on_step(name)

    @contextmanager
    def locked(self, wait_s: float) -> Iterator[None]:
        """Be the only one to change the store; refused where another still is after `wait_s`."""
        self.step("lock")
        for folder in (self.root, self.versions, self.staging):
            folder.mkdir(parents=True, exist_ok=True)
        descriptor = _take_lock(self.root / LOCK, wait_s)
        try:
            yield
        finally:
            os.close(descriptor)

    def allows_unsigned(self) -> bool:
        """Whether the device's owner lets it take bundles without a signature."""
        path = self.root / CONFIG
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        # A module of the standard library from 3.11, the same one by another name before.
        reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        try:
            allowed = reader.loads(text).get("allow_unsigned", False)
        except ValueError as error:
            raise refused(f"{path} on the device is not TOML: {error}") from error
        if not isinstance(allowed, bool):
            raise refused(f"{path} on the device: allow_unsigned must be true or false, got {allowed!r}")
        return allowed

    def digest_of(self, link: str) -> str | None:
        """Digest that `current` or `previous` points to; None where it is absent."""
        try:
            name = os.path.basename(os.readlink(self.root / link))
        except FileNotFoundError:
            return None
        return name if DIGEST_RULE.fullmatch(name) else None

    def open_version(self, digest: str) -> Bundle:
        """Open and verify a version; raises BundleError where it is missing or damaged."""
        bundle = open_bundle(self.versions / digest)
        if bundle.digest != digest:
            raise BundleError(f"{self.versions / digest}: the manifest there is another one")
        return bundle

    def is_whole(self, digest: str | None) -> bool:
        """Whether a version is there and undamaged."""
        if digest is None:
            return False
        try:
            self.open_version(digest)
        except BundleError:
            return False
        return True

    def pending(self) -> Pending | None:
        """The change of `current` that is not yet confirmed, if any."""
        try:
            data: Any = json.loads((self.root / PENDING).read_bytes())
            return Pending(data["digest"], data["current"], data["previous"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None  # not written by us, for ours are whole or absent

    def reconcile(self) -> None:
        """Finish or undo a change of `current` in which a receiver was killed.

        Its golden clips had passed, so it is finished where the swap took place and the version reads back;
        else `current` and `previous` become what they were.
        """
        self.step("reconcile")
        pending = self.pending()
        if pending is not None:
            swapped = self.digest_of(CURRENT) == pending.digest
            if not (swapped and self.is_whole(pending.digest)):
                self._undo(pending)
        self._remove_pending()

    def clear_staging(self) -> None:
        """Remove whatever was not finished."""
        self.step("clear-staging")
        self._empty_staging()

    def install(self, bundle: Bundle) -> None:
        """Unpack a bundle among the versions, where it is whole or absent at any time."""
        self.step("extract")
        if self.is_whole(bundle.digest):
            return
        staged, target = self.staging / bundle.digest, self.versions / bundle.digest
        staged.mkdir()
        bundle.extract(staged)
        self.step("store")
        if target.exists():
            target.rename(self.staging / f"damaged-{bundle.digest}")
        staged.rename(target)
        sync_directory(self.versions)

    def activate(self, digest: str) -> None:
        """Make a version current and what was current the previous; raises DeploymentFailed where that did
        not hold.

        What to come back to is written before either link changes: a kill between the two loses neither.
        """
        before = Pending(digest, self.digest_of(CURRENT), self.digest_of(PREVIOUS))
        try:
            self.step("pending")
            self._write_pending(before)
            self.step("previous")
            if before.current != digest:  # else it only repairs a damaged version
                self._point(PREVIOUS, before.current)
            self.step("swap")
            self._point(CURRENT, digest)
            self.step("read-back")
            self._read_back(digest)
            self.step("confirm")
            self._remove_pending()
        except (OSError, BundleError) as error:
            raise self._undo_after(before, getattr(error, "strerror", None) or str(error)) from error

    def collect(self) -> None:
        """Remove the versions that nothing points to, and whatever is unfinished."""
        self.step("collect")
        kept = {self.digest_of(CURRENT), self.digest_of(PREVIOUS)}
        pending = self.pending()
        if pending is not None:
            kept |= {pending.digest, pending.current, pending.previous}
        for version in self.versions.iterdir():
            if version.name not in kept:
                version.rename(
                    self.staging / f"old-{version.name}"
                )  # in one go: a version is never half there
        self._empty_staging()

    def _empty_staging(self) -> None:
        for path in self.staging.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _read_back(self, digest: str) -> None:
        found = open_bundle(self.root / CURRENT).digest
        if found != digest:
            raise BundleError(f"read back {found[:12]} through {CURRENT}, expected {digest[:12]}")

    def _undo_after(self, before: Pending, reason: str) -> DeploymentFailed:
        was_active = self.digest_of(CURRENT) == before.digest
        try:
            self._undo(before)
            self._remove_pending()
        except OSError as error:
            return DeploymentFailed(
                Outcome.BROKEN, f"activation failed ({reason}) and so did the way back ({error.strerror})"
            )
        if was_active and before.current != before.digest:
            return DeploymentFailed(Outcome.ROLLED_BACK, f"activation failed and was taken back: {reason}")
        return refused(f"activation failed, nothing has changed: {reason}")

    def _undo(self, before: Pending) -> None:
        self._point(CURRENT, before.current)
        self._point(PREVIOUS, before.previous)

    def _point(self, link: str, digest: str | None) -> None:
        if digest is None:
            (self.root / link).unlink(missing_ok=True)
        elif self.digest_of(link) != digest:
            fresh = self.staging / f"{link}.link"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(os.path.join(VERSIONS, digest))  # read from where it is moved to
            fresh.replace(self.root / link)
        sync_directory(self.root)

    def _write_pending(self, pending: Pending) -> None:
        fresh = self.staging / PENDING
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(vars(pending), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.root / PENDING)
        sync_directory(self.root)

    def _remove_pending(self) -> None:
        if os.path.lexists(self.root / PENDING):
            (self.root / PENDING).unlink()
            sync_directory(self.root)


def _take_lock(path: Path, wait_s: float) -> int:
    end_s = time.monotonic() + wait_s
    while True:
        try:
            return take_lock(path)
        except BlockingIOError:
            if time.monotonic() >= end_s:
                raise refused(
                    "another flash or rollback is under way on this device: try again later"
                ) from None
        time.sleep(LOCK_POLL_S)
