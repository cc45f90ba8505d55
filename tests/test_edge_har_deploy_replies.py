"""What a device replies is shown as text, and never as what steers a terminal or ends the reader."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edge_har.cli import _hosts
from edge_har.deploy.replies import MAX_TEXT, DeviceReply, Outcome
from edge_har.deploy.send import HostResult

STEERING = "\x1b[2J\x1b]0;owned\x07\n[1/1] other: OK\r\u202e\x9b31m"


def line(**fields: object) -> str:
    return json.dumps({"v": 1, "outcome": "OK", **fields})


def read(**fields: object) -> DeviceReply:
    reply = DeviceReply.from_line(line(**fields))
    assert reply is not None
    return reply


@pytest.mark.parametrize(
    "fields",
    [
        {"detail": STEERING},
        {"model": STEERING, "version": STEERING, "digest": STEERING},
        {"store": {"previous": {"name": STEERING, "digest": STEERING}, STEERING: [STEERING]}},
        {"store": {"previous": {"name": {STEERING: 1}, "digest": [STEERING]}}},
        {"store": {"previous": {"name": "a" * 10**6, "digest": 7}}},
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_device_replies_steers_no_terminal(
    capsys: pytest.CaptureFixture[str], fields: dict[str, object], as_json: bool
) -> None:
    assert _hosts.report([HostResult("device", read(**fields))], 1, as_json)
    output = capsys.readouterr()
    lines = [*output.out.splitlines(), *output.err.splitlines()]
    assert len(lines) == (2 if as_json else 3)
    assert all(one.isprintable() and len(one) < 4 * MAX_TEXT for one in lines)


@pytest.mark.parametrize("release", [True, 1.5, -1, 0, 2**53, 10**100, "1", [1]])
def test_a_release_that_is_none_is_not_shown(release: object) -> None:
    assert read(release=release).release is None


@pytest.mark.parametrize(
    "store",
    ['{"a":' * 900 + "1" + "}" * 900, "[" * 100_000 + "]" * 100_000, "NaN", '"\\ud800"', '{"a": 1e999}'],
)
def test_a_line_that_no_device_of_ours_writes_is_no_reply(store: str) -> None:
    assert DeviceReply.from_line(f'{{"v":1,"outcome":"OK","store":{store}}}') is None


def test_this_devices_own_store_is_shown_alike() -> None:
    reply = DeviceReply(Outcome.OK, store={"previous": {"name": STEERING, "digest": "0" * 64}})
    with CliRunner().isolation() as streams:
        _hosts.report_local(reply, False)
        shown = streams[0].getvalue().decode()
    assert len(shown.splitlines()) == 2 and all(one.isprintable() for one in shown.splitlines())
