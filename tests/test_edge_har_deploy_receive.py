"""The device's store: whatever is sent, whenever it is cut off,
`current` is whole and the next flash heals.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_har.cli.receive import command as receive_command
from edge_har.cli.rollback import command as rollback_command
from edge_har.cli.status import command as status_command
from edge_har.deploy import receive as device
from edge_har.deploy.receive import STEPS, Offer, ReceiveLimits
from edge_har.deploy.replies import DeploymentFailed, DeviceReply, Outcome
from edge_har.deploy.selftest import run_selftest
from edge_har.deploy.store import CONFIG, CURRENT, PENDING, PREVIOUS, BundleStore
from edge_har.errors import BundleError, MisuseError
from edge_har.model.bundle import open_bundle, read_bundle
from edge_har.system.files import HOME_VARIABLE
from tests.helpers.bundles import failing_golden, release, some_bundle, variant
from tests.helpers.folders import quick_folder

LIMITS = ReceiveLimits()
ALLOWED = "allow_unsigned = true\n"
TMPFS_BYTES = 32 * 1024 * 1024
# What changes files; an audit hook sees these whichever way Python gets there.
CHANGES = {"os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir"}


@contextmanager
def pipe_with(content: bytes, *, close: bool = True) -> Iterator[int]:
    """A file descriptor that gives `content`, then its end, or silence."""
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb", closefd=close) as file:
            try:
                file.write(content)
            except BrokenPipeError:
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield reader
    finally:
        os.close(reader)
        thread.join()
        if not close:
            os.close(writer)


def send(content: bytes, limits: ReceiveLimits = LIMITS, **offer: object) -> DeviceReply:
    """Give `content` to this machine's own store."""
    given = {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()} | offer
    with pipe_with(content) as source:
        return device.receive(Offer(**given), source, limits)  # type: ignore[arg-type]


def digest(content: bytes) -> str:
    return read_bundle(content).digest


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """A store with release 2 current and release 1 previous."""
    with quick_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder))
        (folder / CONFIG).write_text(ALLOWED)
        for number in (1, 2):
            assert send(release(number)).outcome is Outcome.OK
        patch.undo()
        yield folder


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this machine's store is to be."""
    with quick_folder() as folder:
        monkeypatch.setenv(HOME_VARIABLE, str(folder / "home"))
        yield folder / "home"


@pytest.fixture
def store(home: Path, prepared: Path) -> BundleStore:
    """A copy of the prepared store."""
    shutil.copytree(prepared, home, symlinks=True)
    return BundleStore()


@pytest.fixture
def empty(home: Path) -> BundleStore:
    """A store that holds nothing and takes everything."""
    home.mkdir()
    (home / CONFIG).write_text(ALLOWED)
    return BundleStore()


def state(store: BundleStore) -> tuple[str | None, str | None]:
    return store.digest_of(CURRENT), store.digest_of(PREVIOUS)


def assert_settled(store: BundleStore, current: bytes, previous: bytes | None) -> None:
    """Both links lead to whole versions, and nothing else is there."""
    expected = (digest(current), None if previous is None else digest(previous))
    assert state(store) == expected
    assert open_bundle(store.root / CURRENT).digest == expected[0]
    assert {path.name for path in store.versions.iterdir()} == {d for d in expected if d is not None}
    assert not any(store.staging.iterdir())
    assert not (store.root / PENDING).exists()
    for name in expected:
        assert name is None or store.is_whole(name)


def test_a_first_bundle_then_a_second_then_a_third(empty: BundleStore) -> None:
    first = send(release(1))
    assert (first.outcome, first.release, first.digest) == (Outcome.OK, 1, digest(release(1)))
    assert_settled(empty, release(1), None)
    send(release(2))
    assert_settled(empty, release(2), release(1))
    send(release(3))
    assert_settled(empty, release(3), release(2))


def test_steps_are_taken_in_the_order_that_is_documented(store: BundleStore) -> None:
    taken: list[str] = []
    assert send(release(3), ReceiveLimits(on_step=taken.append)).outcome is Outcome.OK
    assert tuple(taken) == STEPS


def test_the_same_bundle_changes_nothing_and_is_not_even_read(store: BundleStore) -> None:
    assert send(release(2)).outcome is Outcome.UNCHANGED
    offer = Offer(10, "0" * 64, digest(release(2)))
    with pipe_with(b"", close=False) as silent:
        assert device.receive(offer, silent, ReceiveLimits(idle_s=0.1)).outcome is Outcome.UNCHANGED
    assert_settled(store, release(2), release(1))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "takes no unsigned bundles: put the line `allow_unsigned = true` into "),
        ("allow_unsigned = false\n", "takes no unsigned bundles"),
        ('allow_unsigned = "yes"\n', "must be true or false, got 'yes'"),
        ("allow_unsigned\n", "is not TOML"),
    ],
)
def test_unsigned_bundles_only_where_the_owner_allows_them(
    store: BundleStore, config: str | None, says: str
) -> None:
    (store.root / CONFIG).unlink()
    if config is not None:
        (store.root / CONFIG).write_text(config)
    reply = send(release(3))
    assert reply.outcome is Outcome.REFUSED
    assert says in reply.detail and str(store.root / CONFIG) in reply.detail and "\n" not in reply.detail
    assert_settled(store, release(2), release(1))


def test_an_older_release_needs_leave(store: BundleStore) -> None:
    reply = send(release(1))
    assert reply.outcome is Outcome.REFUSED
    assert "release 1 of" in reply.detail and "older than release 2" in reply.detail
    assert_settled(store, release(2), release(1))
    assert send(release(1), allow_downgrade=True).outcome is Outcome.OK
    assert_settled(store, release(1), release(2))


def test_another_model_may_have_a_smaller_release(store: BundleStore) -> None:
    other = variant(some_bundle(), name="another", release=1)
    assert send(other).outcome is Outcome.OK
    assert_settled(store, other, release(2))


def test_damage_in_any_region_is_refused(store: BundleStore) -> None:
    """The sha256 is that of the damaged bytes: only the bundle itself can show the damage."""
    content = release(2)
    outcomes = []
    for at in random.Random(1).sample(range(len(content)), 150):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        # A few bytes of a ZIP's headers say nothing: then it is the bundle that is current already.
        outcomes.append(send(bytes(damaged)).outcome)
    assert set(outcomes) <= {Outcome.REFUSED, Outcome.UNCHANGED}
    assert outcomes.count(Outcome.REFUSED) > 140
    assert_settled(store, release(2), release(1))


@pytest.mark.parametrize("cut", [0, 1, 1000, -1])
def test_a_transfer_that_ends_early(store: BundleStore, cut: int) -> None:
    content = release(3)
    reply = send(content[:cut], length=len(content), sha256=hashlib.sha256(content).hexdigest())
    assert reply.outcome is Outcome.REFUSED
    assert f"cut off after {len(content[:cut])} of {len(content)} bytes" in reply.detail
    assert_settled(store, release(2), release(1))


def test_a_length_off_by_one_and_another_content(store: BundleStore) -> None:
    content = release(3)
    sha256 = hashlib.sha256(content).hexdigest()
    assert "sha256 differs" in send(content, length=len(content) - 1, sha256=sha256).detail
    assert "cut off" in send(content, length=len(content) + 1, sha256=sha256).detail
    assert "sha256 differs" in send(content[:-1] + b"x", sha256=sha256).detail
    assert_settled(store, release(2), release(1))


def test_silence_and_trickling_both_end(store: BundleStore) -> None:
    content = release(3)
    offer = Offer(len(content), hashlib.sha256(content).hexdigest())
    reader, writer = os.pipe()
    os.write(writer, content[:1000])  # there before the silence begins
    reply = device.receive(offer, reader, ReceiveLimits(idle_s=0.2))
    os.close(reader)
    os.close(writer)
    assert reply.outcome is Outcome.REFUSED and "silent for 0.2 s after 1000 of" in reply.detail
    reader, writer = os.pipe()
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.05):
            os.write(writer, b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    reply = device.receive(offer, reader, ReceiveLimits(transfer_s=0.6))
    stop.set()
    thread.join()
    os.close(reader)
    os.close(writer)
    assert reply.outcome is Outcome.REFUSED and "took longer than 0.6 s" in reply.detail
    assert_settled(store, release(2), release(1))


@pytest.mark.parametrize("offer", [(0, "0" * 64), (10**12, "0" * 64), (5, "xyz"), (5, "0" * 64, "../" * 20)])
def test_an_offer_checks_itself(offer: tuple[int, str]) -> None:
    with pytest.raises(MisuseError):
        Offer(*offer)


def test_golden_clips_that_fail_leave_what_was(store: BundleStore) -> None:
    reply = send(failing_golden(3))
    assert reply.outcome is Outcome.SELFTEST_FAILED
    assert "golden clip golden/" in reply.detail and "expected" in reply.detail
    assert_settled(store, release(2), release(1))


def test_a_graph_that_does_not_load_takes_down_nothing_else(store: BundleStore) -> None:
    bundle = some_bundle()
    step = bundle.manifest.graphs.step
    garbage = random.Random(1).randbytes(len(bundle.read(step)))
    for content in (b"no graph at all", bundle.read(step)[:64] + garbage[64:]):
        files = {**bundle.contents, step: content}
        broken = variant(type(bundle)(bundle.manifest, bundle.manifest_bytes, files), release=3)
        reply = send(broken)
        assert reply.outcome is Outcome.SELFTEST_FAILED, reply
        assert "\n" not in reply.detail
    assert_settled(store, release(2), release(1))


def test_the_selftest_ends_in_time(store: BundleStore) -> None:
    with pytest.raises(DeploymentFailed, match=r"self-test on the device: .*took longer than 0 s"):
        run_selftest(store.root / CURRENT, timeout_s=0.01)


def test_a_bundle_without_golden_clips_proves_nothing(store: BundleStore) -> None:
    reply = send(variant(some_bundle(), release=3, golden=()))
    assert reply.outcome is Outcome.SELFTEST_FAILED and "no golden clips" in reply.detail
    assert_settled(store, release(2), release(1))


def test_rolling_back_twice_returns(store: BundleStore) -> None:
    reply = device.roll_back()
    assert (reply.outcome, reply.release) == (Outcome.OK, 1)
    assert_settled(store, release(1), release(2))
    assert device.roll_back().release == 2
    assert_settled(store, release(2), release(1))


def test_nothing_to_roll_back_to(empty: BundleStore) -> None:
    assert "no previous bundle" in device.roll_back().detail
    send(release(1))
    reply = device.roll_back()
    assert reply.outcome is Outcome.REFUSED and "no previous bundle" in reply.detail
    assert_settled(empty, release(1), None)


def damage(store: BundleStore, link: str) -> None:
    manifest = open_bundle(store.root / link).manifest
    (store.root / link / manifest.graphs.head).write_bytes(b"damaged")


def test_a_damaged_previous_is_not_gone_back_to(store: BundleStore) -> None:
    damage(store, PREVIOUS)
    reply = device.roll_back()
    assert reply.outcome is Outcome.REFUSED and "flash one instead" in reply.detail
    assert state(store)[0] == digest(release(2))


def test_flashing_mends_a_damaged_current(store: BundleStore) -> None:
    damage(store, CURRENT)
    assert device.status().outcome is Outcome.BROKEN
    assert send(release(2)).outcome is Outcome.OK
    assert_settled(store, release(2), release(1))
    damage(store, CURRENT)
    assert send(release(3)).outcome is Outcome.OK


def interrupt_at_swap(name: str) -> None:
    if name == "swap":
        raise KeyboardInterrupt


def test_status_says_what_is_there(
    store: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = device.status()
    assert (reply.outcome, reply.release, reply.digest) == (Outcome.OK, 2, digest(release(2)))
    assert reply.store is not None
    assert reply.store["previous"]["release"] == 1 and reply.store["pending"] is None
    assert DeviceReply.from_line(reply.to_line()) == reply
    with pytest.raises(KeyboardInterrupt):
        send(release(3), ReceiveLimits(on_step=interrupt_at_swap))
    assert "is under way, or was cut off" in device.status().detail
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "nowhere"))
    reply = device.status()
    assert (reply.outcome, reply.digest) == (Outcome.OK, None)
    assert not (tmp_path / "nowhere").exists()


def test_a_version_that_does_not_read_back_is_taken_back(store: BundleStore) -> None:
    """The new version is damaged behind the link, at the last moment."""

    def on_step(name: str) -> None:
        if name == "read-back":
            damage(store, CURRENT)

    reply = send(release(3), ReceiveLimits(on_step=on_step))
    assert reply.outcome is Outcome.ROLLED_BACK and "not what the manifest lists" in reply.detail
    assert_settled(store, release(2), release(1))


def test_a_way_back_that_fails_too_is_said(store: BundleStore) -> None:
    def on_step(name: str) -> None:
        if name == "read-back":
            damage(store, CURRENT)
            (store.root / PREVIOUS).unlink()
            (store.root / PREVIOUS).mkdir()  # a link cannot be renamed onto a folder

    reply = send(release(3), ReceiveLimits(on_step=on_step))
    assert reply.outcome is Outcome.BROKEN and "so did the way back" in reply.detail
    assert open_bundle(store.root / CURRENT).digest == digest(release(2))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of `TMPFS_BYTES`, where this user may mount one."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(["mount", *options], check=False).returncode:
        pytest.skip("a small disk cannot be mounted by this user: run as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk") as disk:
        home = disk / "home"
        monkeypatch.setenv(HOME_VARIABLE, str(home))
        shutil.copytree(prepared, home, symlinks=True)
        store, filler = BundleStore(), disk / "filler"

        def fill(name: str = "extract") -> None:
            if name == "extract":  # after the free space was looked at
                with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
                    while True:
                        file.write(bytes(4096))  # a page at a time, to the last one

        fill()
        reply = send(release(3))
        assert reply.outcome is Outcome.REFUSED and " MiB must be free at " in reply.detail
        filler.unlink()
        reply = send(release(3), ReceiveLimits(on_step=fill))
        assert reply.outcome is Outcome.REFUSED and "No space left on device" in reply.detail
        assert_settled(store, release(2), release(1))
        filler.unlink()
        assert send(release(3)).outcome is Outcome.OK
        assert_settled(store, release(3), release(2))


def test_the_second_of_two_is_refused(store: BundleStore) -> None:
    with BundleStore().locked(0):
        reply = send(release(3), ReceiveLimits(lock_s=0.1))
        assert reply.outcome is Outcome.REFUSED and "another flash or rollback is under way" in reply.detail
        assert device.roll_back(ReceiveLimits(lock_s=0.1)).outcome is Outcome.REFUSED
        assert device.status().outcome is Outcome.OK
    assert send(release(3)).outcome is Outcome.OK


def no_selftest(folder: Path, *, timeout_s: float) -> None:
    """For hundreds of runs: the clips have their own tests."""


def killed_at_change(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child that dies as by a power cut before its n-th change of a file;
    False if it came to an end.
    """
    child = os.fork()
    if child == 0:
        left = number

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            opened = event == "open" and int(arguments[2]) & os.O_ACCMODE  # type: ignore[call-overload]
            if event in CHANGES or (event == "open" and opened != os.O_RDONLY):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WIFSIGNALED(status)
    return status != 0


@pytest.mark.parametrize("what", ["flash", "rollback"])
def test_killed_before_any_change_and_once_more_while_healing(
    what: str, store: BundleStore, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "run_selftest", no_selftest)
    new = release(3)
    offer = Offer(len(new), hashlib.sha256(new).hexdigest())
    file = store.root.parent / "new.ehar"
    file.write_bytes(new)

    def flash() -> DeviceReply:
        source = os.open(file, os.O_RDONLY)
        try:
            return device.receive(offer, source)
        finally:
            os.close(source)

    act = flash if what == "flash" else device.roll_back
    one, two, three = digest(release(1)), digest(release(2)), digest(new)
    random_source = random.Random(1)
    number = 0
    while True:
        number += 1
        shutil.rmtree(store.root)
        shutil.copytree(prepared, store.root, symlinks=True)
        if not killed_at_change(number, act):
            break
        assert state(store)[0] in ({two, three} if what == "flash" else {one, two})
        assert open_bundle(store.root / CURRENT).digest == state(store)[0]
        assert device.status().outcome is Outcome.OK
        killed_at_change(random_source.randrange(1, 40), flash)
        open_bundle(store.root / CURRENT)
        assert flash().outcome.good
        assert state(store)[0] == three and open_bundle(store.root / CURRENT).digest == three
        previous = state(store)[1]
        assert previous in {one, two} and store.is_whole(previous)
        assert {path.name for path in store.versions.iterdir()} == {three, previous}
        assert not any(store.staging.iterdir()) and not (store.root / PENDING).exists()
        if what == "flash":
            assert previous == two  # what a rollback goes back to is never lost
    assert number > (20 if what == "flash" else 10)


def test_killed_in_the_very_first_flash(empty: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "run_selftest", no_selftest)
    for number in range(1, 1000):
        shutil.rmtree(empty.root)
        empty.root.mkdir()
        (empty.root / CONFIG).write_text(ALLOWED)
        finished = not killed_at_change(number, lambda: send(release(1)))
        if os.path.lexists(empty.root / CURRENT):
            assert open_bundle(empty.root / CURRENT).digest == digest(release(1))
        assert send(release(1)).outcome.good
        assert_settled(empty, release(1), None)
        if finished:
            break
    assert finished and number > 15


def test_readers_never_see_a_mixed_or_absent_version(
    store: BundleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process opens through `current` as fast as it can while the bundle changes some fifty times."""
    monkeypatch.setattr(device, "run_selftest", no_selftest)
    code = (
        "import sys, time; from edge_har.model.bundle import open_bundle; seen = set(); n = 0; print('go', "
        "flush=True)\n"
        "import pathlib; stop = pathlib.Path(sys.argv[2])\n"
        "while not stop.exists():\n"
        "    seen.add(open_bundle(sys.argv[1]).digest); n += 1\n"
        "print(n, *seen)"
    )
    stop = store.root.parent / "stop"
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(store.root / CURRENT), str(stop)], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None and reader.stdout.readline() == "go\n"
    releases = [release(number) for number in (3, 4, 5)]
    end_s = time.monotonic() + 1.5
    count = 0
    while time.monotonic() < end_s or count < 50:
        assert send(releases[count % 3], allow_downgrade=True).outcome is Outcome.OK
        count += 1
    stop.touch()
    output, _ = reader.communicate(timeout=30)
    assert reader.returncode == 0
    opened, *seen = output.split()
    assert int(opened) > 50
    assert set(seen) <= {digest(content) for content in (release(2), *releases)} and len(seen) > 2


def run_command(
    *words: str, content: bytes = b"", original: str | None = None
) -> tuple[int, dict[str, object], str]:
    """Run `edge-har` as the device does; exit code, the line it printed, standard error."""
    forced = {} if original is None else {"SSH_ORIGINAL_COMMAND": original}
    done = subprocess.run(
        [sys.executable, "-m", "edge_har", *words],
        input=content,
        capture_output=True,
        env={**os.environ, **forced},
        check=False,
    )
    line = done.stdout.decode()
    return done.returncode, json.loads(line) if line.startswith("{") else {}, done.stderr.decode()


def test_the_commands_of_a_device(store: BundleStore) -> None:
    content = release(3)
    words = ["receive", "--length", str(len(content)), "--sha256", hashlib.sha256(content).hexdigest()]
    code, line, _ = run_command(*words, content=content)
    assert (code, line["v"], line["outcome"], line["release"]) == (0, 1, "OK", 3)
    code, line, _ = run_command(*words, content=content[:-1])
    assert (code, line["outcome"]) == (1, "REFUSED")
    code, line, _ = run_command("receive", original="/opt/edge-har rollback --local --json")
    assert (code, line["outcome"], line["release"]) == (0, "OK", 2)
    code, _, errors = run_command("receive", original="edge-har receive --length 5 --evil")
    assert code == 2 and "no option --evil" in errors


def test_what_is_missing_in_a_command(store: BundleStore) -> None:
    done = CliRunner().invoke(receive_command, [])
    assert done.exit_code == 2 and "--length and --sha256 are needed" in done.output
    for words in ([], ["--local", "device"]):
        done = CliRunner().invoke(rollback_command, words)
        assert done.exit_code == 2 and "name hosts, or --local" in done.output
    done = CliRunner().invoke(status_command, ["--local", "device"])
    assert done.exit_code == 2 and "leave out the hosts" in done.output
    for words in ([], ["--local"]):
        done = CliRunner().invoke(status_command, words)
        assert done.exit_code == 0 and "previous: " in done.output


@pytest.mark.parametrize(
    "original",
    [
        "bash",
        "rollback",
        "status --local --json evil",
        "edge-har rollback --local --json; id",
        "'",
        "",
        "receive",
    ],
)
def test_a_forced_command_does_three_things_and_no_more(store: BundleStore, original: str) -> None:
    done = CliRunner().invoke(receive_command, [], env={"SSH_ORIGINAL_COMMAND": original})
    reply = DeviceReply.from_line(done.output)
    assert done.exit_code == 1
    assert reply is not None and reply.outcome is Outcome.REFUSED and "nothing else" in reply.detail
    assert_settled(store, release(2), release(1))


def test_status_of_a_store_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file"))
    assert device.status().outcome is Outcome.REFUSED
    reply = send(release(1))
    assert reply.outcome is Outcome.REFUSED and "the device cannot store it" in reply.detail


def test_a_version_folder_with_another_manifest_is_not_that_version(store: BundleStore) -> None:
    one, two = state(store)[1], state(store)[0]
    assert one is not None and two is not None
    shutil.rmtree(store.versions / one)
    shutil.copytree(store.versions / two, store.versions / one)
    with pytest.raises(BundleError, match="another one"):
        store.open_version(one)
    assert device.roll_back().outcome is Outcome.REFUSED
