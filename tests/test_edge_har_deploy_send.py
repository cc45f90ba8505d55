"""Flash, rollback and status through a real sshd on loopback:
every way it can go wrong has a name of its own.
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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_har.cli import cli
from edge_har.deploy import send
from edge_har.deploy.receive import STEPS, Offer, receive
from edge_har.deploy.replies import DeviceReply, Outcome
from edge_har.deploy.send import HostResult, Ssh
from edge_har.deploy.store import CONFIG, CURRENT, PENDING, PREVIOUS, BundleStore
from edge_har.errors import BundleError, DeployError, MisuseError
from edge_har.model.bundle import LABELS, open_bundle, pack_bundle, read_bundle
from edge_har.system.files import HOME_VARIABLE
from tests.helpers.bundles import failing_golden, release, some_bundle
from tests.helpers.folders import quick_folder
from tests.helpers.receiver import IDLE_S, KILL_AT, SLEEP_AT
from tests.helpers.running import wait_until
from tests.helpers.sshd import Sshd, python_command, running_sshd

HOST = "device"
HEALED_OVER_SSH = ("receive", "previous", "swap", "confirm")
RECEIVER = "tests.helpers.receiver"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.mark.parametrize("kind", ["terabyte", "fifo", "folder", "absent"])
def test_what_can_be_no_bundle_is_not_read_whole_before_it_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "large.ehar"
    if kind == "terabyte":
        with open(path, "wb") as file:
            file.truncate(1 << 40)  # of which the disk holds nothing
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    says = "the bundle is larger than" if kind == "terabyte" else "no such bundle; expected an .ehar file"
    with pytest.raises(BundleError, match=f"large.ehar: {says}"):
        list(send.flash(path, [HOST], Ssh()))


class Device:
    """A store behind the sshd; its key may only run the receiver, as the page for users advises."""

    def __init__(self, sshd: Sshd, folder: Path) -> None:
        self.sshd, self.folder = sshd, folder
        self.store = BundleStore(folder / "home")
        self.ssh = Ssh(config=sshd.config)
        self.allow()

    def allow(self, **environment: str) -> None:
        environment[HOME_VARIABLE] = str(self.store.root)
        self.sshd.allow(python_command(RECEIVER), environment)

    def flash(self, content: bytes, **options: bool) -> HostResult:
        path = self.folder / "sent.ehar"
        path.write_bytes(content)
        (result,) = send.flash(path, [HOST], self.ssh, **options)
        return result

    def begin(self, content: bytes, **changes: object) -> subprocess.Popen[bytes]:
        """The sender's ssh alone, to give it less, more or something else than it was given."""
        offer = {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changes
        words = ["receive", "--length", str(offer["length"]), "--sha256", str(offer["sha256"])]
        return subprocess.Popen(
            self.ssh.argv(HOST, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def assert_settled(self, current: int, previous: int | None) -> None:
        """These releases, whole, and nothing else."""
        expected = read_bundle(release(current)).digest
        before = None if previous is None else read_bundle(release(previous)).digest
        assert (self.store.digest_of(CURRENT), self.store.digest_of(PREVIOUS)) == (expected, before)
        assert open_bundle(self.store.root / CURRENT).digest == expected
        assert {p.name for p in self.store.versions.iterdir()} == {
            d for d in (expected, before) if d is not None
        }
        assert not any(self.store.staging.iterdir()) and not (self.store.root / PENDING).exists()


@pytest.fixture(scope="module")
def prepared(sshd: Sshd) -> Iterator[Path]:
    """A store that was given releases 1 and 2."""
    with quick_folder() as folder:
        yield prepare(Device(sshd, folder))


def prepare(device: Device) -> Path:
    device.store.root.mkdir()
    (device.store.root / CONFIG).write_text("allow_unsigned = true\n")
    first = device.flash(release(1))
    assert (first.outcome, first.reply.release) == (Outcome.OK, 1), first
    device.assert_settled(1, None)
    assert device.flash(release(2)).outcome is Outcome.OK
    device.assert_settled(2, 1)
    return device.store.root


@pytest.fixture
def device(sshd: Sshd, prepared: Path) -> Iterator[Device]:
    with quick_folder() as folder:
        shutil.copytree(prepared, folder / "home", symlinks=True)
        yield Device(sshd, folder)


def reply_of(process: subprocess.Popen[bytes], content: bytes = b"") -> DeviceReply | None:
    output, _ = process.communicate(content, timeout=30)
    return DeviceReply.from_line(output.decode())


def test_good_then_unchanged_then_older(device: Device) -> None:
    result = device.flash(release(3))
    assert (result.outcome, result.reply.release) == (Outcome.OK, 3)
    assert device.flash(release(3)).outcome is Outcome.UNCHANGED
    device.assert_settled(3, 2)
    older = device.flash(release(2))
    assert older.outcome is Outcome.REFUSED and "older than release 3" in older.reply.detail
    assert device.flash(release(2), allow_downgrade=True).outcome is Outcome.OK
    device.assert_settled(2, 3)


def test_a_device_whose_owner_has_not_allowed_it(device: Device) -> None:
    (device.store.root / CONFIG).unlink()
    result = device.flash(release(3))
    assert result.outcome is Outcome.REFUSED
    assert f"`allow_unsigned = true` into {device.store.root / CONFIG}" in result.reply.detail


def test_corrupt_here_is_not_sent(device: Device) -> None:
    content = bytearray(release(3))
    content[len(content) // 2] ^= 1
    with pytest.raises(BundleError, match=r"sent\.ehar: .*(damaged|altered)"):
        device.flash(bytes(content))
    with pytest.raises(BundleError, match=r"absent\.ehar: no such bundle; expected an \.ehar file"):
        next(send.flash(device.folder / "absent.ehar", [HOST], device.ssh))
    device.assert_settled(2, 1)


def test_corrupt_on_the_way_and_before(device: Device) -> None:
    content = release(3)
    damaged = content[:-1] + bytes([content[-1] ^ 1])
    reply = reply_of(device.begin(content), damaged)
    assert reply is not None and reply.outcome is Outcome.REFUSED and "sha256 differs" in reply.detail
    damaged = content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]
    reply = reply_of(device.begin(damaged), damaged)
    assert reply is not None and reply.outcome is Outcome.REFUSED
    device.assert_settled(2, 1)


def test_truncated_and_the_connection_lost(device: Device) -> None:
    content = release(3)
    reply = reply_of(device.begin(content), content[:-100])
    assert reply is not None and reply.outcome is Outcome.REFUSED and "cut off after" in reply.detail
    process = device.begin(content)
    assert process.stdin is not None
    process.stdin.write(content[: len(content) // 2])
    process.stdin.flush()
    process.kill()  # the sender is gone and sends nothing more
    process.communicate()
    assert device.flash(release(3)).outcome is Outcome.OK
    device.assert_settled(3, 2)


def test_a_silent_sender_does_not_hold_the_device(device: Device) -> None:
    device.allow(**{IDLE_S: "3"})  # longer than ssh takes for the first bytes on a busy machine
    with device.begin(release(3)) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(release(3)[:500])
        process.stdin.flush()
        reply = DeviceReply.from_line(process.stdout.readline().decode())  # while the sender still holds on
        assert reply is not None and "silent for 3 s after 500 of" in reply.detail
        assert device.flash(release(3)).outcome is Outcome.OK


def test_the_second_of_two_at_once_is_refused(device: Device) -> None:
    content = release(3)
    with device.begin(content) as process:
        assert process.stdin is not None
        process.stdin.write(content[:500])
        process.stdin.flush()
        wait_until(lambda: process.poll() is not None or is_locked(device.store))
        assert process.poll() is None
        second = device.flash(release(4))
        assert second.outcome is Outcome.REFUSED and "under way on this device" in second.reply.detail
        reply = reply_of(process, content[500:])
    assert reply is not None and reply.outcome is Outcome.OK
    device.assert_settled(3, 2)


def is_locked(store: BundleStore) -> bool:
    """Whether a device is at work; it waits longer for the lock than this look holds it."""
    try:
        with store.locked(0):
            return False
    except DeployError:
        return True


def test_golden_clips_that_fail(device: Device) -> None:
    result = device.flash(failing_golden(3))
    assert result.outcome is Outcome.SELFTEST_FAILED and "golden clip" in result.reply.detail
    device.assert_settled(2, 1)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step_and_the_next_flash_heals(
    device: Device, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.allow(**{KILL_AT: step})
    killed = device.flash(release(3))
    assert killed.outcome is Outcome.UNREACHABLE  # ssh knows no more than that it ended without a word
    assert open_bundle(device.store.root / CURRENT).manifest.release in (2, 3)
    if step in HEALED_OVER_SSH:
        device.allow()
        healed = device.flash(release(3)).reply
    else:  # the same receiver with no ssh before it: a second less for each step
        monkeypatch.setenv(HOME_VARIABLE, str(device.store.root))
        content = release(3)
        with open(device.folder / "sent.ehar", "rb") as file:
            healed = receive(Offer(len(content), hashlib.sha256(content).hexdigest()), file.fileno())
    assert healed.outcome is (Outcome.UNCHANGED if after(step, "swap") else Outcome.OK)
    device.assert_settled(3, 2)


def after(step: str, other: str) -> bool:
    return STEPS.index(step) > STEPS.index(other)


def test_rollback_twice_and_status(device: Device) -> None:
    (there,) = send.status([HOST], device.ssh)
    assert (there.outcome, there.reply.release) == (Outcome.OK, 2)
    assert there.reply.store is not None and there.reply.store["previous"]["release"] == 1
    (back,) = send.roll_back([HOST], device.ssh)
    assert (back.outcome, back.reply.release) == (Outcome.OK, 1)
    device.assert_settled(1, 2)
    (forth,) = send.roll_back([HOST], device.ssh)
    assert forth.reply.release == 2
    device.assert_settled(2, 1)


def test_a_wrong_or_unknown_host_key(device: Device) -> None:
    wrong = Ssh(config=device.sshd.write_client("wrong", known=False))
    (result,) = send.status([HOST], wrong)
    assert result.outcome is Outcome.UNREACHABLE and "host key is not the known one" in result.reply.detail
    (device.sshd.folder / "wrong.known_hosts").write_text("")
    (result,) = send.status([HOST], wrong)
    assert result.outcome is Outcome.UNREACHABLE and "host key is not known here" in result.reply.detail


def test_one_dead_host_does_not_stop_the_others(device: Device) -> None:
    config = device.sshd.write_client("two")
    config.write_text(f"Host dead\n Port 1\n{config.read_text()}")
    device.ssh = Ssh(config=config)
    (device.folder / "three.ehar").write_bytes(release(3))
    results = send.flash(device.folder / "three.ehar", ["dead", HOST, "dead"], device.ssh)
    outcomes = {result.host: result for result in results}
    assert outcomes[HOST].outcome is Outcome.OK
    assert outcomes["dead"].outcome is Outcome.UNREACHABLE
    assert "Connection refused" in outcomes["dead"].reply.detail


def test_no_edge_har_there_and_a_remote_that_talks_nonsense(sshd: Sshd) -> None:
    sshd.allow()

    def reply_to(command: str, timeout_s: float = 20) -> DeviceReply:
        (result,) = send.status([HOST], Ssh(config=sshd.config, remote_command=command, timeout_s=timeout_s))
        return result.reply

    absent = reply_to("no-such-edge-har")
    assert absent.outcome is Outcome.REFUSED and "--remote-command" in absent.detail
    nonsense = reply_to('echo \'{"v": 1, "outcome": 3}\'; echo hello; exit 3; true')
    assert nonsense.outcome is Outcome.REFUSED and "exit code 3" in nonsense.detail
    assert reply_to("sleep 20; true", 1).detail == "no reply within 1 s"
    rude = json.dumps({"v": 1, "outcome": "REFUSED", "detail": "\x1b[31mred\nline" + "x" * 999})
    evil = reply_to(f"echo greeting; echo '{rude}'; true")
    assert evil.outcome is Outcome.REFUSED
    assert evil.detail.isprintable() and len(evil.detail) <= 400


@pytest.mark.parametrize("answer", ["yes;", "yes >&2;", "cat /dev/zero;"])
def test_an_answer_without_end_is_cut_off(device: Device, answer: str) -> None:
    device.sshd.allow()
    ssh = Ssh(config=device.ssh.config, remote_command=answer, timeout_s=30)
    path = device.folder / "sent.ehar"
    path.write_bytes(release(3))
    for results in (send.status([HOST], ssh), send.flash(path, [HOST], ssh)):
        (result,) = results
        assert result.outcome is Outcome.UNREACHABLE
        assert result.reply.detail == "its answer was cut off after 1000000 bytes: no device sends so much"


def test_a_long_greeting_hides_no_reply(sshd: Sshd) -> None:
    sshd.allow()
    line = DeviceReply(Outcome.REFUSED, "busy").to_line()
    command = f"head -c 400000 /dev/zero | tr '\\0' x >&2; seq 50000; echo '{line}'; true"
    (result,) = send.status([HOST], Ssh(config=sshd.config, remote_command=command))
    assert (result.outcome, result.reply.detail) == (Outcome.REFUSED, "busy")


def test_another_digest_than_the_one_sent_is_not_success(sshd: Sshd, tmp_path: Path) -> None:
    sshd.allow()
    (tmp_path / "sent.ehar").write_bytes(release(3))
    line = DeviceReply(Outcome.OK, digest="0" * 64).to_line()
    ssh = Ssh(config=sshd.config, remote_command=f"echo '{line}'; true", parallel=1)
    first, second = send.flash(tmp_path / "sent.ehar", [HOST, "another"], ssh)
    assert first.outcome is Outcome.BROKEN and "digest of another bundle" in first.reply.detail
    assert second.outcome is Outcome.NOT_TRIED


def test_after_a_broken_host_no_other_one_is_started(sshd: Sshd) -> None:
    sshd.allow()
    ssh = Ssh(
        config=sshd.config,
        remote_command=f"echo '{DeviceReply(Outcome.BROKEN, 'bad').to_line()}'; true",
        parallel=1,
    )
    outcomes = [result.outcome for result in send.roll_back(["a", "b", "c"], ssh)]
    assert outcomes == [Outcome.BROKEN, Outcome.NOT_TRIED, Outcome.NOT_TRIED]


@pytest.mark.parametrize("host", ["-oProxyCommand=evil", "", "a b"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(MisuseError, match="expected USER@HOST"):
        next(send.status([host], Ssh()))


@pytest.mark.parametrize("parallel", [0, 9])
def test_how_many_hosts_at_a_time(parallel: int) -> None:
    with pytest.raises(MisuseError, match=f"1 to 8 hosts at a time, got {parallel}"):
        Ssh(parallel=parallel)


@pytest.mark.parametrize("name", ["flash", "status", "rollback"])
def test_every_command_makes_the_same_value_of_its_ssh_options(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def record(*args: Any, **options: Any) -> Iterator[HostResult]:
        calls.append(args)
        return iter(())

    monkeypatch.setattr(send, "roll_back" if name == "rollback" else name, record)
    config, key = tmp_path / "config", tmp_path / "key"
    for path in (config, key):
        path.touch()
    words = ["--ssh-config", str(config), "--port", "22", "--identity", str(key), "--remote-command", "x y"]
    words += ["--timeout", "5", "--parallel", "3"]
    bundle = ["sent.ehar"] if name == "flash" else []
    for given in (words, []):
        done = CliRunner().invoke(cli, [name, *given, *bundle, "one", "two"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert [args[-2:] for args in calls] == [
        (("one", "two"), Ssh(config, 22, key, "x y", 5, 3)),
        (("one", "two"), Ssh()),
    ]


def edge_har(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_har", *words], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_commands_as_users_call_them(device: Device) -> None:
    """With an ordinary login: ssh options, the table, JSON lines, exit codes."""
    device.sshd.allow()
    remote = f"env {HOME_VARIABLE}={device.store.root} {python_command('edge_har')}"
    port, key = str(device.sshd.port), str(device.sshd.folder / "login_key")
    options = ["--ssh-config", str(device.sshd.config), "--port", port, "--identity", key]
    options += ["--remote-command", remote]
    bundle = device.folder / "three.ehar"
    bundle.write_bytes(release(3))
    done = edge_har("flash", str(bundle), HOST, *options)
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head.split() == ["HOST", "OUTCOME", "MODEL", "RELEASE", "SECONDS", "DETAIL"]
    assert row.split()[:2] == [HOST, "OK"] and row.split()[3] == "3"
    assert done.stderr == f"[1/1] {HOST}: OK\n"
    done = edge_har("rollback", HOST, "--json", *options)
    line = json.loads(done.stdout)
    assert (done.returncode, line["host"], line["outcome"], line["release"]) == (0, HOST, "OK", 2)
    done = edge_har("status", HOST, *options)
    assert done.returncode == 0 and "previous: " in done.stdout
    bundle.write_bytes(failing_golden(4))
    done = edge_har("flash", str(bundle), HOST, *options)
    assert done.returncode == 1 and "SELFTEST_FAILED" in done.stdout
    bundle.write_text("not a bundle")
    done = edge_har("flash", str(bundle), HOST, *options)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_an_interrupted_flash_lets_go_at_once(sshd: Sshd, tmp_path: Path) -> None:
    sshd.allow()
    there = tmp_path / "there"
    words = [
        "status",
        HOST,
        "--ssh-config",
        str(sshd.config),
        "--remote-command",
        f"touch {there}; sleep 60;",
    ]
    # Whoever runs the tests in the background has SIGINT ignored, and so would the command.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heeding}; from edge_har.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: process.poll() is not None or there.exists())
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert errors.splitlines()[-1] == "interrupted" and "Traceback" not in errors


def test_more_than_any_buffer_over_a_slow_start(device: Device) -> None:
    """Bigger than pipes, windows and the shipped bundle; and the device begins to read only after a while."""
    bundle = some_bundle()
    files = {name: content for name, content in bundle.contents.items() if name != LABELS}
    files["extra.bin"] = random.Random(1).randbytes(6_000_000)
    content, digest = pack_bundle(replace(bundle.manifest, release=3), files)
    device.allow(**{SLEEP_AT: "receive"})
    result = device.flash(content)
    assert (result.outcome, result.reply.digest) == (Outcome.OK, digest)


def test_without_ssh_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(DeployError, match="apt install openssh-client"):
        next(send.status([HOST], Ssh()))
