"""The processes of a soak: cameras, broker, receivers and the runtime in the middle; and the faults that
befall them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_har.system.identity import FILE as IDENTITY_FILE
from tests.helpers.broker import Broker, free_port
from tests.helpers.command import environment
from tests.helpers.need import need_gstreamer, need_program
from tests.soak.disks import Disk
from tests.soak.judge import Fault
from tests.soak.mjpeg_camera import PASSWORD, USER
from tests.soak.plan import IDLE, PAGE, Planned
from tests.soak.receivers import TOPIC, heard_of
from tests.soak.scenes import write_pack

if TYPE_CHECKING:
    from typing_extensions import Self

DEVICE, NEIGHBOUR = "device", "neighbour"
ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0  # for a process to start, on a busy machine
END_S = 20.0
STEP_S = 0.5  # how often a disk is filled again, and the size changed
SIZE_STEPS = 4  # a size stays for so many steps
SPOOL_KB, FILE_KB = 2048, 16384
# A file is rotated at this size, many times in an hour; all of them are kept.
FILE_BYTES, FILES = "40k", 400


@dataclass(frozen=True)
class CameraPlan:
    """A camera to be made. kind: mjpeg or rtsp. seed: of what it shows. variant: the digest that mjpeg is
    logged in with, or how rtsp is scanned.
    """

    name: str
    kind: str
    seed: int
    variant: str


# Of 24 drawings those four that the model is surest of, in files: what is tested here is what failures
# change. The interlaced camera shows what a progressive one does, and must give the same events.
CAMERAS = (
    CameraPlan("yard", "mjpeg", 17, "SHA-256"),
    CameraPlan("door", "mjpeg", 19, "MD5"),
    CameraPlan("attic", "rtsp", 0, "progressive"),
    CameraPlan("hall", "rtsp", 13, "progressive"),
    CameraPlan("shed", "rtsp", 0, "interlaced"),
)
NEIGHBOUR_SOURCE = "synthetic:demo?live&size=160x120&rate=15"
IDLE_CONNECTIONS = 128


@dataclass
class Child:
    """A process that can be killed, stalled and started again as it was."""

    command: list[str]
    log: Path
    process: subprocess.Popen[str] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=environment(),
            )
        assert self.process.stdout is not None
        ready = threading.Timer(READY_S, self.process.kill)
        ready.start()
        line = self.process.stdout.readline()
        ready.cancel()
        assert line, f"{self.command}: {self.log.read_text()}"

    def send_command(self, line: str) -> None:
        """Give it a command."""
        assert self.process is not None and self.process.stdin is not None
        with suppress(BrokenPipeError):  # what has died of a fault is started again after it
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def keep_alive(self) -> None:
        """Start it again where it has ended by itself."""
        if self.process is None or self.process.poll() is not None:
            self.kill()
            self.start()

    def kill(self) -> None:
        """End it at once."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait(END_S)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()
        self.process = None


@dataclass
class Camera:
    """A camera, where it serves, and what it was seen to show."""

    plan: CameraPlan
    pack: Path
    url: str
    epoch_s: float
    journal: Path
    child: Child


class Stage:
    """All processes of a soak, in `folder`; a context manager that ends every one of them.

    emitted: what the runtime wrote to its standard output. faults: what was done to which part. neighbour: of
    another device that has the same host name and broker.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.emitted: list[str] = []
        self.neighbour_emitted: list[str] = []
        self.faults: list[Fault] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        folder = self.folder
        need_program("mosquitto")
        self.spool = Disk(folder / "spool", SPOOL_KB)
        self._stack.callback(self.spool.close)
        self.file = Disk(folder / "file", FILE_KB)
        self._stack.callback(self.file.close)
        self.events, self.log = self.file.folder / "events.jsonl", self.file.folder / "stderr"
        self.broker = Broker(folder / "broker")
        self._stack.enter_context(self.broker)
        self.hooked = folder / "webhook.jsonl"
        self.listener = self._child("tests.soak.receivers", "mqtt", self.broker.port, folder)
        self.secret = folder / "secret"
        self.secret.touch(mode=0o600)
        self.secret.write_text(os.urandom(16).hex())
        self.hook_port, self.web_port = free_port(), free_port()
        self.hook = self._child("tests.soak.receivers", "hook", self.hook_port, self.hooked, self.secret)
        self.cameras = {plan.name: self._camera(plan) for plan in CAMERAS}

    def _child(self, module: str, *arguments: object, python: str = sys.executable) -> Child:
        log = self.folder / f"{module.rpartition('.')[2]}-{len(list(self.folder.glob('*.log')))}.log"
        child = Child([python, "-m", module, *map(str, arguments)], log)
        self._stack.callback(child.kill)
        child.start()
        return child

    def _camera(self, plan: CameraPlan) -> Camera:
        pack, journal = self.folder / f"{plan.name}-pack", self.folder / f"{plan.name}-journal"
        write_pack(pack, plan.seed)
        port, epoch_s = free_port(), time.monotonic()
        python = sys.executable if plan.kind == "mjpeg" else need_gstreamer()
        module = f"tests.soak.{plan.kind}_camera"
        child = self._child(module, pack, port, epoch_s, journal, plan.variant, python=python)
        place = f"127.0.0.1:{port}"
        url = f"http://{USER}:{PASSWORD}@{place}/video" if plan.kind == "mjpeg" else f"rtsp://{place}/camera"
        return Camera(plan, pack, url, epoch_s, journal, child)

    # The runtime.

    def command(self, sources: Sequence[str] | None = None) -> list[str]:
        """How the runtime is called."""
        if sources is None:
            sources = [f"{name}={camera.url}" for name, camera in self.cameras.items()]
        spool = self.spool.folder
        sinks = (
            f"jsonl:{self.events}?spool={spool}/file&max_bytes={FILE_BYTES}&keep={FILES}",
            self._mqtt(spool / "mqtt"),
            f"http://127.0.0.1:{self.hook_port}/events#secret_file={self.secret}&spool={spool}/webhook",
        )
        given = [word for source in sources for word in ("--source", source)]
        given += [word for sink in sinks for word in ("--sink", sink)]
        return [sys.executable, "-m", "edge_har", "run", *given]

    def _mqtt(self, spool: Path) -> str:
        """The sink of a device that is named by its machine alone."""
        return f"mqtt://127.0.0.1:{self.broker.port}/{TOPIC}?spool={spool}"

    def _environment(self, device: str) -> dict[str, str]:
        """What a device's programs start with: each has a home of its own, and all the same host name."""
        return environment() | {"EDGE_HAR_HOME": str(self.folder / f"{device}-home")}

    def heard_of(self, device: str) -> Path:
        """What the broker passed on of a device."""
        identity = (self.folder / f"{device}-home" / IDENTITY_FILE).read_text().strip()
        return heard_of(identity, self.folder)

    def start_runtime(self) -> None:
        """Start `edge-har run` on all cameras, into all destinations, with its page, and its neighbour."""
        command = [*self.command(), "--wait-for-source", "--web", f"127.0.0.1:{self.web_port}"]
        self.runtime, self._reader = self._start(command, DEVICE, self.log, self.emitted)
        sink = self._mqtt(self.folder / "neighbour-spool")
        command = [
            sys.executable,
            "-m",
            "edge_har",
            "run",
            "--source",
            f"demo={NEIGHBOUR_SOURCE}",
            "--sink",
            sink,
        ]
        self.neighbour_log = self.folder / "neighbour.log"
        self.neighbour, self._neighbour_reader = self._start(
            command, NEIGHBOUR, self.neighbour_log, self.neighbour_emitted
        )

    def _start(
        self, command: Sequence[str], device: str, log: Path, emitted: list[str]
    ) -> tuple[subprocess.Popen[str], threading.Thread]:
        """Start a run, and a thread that reads what it emits."""
        with open(log, "a", encoding="utf-8") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=self._environment(device),
            )

        def read() -> None:
            assert process.stdout is not None
            emitted.extend(process.stdout)

        def kill() -> None:
            process.kill()
            process.wait(END_S)

        self._stack.callback(kill)
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        return process, reader

    def end_runtime(self) -> tuple[int, float]:
        """Ask it to end; its exit code, and how many seconds it took."""
        began_s = time.monotonic()
        self.runtime.terminate()
        code = self.runtime.wait(READY_S)
        took_s = time.monotonic() - began_s
        self._reader.join(END_S)
        return code, took_s

    def end_neighbour(self) -> int:
        """Ask the other device's run to end; its exit code."""
        self.neighbour.terminate()
        code = self.neighbour.wait(READY_S)
        self._neighbour_reader.join(END_S)
        return code

    def deliver_the_rest(self) -> list[dict[str, object]]:
        """Another run, short and of a drawing, delivers what the first could not any more; what it emitted
        itself.
        """
        command = self.command(["rest=synthetic:JumpInPlace?duration=0.1"])
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_S,
            env=self._environment(DEVICE),
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    # Faults.

    def do(self, planned: Planned, over: threading.Event) -> None:
        """Make a fault, and undo it when its time is over, or `over` is set."""
        began_s = time.monotonic()
        begin, step, end = self._means(planned)
        begin()
        until_s = began_s + planned.lasts_s
        while (left_s := until_s - time.monotonic()) > 0 and not over.wait(min(left_s, STEP_S)):
            step()
        end()
        if planned.target in self.cameras:
            self.cameras[planned.target].child.keep_alive()
        self.faults.append(Fault(planned.kind, planned.target, began_s, time.monotonic()))

    def _means(self, planned: Planned) -> tuple[Callable[[], object], ...]:
        """How a fault begins, what is done again and again while it lasts, and how it ends."""
        nothing: Callable[[], object] = lambda: None
        pid = self.runtime.pid
        destinations: dict[str, tuple[Callable[[], object], ...]] = {
            "broker stopped": (self.broker.stop, nothing, self.broker.start),
            "broker stalled": (self.broker.freeze, nothing, self.broker.thaw),
            "web server killed": (self.hook.kill, nothing, self.hook.start),
            "web server stalled": _stall(self.hook),
            "spool's disk full": (
                lambda: self.spool.fill(pid),
                lambda: self.spool.fill(pid),
                lambda: self.spool.free(pid),
            ),
            "file's disk full": (
                lambda: self.file.fill(pid),
                lambda: self.file.fill(pid),
                lambda: self.file.free(pid),
            ),
        }
        if planned.kind == "all destinations away":
            parts = [
                destinations[kind]
                for kind in ("broker stopped", "web server killed", "spool's disk full", "file's disk full")
            ]
            return tuple(_all([part[phase] for part in parts]) for phase in range(3))
        if planned.kind in destinations:
            return destinations[planned.kind]
        if planned.target == PAGE:
            return self._idlers() if planned.kind == IDLE else self._viewer(planned.kind)
        child = self.cameras[planned.target].child
        if planned.kind == "killed":
            return child.kill, nothing, child.start
        if planned.kind == "stalled":
            return _stall(child)
        if planned.kind == "bytes damaged":
            return lambda: child.send_command("damage 1"), nothing, lambda: child.send_command("damage 0")
        assert planned.kind == "size changes", planned
        steps = iter(range(1_000_000))
        return (
            lambda: child.send_command("size 1"),
            lambda: child.send_command(f"size {1 - next(steps) // SIZE_STEPS % 2}"),
            lambda: child.send_command("size 0"),
        )

    def _viewer(self, camera: str) -> tuple[Callable[[], object], ...]:
        """A client that requests a camera's pictures, and does not read them."""
        line = socket.socket()

        def look() -> None:
            line.settimeout(END_S)
            line.connect(("127.0.0.1", self.web_port))
            line.sendall(f"GET /stream/{camera}.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

        return look, lambda: None, line.close

    def _idlers(self) -> tuple[Callable[[], object], ...]:
        """Connections to the page that ask for nothing; those that it ends are made again."""
        lines: list[socket.socket] = []

        def connect() -> None:
            lines[:] = [line for line in lines if _is_open(line)]
            while len(lines) < IDLE_CONNECTIONS:
                lines.append(socket.create_connection(("127.0.0.1", self.web_port), END_S))

        def close() -> None:
            for line in lines:
                line.close()

        return connect, connect, close


def _is_open(line: socket.socket) -> bool:
    """Whether the other side has not ended a connection; closes it where it has."""
    line.setblocking(False)
    try:
        ended = not line.recv(1)
    except BlockingIOError:
        return True
    except ConnectionError:
        ended = True
    if ended:
        line.close()
    return not ended


def _stall(child: Child) -> tuple[Callable[[], object], ...]:
    return lambda: child.send(signal.SIGSTOP), lambda: None, lambda: child.send(signal.SIGCONT)


def _all(parts: Sequence[Callable[[], object]]) -> Callable[[], object]:
    def run() -> None:
        for part in parts:
            part()

    return run
