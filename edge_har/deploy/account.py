"""The store of a device that runs the service: whoever flashes, the service's own user works on it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from edge_har.deploy import unit
from edge_har.deploy.replies import DeviceReply, Outcome
from edge_har.system.files import HOME_VARIABLE, home


def enter_service_store() -> DeviceReply | None:
    """Where the service is installed, make this process work on the store that the service reads.

    $EDGE_HAR_HOME wins, and without a service nothing changes. Root becomes the user of the service, for
    good: what a bundle does while it is checked, it does without root's rights. Any other user gets the
    reply that says what to do instead.
    """
    if os.environ.get(HOME_VARIABLE) or not unit.UNIT.is_file():
        return None
    try:
        facts = unit.STATE.stat()
        name = pwd.getpwuid(facts.st_uid).pw_name
    except (OSError, KeyError):
        return _refused(
            f"a service is installed on this device, but the store that it reads, {unit.STATE}, cannot be "
            "used: run `sudo edge-har service install` there"
        )
    if os.geteuid() == 0 and facts.st_uid != 0:
        _become(name, facts)
    elif os.geteuid() != facts.st_uid:
        return _refused(
            f"the service of this device reads bundles from {unit.STATE}, which belongs to the user {name}: "
            f"flash to {name}@HOST with a key that `service install --deploy-key` let in, or add "
            "--remote-command 'sudo edge-har'; on the device itself use sudo"
        )
    os.environ[HOME_VARIABLE] = str(unit.STATE)
    return None


def store_root() -> Path:
    """Root of the store that flash, rollback and status work on here: $EDGE_HAR_HOME, else that of the
    installed service, else this user's. Raises MisuseError where the user has no home folder.
    """
    named = os.environ.get(HOME_VARIABLE)
    return unit.STATE if not named and unit.UNIT.is_file() else home()


def _become(name: str, facts: os.stat_result) -> None:
    os.chdir("/")  # the folder that sudo was called in may be closed to that user
    os.initgroups(name, facts.st_gid)
    os.setgid(facts.st_gid)
    os.setuid(facts.st_uid)


def _refused(text: str) -> DeviceReply:
    return DeviceReply(Outcome.REFUSED, text)
