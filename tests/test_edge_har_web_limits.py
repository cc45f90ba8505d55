"""Which connections have their place, and how often a wrong token is tried."""

from __future__ import annotations

import pytest

from edge_har.web import limits
from edge_har.web.limits import (
    FREE_TRIES,
    LOG_S,
    MAX_CONNECTIONS,
    MAX_NETWORKS,
    MAX_WAITING,
    PAUSE_S,
    Connections,
    TooManyTries,
    WrongTokens,
    network_of,
)

HERE, THERE = "192.0.2.7", "198.51.100.9"


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.is_closed = False

    def closed(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class Clock:
    def __init__(self) -> None:
        self.s = 50.0

    def __call__(self) -> float:
        return self.s


def admitted(connections: Connections, count: int, address: str) -> list[Line]:
    """That many that were let in."""
    lines = [Line() for _ in range(count)]
    assert all(connections.admit(line, address) for line in lines)
    return lines


def still_open(lines: list[Line]) -> list[int]:
    return [number for number, line in enumerate(lines) if not line.closed()]


def test_one_network_holds_few_places_that_it_does_not_use() -> None:
    connections = Connections()
    other = admitted(connections, 2, THERE)
    lines = admitted(connections, MAX_WAITING + 3, HERE)
    assert still_open(lines) == list(range(3, MAX_WAITING + 3)) and still_open(other) == [0, 1]


def test_what_is_answered_stays_and_waits_again_afterwards() -> None:
    connections = Connections()
    busy, *idle = admitted(connections, MAX_WAITING, HERE)
    connections.begin(busy)
    more = admitted(connections, MAX_WAITING, HERE)
    assert not busy.closed() and still_open(idle) == [] and still_open(more) == list(range(MAX_WAITING))
    connections.end(busy)
    admitted(connections, MAX_WAITING, HERE)
    assert still_open(more) == [] and not busy.closed(), "it began to wait after the others"
    admitted(connections, 1, HERE)
    assert busy.closed()


def test_where_all_places_are_taken_the_largest_crowd_gives_one_up() -> None:
    connections = Connections()
    crowd = admitted(connections, MAX_WAITING, HERE)
    few = [
        line for n in range(MAX_CONNECTIONS - MAX_WAITING) for line in admitted(connections, 1, f"10.0.0.{n}")
    ]
    admitted(connections, 2, THERE)
    assert still_open(crowd) == list(range(2, MAX_WAITING)) and len(still_open(few)) == len(few)
    assert len(connections) == MAX_CONNECTIONS


def test_nobody_gives_way_where_nobody_waits() -> None:
    connections = Connections()
    for line in (lines := [Line() for _ in range(MAX_CONNECTIONS)]):
        assert connections.admit(line, HERE)
        connections.begin(line)
    assert not connections.admit(Line(), THERE)
    lines[5].close()
    assert connections.admit(Line(), THERE)
    connections.close()
    assert still_open(lines) == []


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_what_counts_as_one_client(address: str, network: str) -> None:
    assert network_of(address) == network


def tried(tokens: WrongTokens, times: int, address: str = HERE) -> int:
    """How many of so many wrong tokens were looked at."""
    seen = 0
    for _ in range(times):
        try:
            tokens.check(address)
        except TooManyTries:
            continue
        tokens.record(address)
        seen += 1
    return seen


def test_after_a_few_wrong_tokens_each_one_more_takes_its_time() -> None:
    clock = Clock()
    tokens = WrongTokens(clock)
    assert tried(tokens, 100) == FREE_TRIES and tried(tokens, 3, THERE) == 3
    with pytest.raises(TooManyTries, match="try again in 6 s") as slow:
        tokens.check(HERE)
    assert slow.value.pause_s == PAUSE_S
    total = 0
    for _ in range(100):
        clock.s += PAUSE_S / 2
        total += tried(tokens, 10)
    assert total == 50
    clock.s += FREE_TRIES * PAUSE_S
    assert tried(tokens, 100) == FREE_TRIES


def test_wrong_tokens_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    tokens = WrongTokens(clock)
    tried(tokens, 50)
    clock.s += LOG_S
    tried(tokens, 1)
    tried(tokens, 1, THERE)
    assert caplog.messages == [
        f"the live page refused a wrong token from {HERE}",
        f"the live page refused 50 wrong tokens from {HERE}",
        f"the live page refused a wrong token from {THERE}",
    ]


def test_what_is_remembered_of_networks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_S", float("inf"))
    tokens = WrongTokens(Clock())
    for number in range(MAX_NETWORKS + 10):
        tried(tokens, 1, f"10.0.{number // 256}.{number % 256}")
    assert len(tokens._tries) == MAX_NETWORKS
