"""The sender's side: one channel of the system's ssh per host, a bundle in, one line of JSON out."""

from __future__ import annotations

import hashlib
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_har.deploy import HOST_TIMEOUT_S, MAX_PARALLEL, PARALLEL, REMOTE_COMMAND
from edge_har.deploy.replies import DeviceReply, Outcome, plain
from edge_har.errors import BundleError, DeployError, MisuseError
from edge_har.model.bundle import read_bundle, read_bundle_bytes

CONNECT_S = 10
ALIVE_S = 15  # a connection that is silent for three of these is dead
TRANSPORT_EXIT = 255  # ssh's own failures
NOT_FOUND_EXIT = 127  # the remote shell's
MAX_ANSWER_BYTES = 1_000_000  # of each stream; a greeting and one line of JSON are a thousandth of it
CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class Ssh:
    """How to reach hosts. remote_command: what runs `edge-har` there, as the remote shell takes it.

    timeout_s: for one host as a whole. parallel: how many hosts at a time. Raises MisuseError.
    """

    config: Path | None = None
    port: int | None = None
    identity: Path | None = None
    remote_command: str = REMOTE_COMMAND
    timeout_s: float = HOST_TIMEOUT_S
    parallel: int = PARALLEL

    def __post_init__(self) -> None:
        if not self.remote_command.strip() or "\n" in self.remote_command:
            raise MisuseError("the remote command must be one line that is not empty")
        if not 1 <= self.parallel <= MAX_PARALLEL:
            raise MisuseError(f"expected 1 to {MAX_PARALLEL} hosts at a time, got {self.parallel}")

    def argv(self, host: str, words: Sequence[str]) -> list[str]:
        """The whole command; ssh prompts for nothing and accepts no unknown host key."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(ALIVE_S),
            "ServerAliveCountMax": "3",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
        }
        argv = ["ssh", "-T", *(f"-o{name}={value}" for name, value in options.items())]
        if self.config is not None:
            argv += ["-F", str(self.config)]
        if self.port is not None:
            argv += ["-p", str(self.port)]
        if self.identity is not None:
            argv += ["-i", str(self.identity), "-oIdentitiesOnly=yes"]
        return [*argv, "--", host, " ".join([self.remote_command, *words])]


@dataclass(frozen=True)
class HostResult:
    """The result of one host. reply: its own, or one made here. seconds: how long it took."""

    host: str
    reply: DeviceReply
    seconds: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return self.reply.outcome

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"host": self.host, **self.reply.to_json(), "seconds": round(self.seconds, 2)}


def flash(
    path: Path, hosts: Sequence[str], ssh: Ssh, *, allow_downgrade: bool = False
) -> Iterator[HostResult]:
    """Put the bundle `path` on every host; yields results as they come.

    Nothing is sent, and BundleError raised, where the bundle is not whole.
    """
    try:
        content = read_bundle_bytes(path)
        bundle = read_bundle(content)
    except OSError as error:
        raise BundleError(f"{path}: the bundle cannot be read: {error.strerror}") from error
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    words = ["receive", "--length", str(len(content)), "--sha256", hashlib.sha256(content).hexdigest()]
    words += ["--digest", bundle.digest]
    if allow_downgrade:
        words.append("--allow-downgrade")
    yield from run_on_all(hosts, ssh, words, content, digest=bundle.digest)


def roll_back(hosts: Sequence[str], ssh: Ssh) -> Iterator[HostResult]:
    """Take every host back to its previous bundle; yields results as they come."""
    return run_on_all(hosts, ssh, ["rollback", "--local", "--json"], b"")


def status(hosts: Sequence[str], ssh: Ssh) -> Iterator[HostResult]:
    """Report what every host has; yields results as they come."""
    return run_on_all(hosts, ssh, ["status", "--local", "--json"], b"")


def run_on_all(
    hosts: Sequence[str],
    ssh: Ssh,
    words: Sequence[str],
    content: bytes,
    *,
    digest: str | None = None,
) -> Iterator[HostResult]:
    """Run one command on every host, `ssh.parallel` at a time; once one is BROKEN no other host is started.

    digest: of the bundle that a good reply must name.
    """
    for host in hosts:
        if not host or host.startswith("-") or any(c.isspace() for c in host):
            raise MisuseError(f"expected USER@HOST or a host of the ssh configuration, got {host!r}")
    stop, connections = threading.Event(), _Connections()

    def one(host: str) -> HostResult:
        if stop.is_set():
            return HostResult(host, DeviceReply(Outcome.NOT_TRIED, "another host came out BROKEN first"))
        result = run_on(host, ssh, words, content, connections)
        if digest is not None and result.outcome.good and result.reply.digest != digest:
            other = "the device replied with the digest of another bundle"
            result = replace(result, reply=replace(result.reply, outcome=Outcome.BROKEN, detail=other))
        if result.outcome is Outcome.BROKEN:
            stop.set()
        return result

    with ThreadPoolExecutor(ssh.parallel) as pool:
        futures = [pool.submit(one, host) for host in dict.fromkeys(hosts)]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            # Above all at Ctrl-C: no ssh process may stay behind.
            stop.set()
            connections.close()
            raise


class _Connections:
    """The ssh processes under way, to end them all from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._open: set[subprocess.Popen[bytes]] = set()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Register a process; it is killed at once where `close` was called before."""
        with self._lock:
            self._open.add(process)
            if self._closed:
                process.kill()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Forget a process that has ended by itself."""
        with self._lock:
            self._open.discard(process)

    def close(self) -> None:
        """Kill them all."""
        with self._lock:
            self._closed = True
            for process in self._open:
                process.kill()


def run_on(
    host: str, ssh: Ssh, words: Sequence[str], content: bytes, connections: _Connections | None = None
) -> HostResult:
    """Run one command on one host with `content` on its standard input; raises DeployError without an ssh."""
    connections = connections or _Connections()
    started_s = time.monotonic()
    try:
        process = subprocess.Popen(
            ssh.argv(host, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise DeployError("the program 'ssh' is absent: apt install openssh-client") from error
    with process:
        connections.add(process)
        try:
            output, errors = _converse(process, content, ssh.timeout_s)
            reply = _read_reply(output, errors, process.returncode)
        except subprocess.TimeoutExpired:
            process.kill()
            reply = DeviceReply(Outcome.UNREACHABLE, f"no reply within {ssh.timeout_s:g} s")
        except _EndlessAnswer:
            process.kill()
            reply = DeviceReply(
                Outcome.UNREACHABLE,
                f"its answer was cut off after {MAX_ANSWER_BYTES} bytes: no device sends so much",
            )
        finally:
            connections.remove(process)
    return HostResult(host, reply, time.monotonic() - started_s)


class _EndlessAnswer(Exception):
    """The other side sends more than any device does."""


def _converse(process: subprocess.Popen[bytes], content: bytes, timeout_s: float) -> tuple[bytes, bytes]:
    """As `communicate`: all that the process writes to its standard output and error. But what it writes is
    bounded, as it comes from a device that may be hostile: raises _EndlessAnswer beyond MAX_ANSWER_BYTES of
    either, TimeoutExpired after `timeout_s`.
    """
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None and stdout is not None and stderr is not None
    until_s = time.monotonic() + timeout_s
    unsent, got = memoryview(content), {stdout: bytearray(), stderr: bytearray()}
    os.set_blocking(stdin.fileno(), False)
    with selectors.DefaultSelector() as open_streams:
        for stream in got:
            open_streams.register(stream, selectors.EVENT_READ)
        open_streams.register(stdin, selectors.EVENT_WRITE)
        while open_streams.get_map():
            left_s = until_s - time.monotonic()
            ready = [key.fileobj for key, _ in open_streams.select(left_s)] if left_s > 0 else []
            if not ready:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            if stdin in ready:
                try:
                    unsent = unsent[os.write(stdin.fileno(), unsent[:CHUNK_BYTES]) :]
                except BrokenPipeError:  # it takes no more; why stands in its answer
                    unsent = unsent[:0]
                if not unsent:
                    open_streams.unregister(stdin)
                    stdin.close()
            for stream in [stream for stream in got if stream in ready]:
                chunk = os.read(stream.fileno(), CHUNK_BYTES)
                got[stream] += chunk
                if len(got[stream]) > MAX_ANSWER_BYTES:
                    raise _EndlessAnswer
                if not chunk:
                    open_streams.unregister(stream)
    process.wait(max(0.0, until_s - time.monotonic()))
    return bytes(got[stdout]), bytes(got[stderr])


def _read_reply(output: bytes, errors: bytes, code: int) -> DeviceReply:
    """The device's own line; without one, exit code 255 (ssh's own) is UNREACHABLE, all else REFUSED."""
    for line in reversed(output.decode(errors="replace").splitlines()):
        reply = DeviceReply.from_line(line)
        if reply is not None:
            return reply
    text = errors.decode(errors="replace")
    reason = next((plain(line) for line in reversed(text.splitlines()) if line.strip()), "")
    if code == TRANSPORT_EXIT:
        return DeviceReply(Outcome.UNREACHABLE, _host_key_hint(text) or reason or "the connection was lost")
    if code == NOT_FOUND_EXIT:
        return DeviceReply(
            Outcome.REFUSED, f"edge-har was not found there ({reason}): give its path with --remote-command"
        )
    return DeviceReply(
        Outcome.REFUSED, f"the device gave no result (exit code {code}): {reason or 'no reason given'}"
    )


def _host_key_hint(text: str) -> str:
    if "IDENTIFICATION HAS CHANGED" in text:
        return "its host key is not the known one: find out why before you change known_hosts"
    if "Host key verification failed" in text:
        return "its host key is not known here: connect once with ssh by hand and compare the fingerprint"
    return ""
