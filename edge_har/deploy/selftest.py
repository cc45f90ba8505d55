"""The self-test of a device: the golden clips of a bundle that is to be made current."""

from __future__ import annotations

from pathlib import Path

from edge_har.deploy.replies import DeploymentFailed, Outcome, plain
from edge_har.errors import BundleError
from edge_har.model.bundle import open_bundle
from edge_har.model.trial import Part, try_bundle


def run_selftest(folder: Path, *, timeout_s: float) -> None:
    """Check the golden clips of the unpacked bundle in `folder`, in a process of their own.

    Raises DeploymentFailed (SELFTEST_FAILED) with one line that says why.
    """
    try:
        try_bundle(open_bundle(folder), folder, Part.GOLDEN, timeout_s=timeout_s)
    except BundleError as error:
        raise DeploymentFailed(Outcome.SELFTEST_FAILED, f"self-test on the device: {plain(error)}") from error
