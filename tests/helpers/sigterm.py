"""How long a run takes to end after a signal: `python -m tests.helpers.sigterm --tries 100`.

So many tries are taken from the situations in turn, every second round of them beside three busy loops. A
table shows the longest and the median time of each; exit code 1 where one took longer than LIMIT_S, or ended
in another way than it should.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.colours import colour_bytes
from tests.helpers.command import environment
from tests.helpers.hooks import HookServer
from tests.helpers.mjpeg import MjpegServer
from tests.helpers.pipes import full_pipe
from tests.helpers.processes import catches
from tests.helpers.running import steady, wait_until, write_scene
from tests.helpers.slow_model import SLOW

LIMIT_S = 2.0
HOPELESS_S = 60.0  # then it is killed
BUSY_LOOPS = 3
START_S = 1.5  # a run is at work by then, on a machine that is not busy
SPREAD_S = 0.5  # the signal comes at a random moment of so long
SEED = 7
STOPPED = (0,)


@dataclass
class Try:
    """One process. codes: exit codes that are right. open_event: whether one is open that must be ended."""

    process: subprocess.Popen[bytes]
    events: Path
    errors: Path
    codes: tuple[int, ...] = STOPPED
    open_event: bool = False
    number: signal.Signals = signal.SIGTERM


@dataclass
class Stage:
    """Where a try takes place. cleanup: ends what was begun for it."""

    folder: Path
    model: Path
    rng: random.Random
    cleanup: ExitStack = field(default_factory=ExitStack)

    def begin(self, *arguments: object, slow: tuple[object, float] | None = None, **streams: object) -> Try:
        """Start `edge-har`; slow: when its model is, and for how many seconds (see `slow_model`)."""
        module = ["edge_har"] if slow is None else ["tests.helpers.slow_model", *map(str, slow)]
        events, errors = self.folder / "stdout", self.folder / "stderr"
        given = {
            "stdin": subprocess.DEVNULL,
            "stdout": self.cleanup.enter_context(events.open("wb")),
            "stderr": self.cleanup.enter_context(errors.open("wb")),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *map(str, arguments)],
            env=environment() | {"EDGE_HAR_HOME": str(self.folder / "home")},
            **(given | streams),  # type: ignore[call-overload]
        )
        self.cleanup.callback(process.wait)
        self.cleanup.callback(process.kill)
        return Try(process, events, errors)

    def run(self, source: object, *arguments: object, **how: object) -> Try:
        """Start a run of one source."""
        return self.begin("run", "--model", self.model, "--source", source, *arguments, **how)  # type: ignore[arg-type]

    def camera(self) -> MjpegServer:
        """A camera that shows red for ever."""
        return self.cleanup.enter_context(steady())

    def deaf(self) -> socket.socket:
        """A server that accepts nothing."""
        return self.cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))

    def wait(self, one: Try, found: Callable[[], object]) -> None:
        """Wait for what must come while it runs."""
        wait_until(lambda: found() or one.process.poll() is not None, HOPELESS_S)

    def with_open_event(self, one: Try) -> Try:
        """Wait until an event is open."""
        self.wait(one, lambda: b'"start"' in one.events.read_bytes())
        one.open_event = True
        return one

    def when_slow(self, one: Try) -> Try:
        """Wait until the model is in a slow call."""
        self.wait(one, lambda: SLOW in one.errors.read_text(errors="replace").splitlines())
        return one


def at_start(stage: Stage) -> Try:
    """At any moment between the start of the process and that of its work."""
    one = stage.run(stage.camera().url)
    time.sleep(stage.rng.uniform(0, START_S))  # the moment is what is tried
    one.codes = (0, -signal.SIGTERM)
    return one


def ctrl_c_at_start(stage: Stage) -> Try:
    """Before its work, Ctrl-C."""
    one = at_start(stage)
    one.codes, one.number = (0, 128 + signal.SIGINT, -signal.SIGINT), signal.SIGINT
    return one


def loading(stage: Stage) -> Try:
    """While a graph is loaded for ten seconds."""
    one = stage.when_slow(stage.run("synthetic:Walk", slow=("load", 10)))
    one.codes = (-signal.SIGTERM,)
    return one


def opening_http(stage: Stage) -> Try:
    """While an HTTP camera does not answer."""
    return _opening(stage, "http")


def opening_rtsp(stage: Stage) -> Try:
    """While an RTSP camera does not answer."""
    return _opening(stage, "rtsp")


def _opening(stage: Stage, scheme: str) -> Try:
    server = stage.deaf()
    one = stage.run(f"{scheme}://{address_of(server)}/", "--wait-for-source")
    stage.wait(one, lambda: select.select([server], [], [], 0)[0])
    return one


def address_of(server: socket.socket) -> str:
    """Its host and port."""
    return "{}:{}".format(*server.getsockname())


def live(stage: Stage) -> Try:
    """At its ordinary work."""
    return stage.with_open_event(stage.run(stage.camera().url))


def ctrl_c(stage: Stage) -> Try:
    """At its ordinary work, Ctrl-C."""
    one = live(stage)
    one.number = signal.SIGINT
    return one


def stalled_camera(stage: Stage) -> Try:
    """While a camera stands still."""
    camera = stage.camera()
    one = stage.with_open_event(stage.run(camera.url))
    camera.stall()
    wait_until(lambda: camera.standing)
    return one


def silent_stdin(stage: Stage) -> Try:
    """While standard input stays open without data."""
    reader, writer = os.pipe()
    stage.cleanup.callback(os.close, writer)
    one = stage.run("-?format=rgb24&size=32x24&rate=25", stdin=reader)
    os.close(reader)
    stage.wait(one, lambda: catches(one.process.pid, signal.SIGTERM))
    return one


def hung_webhook(stage: Stage) -> Try:
    """While a webhook's server does not answer."""
    hook = HookServer()
    hook.hang = True
    stage.cleanup.enter_context(hook)
    one = stage.run(stage.camera().url, "--sink", hook.url)
    stage.wait(one, lambda: hook.connections)
    return stage.with_open_event(one)


def hung_broker(stage: Stage) -> Try:
    """While an MQTT broker does not answer."""
    one = stage.run(stage.camera().url, "--sink", f"mqtt://{address_of(stage.deaf())}")
    return stage.with_open_event(one)


def all_hung(stage: Stage) -> Try:
    """While camera, webhook and model hang, with a video being recorded and the page served."""
    hook = HookServer()
    hook.hang = True
    stage.cleanup.enter_context(hook)
    sinks = ("--sink", hook.url, "--sink", f"video:{stage.folder / 'videos'}", "--web", "127.0.0.1:0")
    camera = stage.camera()
    one = stage.with_open_event(stage.when_slow(stage.run(camera.url, *sinks, slow=(40, 10))))
    camera.stall()
    return one


def unread_stdout(stage: Stage) -> Try:
    """While nobody reads the events, of a file."""
    reader, writer = full_pipe()
    stage.cleanup.callback(os.close, reader)
    beside = stage.folder / "beside.jsonl"
    sinks = ("--sink", f"jsonl:{beside}?name=beside", "--sink", "jsonl:-")
    one = stage.run(write_scene(stage.folder / "scene.avi"), *sinks, stdout=writer)
    os.close(writer)
    stage.wait(one, lambda: beside.exists() and b"start" in beside.read_bytes())
    one.events, one.open_event, one.codes = beside, True, (1,)
    return one


def unread_stderr(stage: Stage) -> Try:
    """While nobody reads the lines for people."""
    reader, writer = full_pipe()
    stage.cleanup.callback(os.close, reader)
    one = stage.run(stage.camera().url, stderr=writer)
    os.close(writer)
    return stage.with_open_event(one)


def slow_model(stage: Stage) -> Try:
    """With a model of 200 ms a tick, from four cameras."""
    camera = stage.camera()
    sources = [word for number in range(3) for word in ("--source", f"c{number}={camera.url}")]
    return stage.with_open_event(stage.run(camera.url, *sources, slow=(0, 0.1)))


def very_slow_model(stage: Stage) -> Try:
    """With a model that is in a call of ten seconds."""
    return stage.with_open_event(stage.when_slow(stage.run(stage.camera().url, slow=(40, 10))))


def ctrl_c_very_slow_model(stage: Stage) -> Try:
    """With a model that is in a call of ten seconds, Ctrl-C."""
    one = very_slow_model(stage)
    one.number = signal.SIGINT
    return one


def classify(stage: Stage) -> Try:
    """`classify` with a model that is in a call of ten seconds, Ctrl-C."""
    return _other(stage, "classify", write_scene(stage.folder / "scene.avi"))


def bench(stage: Stage) -> Try:
    """`bench` with a model that is in a call of ten seconds, Ctrl-C."""
    return _other(stage, "bench")


def _other(stage: Stage, *arguments: object) -> Try:
    one = stage.when_slow(stage.begin(*arguments, "--model", stage.model, slow=(0, 10)))
    one.codes, one.number = (128 + signal.SIGINT,), signal.SIGINT
    return one


SITUATIONS = (
    at_start,
    ctrl_c_at_start,
    loading,
    opening_http,
    opening_rtsp,
    live,
    ctrl_c,
    stalled_camera,
    silent_stdin,
    hung_webhook,
    hung_broker,
    all_hung,
    unread_stdout,
    unread_stderr,
    slow_model,
    very_slow_model,
    ctrl_c_very_slow_model,
    classify,
    bench,
)


def seconds_to_end(situation: Callable[[Stage], Try], model: Path, rng: random.Random) -> tuple[float, str]:
    """How long one run took to end, and what was wrong with its end; nothing where all was right."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as cleanup:
        one = situation(Stage(Path(folder), model, rng, cleanup))
        time.sleep(rng.uniform(0, SPREAD_S))
        one.process.send_signal(one.number)
        began_s = time.monotonic()
        try:
            one.process.wait(HOPELESS_S)
        except subprocess.TimeoutExpired:
            return HOPELESS_S, "it did not end"
        return time.monotonic() - began_s, _fault(one)


def _fault(one: Try) -> str:
    errors = one.errors.read_text(errors="replace")
    if one.process.returncode not in one.codes:
        return f"exit code {one.process.returncode}: {errors[-300:]}"
    if "Traceback" in errors and one.number != signal.SIGINT:
        return errors[-300:]
    lines = one.events.read_text().splitlines() if one.open_event else []
    started = {event["id"] for event in map(json.loads, lines) if event["type"] == "start"}
    ended = {event["id"] for event in map(json.loads, lines) if event.get("reason") == "stop"}
    return f"of the events {started} only {ended} ended" if started != ended else ""


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that use all of the processor they are given."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> int:
    """Take the tries and show the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100)
    tries = parser.parse_args().tries
    # What a shell starts in the background ignores Ctrl-C, and so would all that is tried here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = random.Random(SEED)
    took: dict[tuple[str, bool], list[float]] = defaultdict(list)
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "colours.ehar"
        model.write_bytes(colour_bytes())
        for number in range(tries):
            turn, at = divmod(number, len(SITUATIONS))
            situation, loaded = SITUATIONS[at], bool(turn % 2)
            with busy_loops(BUSY_LOOPS if loaded else 0):
                seconds, fault = seconds_to_end(situation, model, rng)
            took[situation.__name__, loaded].append(seconds)
            if fault or seconds > LIMIT_S:
                faults.append(f"{situation.__name__}{' under load' * loaded}: {seconds:.2f} s {fault}")
                print(faults[-1], file=sys.stderr, flush=True)
    print("| situation | tries | median s | longest s | under load: tries | median s | longest s |")
    print("|---|---|---|---|---|---|---|")
    for situation in SITUATIONS:
        cells = [(situation.__doc__ or "").rstrip(".")]
        for loaded in (False, True):
            times = took[situation.__name__, loaded]
            cells += [
                str(len(times)),
                *(f"{of(times):.2f}" if times else "-" for of in (statistics.median, max)),
            ]
        print(f"| {' | '.join(cells)} |")
    print(f"{tries - len(faults)} of {tries} tries ended rightly within {LIMIT_S:g} s")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
