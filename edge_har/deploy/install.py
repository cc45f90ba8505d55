"""`edge-har service install`: what has to be done on this machine, as steps to show or to carry out."""

from __future__ import annotations

import importlib
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge_har.deploy import unit
from edge_har.deploy.replies import DeviceReply
from edge_har.deploy.store import CONFIG as STORE_CONFIG
from edge_har.deploy.store import CURRENT, BundleStore
from edge_har.errors import DeployError, MisuseError, printable
from edge_har.system.files import FILE_MODE, PRIVATE_FOLDER_MODE, write_atomically

ALLOW_LINE = "allow_unsigned = true\n"
SHELL = "/bin/sh"  # sshd runs a forced command through it
NO_PASSWORD = "*"  # no password fits, and yet keys are taken where sshd does without PAM
HIDDEN = ("/home", "/root", "/run/user")  # what ProtectHome= takes away from the service
PUBLIC_KEY = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[\w@.-]+) ([A-Za-z0-9+/]+=*)( .*)?")
OUR_KEY = re.compile(r'restrict,command="(?:\\.|[^"\\])* receive" (.+)')
SYSTEMD_RUNS = Path("/run/systemd/system")
FOLDER_MODE = 0o755
OTHERS_READ, OTHERS_ENTER = stat.S_IROTH, stat.S_IXOTH
COMMAND_S = 300.0  # the golden clips on a slow device are the longest


@dataclass(frozen=True)
class Step:
    """One thing to do. text: what, in one line; detail: what a file gets, or nothing. do: does it."""

    text: str
    do: Callable[[], None]
    detail: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is to be installed. program: the words that call edge-har. keys: public keys that may flash.

    allow_unsigned: whether the device takes bundles that nobody signed. start: whether to start the service
    now. jetson: whether this is one. Raises MisuseError for what the service could not use.
    """

    program: tuple[str, ...]
    config: Path = unit.CONFIG
    keys: tuple[str, ...] = ()
    allow_unsigned: bool = False
    start: bool = True
    jetson: bool = False

    def __post_init__(self) -> None:
        for path in (Path(self.program[0]), self.config):
            if any(path.resolve().is_relative_to(hidden) for hidden in HIDDEN):
                raise MisuseError(f"{path}: a service cannot see what lies there; {_elsewhere(path, self)}")


def this_program() -> tuple[str, ...]:
    """The words that call the edge-har which runs now, from anywhere."""
    script = Path(sysconfig.get_path("scripts"), unit.NAME)
    if os.access(script, os.X_OK):
        return (str(script),)
    return (sys.executable, "-m", "edge_har")


def read_keys(paths: Iterable[Path]) -> tuple[str, ...]:
    """The public keys in files such as id_ed25519.pub. Raises MisuseError where one holds none."""
    keys: list[str] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "no text"
            raise MisuseError(f"{path}: the key cannot be read: {why}") from error
        found = [line.strip() for line in lines if PUBLIC_KEY.fullmatch(line.strip())]
        if not found:
            raise MisuseError(f"{path}: no public key of ssh in it; expected the file with a name in .pub")
        keys += found
    return tuple(dict.fromkeys(keys))


def steps(wanted: Wanted) -> list[Step]:
    """What is left to do on this machine, in order. Raises DeployError where something is in the way."""
    return list(_steps(wanted))


def _steps(wanted: Wanted) -> Iterator[Step]:
    account = _account()
    if account is None:
        # fmt: off
        yield _command(
            f"make the user {unit.NAME}, which has no password",
            "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(unit.FOLDER),
            "--shell", SHELL, "--password", NO_PASSWORD, "--comment", "edge-har service", unit.NAME,
        )
        # fmt: on
    _check_state()
    if not unit.FOLDER.is_dir():
        yield Step(f"make the folder {unit.FOLDER}", lambda: _make_folder(unit.FOLDER, FOLDER_MODE))
    elif not unit.FOLDER.stat().st_mode & OTHERS_ENTER:
        text = f"let {unit.NAME} enter the folder {unit.FOLDER}, without listing what is in it"
        yield Step(text, lambda: _let_enter(unit.FOLDER))
    if account is None or not unit.STATE.is_dir() or unit.STATE.stat().st_uid != account.pw_uid:
        text = f"make the folder {unit.STATE}, which belongs to {unit.NAME} alone"
        yield Step(text, lambda: _make_folder(unit.STATE, PRIVATE_FOLDER_MODE, owner=unit.NAME))
    for path in _secret_files(wanted.config):
        if account is None or path.stat().st_uid != account.pw_uid:
            yield Step(f"give the secret {path} to {unit.NAME}", partial(_give, path))
    if wanted.allow_unsigned and not BundleStore(unit.STATE).allows_unsigned():
        path = unit.STATE / STORE_CONFIG
        yield Step(f"take bundles that nobody signed ({path})", _allow_unsigned, ALLOW_LINE)
    keys = _authorized_keys(wanted)
    if keys != (_text(unit.KEYS) or ""):
        text = f"write {unit.KEYS}: whoever has these keys may flash to {unit.NAME}@HOST, and nothing else"
        yield Step(text, lambda: _write(unit.KEYS, keys), keys)
    service = unit.unit_text(wanted.program, wanted.config, jetson=wanted.jetson)
    if service != _text(unit.UNIT):
        yield Step(f"write {unit.UNIT}", lambda: _write(unit.UNIT, service), service)
    if _may_link(wanted):
        yield Step(f"link {unit.LINK} to {wanted.program[0]}", lambda: _link(wanted.program[0]))
    if BundleStore(unit.STATE).digest_of(CURRENT) is None:
        words = shlex.join((*wanted.program, "receive", "--shipped"))
        text = f"make the bundle that ships with the package current, once its golden clips pass ({words})"
        yield Step(text, lambda: _receive_shipped(wanted.program))
    yield from _systemd(wanted)


def _systemd(wanted: Wanted) -> Iterator[Step]:
    """Steps that have systemd take the unit. Where it does not run, as in an image, the next boot does."""
    runs = SYSTEMD_RUNS.is_dir()
    if runs:
        yield _command("let systemd read its units again", "systemctl", "daemon-reload")
    yield _command("start the service at each boot", "systemctl", "enable", unit.UNIT.name)
    if wanted.start and runs:
        yield _command("start the service now", "systemctl", "restart", unit.UNIT.name)


# What is there ----------------------------------------------------------------------------------------------


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(unit.NAME)
    except KeyError:
        return None


def _check_state() -> None:
    """Raise DeployError where an older unit, with a user of its own at each start, left its folder."""
    if unit.STATE.is_symlink():
        moved = os.path.realpath(unit.STATE)
        raise DeployError(
            f"{unit.STATE} is a link, of an older unit with DynamicUser=: sudo systemctl stop {unit.NAME}; "
            f"sudo rm {unit.STATE}; sudo mv {moved} {unit.STATE}; sudo chown -R root: {unit.STATE}; "
            "then install again"
        )


def _secret_files(config: Path) -> list[Path]:
    """The files that a configuration names under a key that ends in `_file`, in folders that are the
    service's: `edge-har/` beside it. A file elsewhere may be shared with others, and stays as it is.
    """
    reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        table = reader.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    beside = config.with_suffix("").absolute()
    named = (config.absolute().parent / name for name in _values_of_files(table))
    return [path for path in dict.fromkeys(named) if path.is_file() and path.is_relative_to(beside)]


def _values_of_files(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            if key.endswith("_file") and isinstance(below, str):
                yield below
            yield from _values_of_files(below)
    elif isinstance(value, list):
        for below in value:
            yield from _values_of_files(below)


def _authorized_keys(wanted: Wanted) -> str:
    """The file of keys that may flash: those that were there, and those that are wanted. Lines of an install
    call the program that is wanted now; all others stay as they are.
    """
    forced = shlex.join((*wanted.program, "receive")).replace("\\", "\\\\").replace('"', '\\"')
    lines = {}
    for line in (_text(unit.KEYS) or "").splitlines():
        ours = OUR_KEY.fullmatch(line)
        found = PUBLIC_KEY.search(line)
        lines[found[2] if found else line] = f'restrict,command="{forced}" {ours[1]}' if ours else line
    for key in wanted.keys:
        found = PUBLIC_KEY.fullmatch(key)
        assert found is not None
        lines[found[2]] = f'restrict,command="{forced}" {key}'
    return "".join(f"{line}\n" for line in lines.values())


def _may_link(wanted: Wanted) -> bool:
    """Whether the program is a single word, and nothing of others lies where its link goes."""
    if len(wanted.program) > 1 or Path(wanted.program[0]) == unit.LINK:
        return False
    if unit.LINK.is_symlink():
        return os.readlink(unit.LINK) != wanted.program[0]
    return not unit.LINK.exists()


def _elsewhere(path: Path, wanted: Wanted) -> str:
    if path == wanted.config:
        return f"put the settings into {unit.CONFIG}"
    return (
        "install edge-har where all users may read: sudo python3 -m venv /opt/edge-har, then sudo "
        "/opt/edge-har/bin/pip install edge-har, and run sudo /opt/edge-har/bin/edge-har service install"
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def check_readable(wanted: Wanted) -> None:
    """Raise DeployError where the user of the service could not read its settings or run its program."""
    interpreter = Path(sys.executable).resolve()
    for path in (Path(wanted.program[0]).resolve(), interpreter):
        closed = next((p for p in (path, *path.parents) if not p.stat().st_mode & OTHERS_ENTER), None)
        if closed is not None:
            raise DeployError(
                f"the service cannot run {path}: {closed} is closed to other users: sudo chmod o+x {closed}"
            )
        if any(path.is_relative_to(hidden) for hidden in HIDDEN):
            raise DeployError(f"the service cannot run {path}: {_elsewhere(path, wanted)}")
    mode, account = wanted.config.stat(), _account()
    owned = account is not None and mode.st_uid == account.pw_uid
    if not mode.st_mode & OTHERS_READ and not owned:
        raise DeployError(f"the service cannot read {wanted.config}: sudo chmod 644 {wanted.config}")


# What is done -----------------------------------------------------------------------------------------------


def _command(text: str, *words: str) -> Step:
    return Step(f"{text} ({shlex.join(words)})", lambda: _run_only(words))


def _run_only(words: tuple[str, ...]) -> None:
    _run(words)


def _run(words: tuple[str, ...], **more: Any) -> str:
    """Run a command, which must succeed; what it writes on standard output. Raises DeployError."""
    if shutil.which(words[0]) is None:
        raise DeployError(f"the program {words[0]} is not on this machine")
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_S,
            stdin=None if "input" in more else subprocess.DEVNULL,
            cwd="/",
            **more,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = getattr(error, "strerror", None) or f"it took longer than {COMMAND_S:g} s"
        raise DeployError(f"{shlex.join(words)}: {why}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise DeployError(printable(f"{shlex.join(words)}: {lines[-1]}"))
    return str(done.stdout)


def _as_service(words: tuple[str, ...], **more: Any) -> str:
    """Run a command as the user of the service: root writes to none of its folders, where it could have put
    a link.
    """
    account = pwd.getpwnam(unit.NAME)
    return _run(words, user=account.pw_uid, group=account.pw_gid, extra_groups=[], umask=0o077, **more)


def _make_folder(path: Path, mode: int, *, owner: str | None = None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if owner is not None:
        account = pwd.getpwnam(owner)
        for inside in (*path.rglob("*"), path):
            os.lchown(inside, account.pw_uid, account.pw_gid)
    path.chmod(mode)


def _give(path: Path) -> None:
    """Let the user of the service alone read a secret, and enter the folder that holds it."""
    shutil.chown(path, unit.NAME, unit.NAME)
    path.chmod(stat.S_IRUSR)
    _let_enter(path.parent)


def _let_enter(folder: Path) -> None:
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) | OTHERS_ENTER)


def _allow_unsigned() -> None:
    path = unit.STATE / STORE_CONFIG
    if "allow_unsigned" in (_text(path) or ""):
        raise DeployError(f"{path} forbids unsigned bundles: write allow_unsigned = true there yourself")
    _as_service((SHELL, "-c", 'cat >> "$0"', str(path)), input=ALLOW_LINE)


def _write(path: Path, text: str) -> None:
    """Write a file that all may read and root alone may write, as sshd and systemd want it."""
    if not path.parent.is_dir():
        _make_folder(path.parent, FOLDER_MODE)
    write_atomically(path, text.encode())
    path.chmod(FILE_MODE)


def _link(program: str) -> None:
    unit.LINK.parent.mkdir(parents=True, exist_ok=True)
    unit.LINK.unlink(missing_ok=True)
    unit.LINK.symlink_to(program)


def _receive_shipped(program: tuple[str, ...]) -> None:
    line = _as_service((*program, "receive", "--shipped")).strip().rpartition("\n")[2]
    reply = DeviceReply.from_line(line)
    if reply is None or not reply.outcome.good:
        raise DeployError(f"the shipped bundle does not run here: {reply.detail if reply else line[:200]}")
