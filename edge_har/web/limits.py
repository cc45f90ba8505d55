"""Limits for those who connect: how many connections wait for a request, how often a wrong token is tried."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MAX_CONNECTIONS = 128  # each costs a file, and cameras need some too
MAX_WAITING = 32  # of one network; a browser opens six
IPV6_NETWORK_BITS = 64  # whoever has one address of it has all
FREE_TRIES, PAUSE_S = 10, 6.0  # wrong tokens at once, and seconds for each one more
LOG_S = 60.0  # between two lines about one network
MAX_NETWORKS = 1024  # that are remembered

log = logging.getLogger("edge_har")


class Connection(Protocol):
    """An open connection; tornado's IOStream is one."""

    def closed(self) -> bool:
        """Whether it has ended."""

    def close(self) -> None:
        """End it."""


class Connections:
    """All open connections. Whoever comes is let in: one that waits without a request goes instead, so that
    nobody can hold the places without using them.
    """

    def __init__(self) -> None:
        self._waiting: dict[Connection, str] = {}  # to the network of its client; the longest wait first
        self._answered: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._answered)

    def admit(self, connection: Connection, address: str) -> bool:
        """Whether there is a place for a connection from `address`. The one that waited longest is closed for
        it where its network has MAX_WAITING of them, or where all places are taken: then it is one of the
        network that has most. False where no connection waits.
        """
        self._waiting, self._answered = _open_ones(self._waiting), _open_ones(self._answered)
        network = network_of(address)
        waiting = Counter(self._waiting.values())
        if waiting[network] >= MAX_WAITING:
            self._close_oldest(network)
        elif len(self) >= MAX_CONNECTIONS:
            if not waiting:
                return False
            self._close_oldest(waiting.most_common(1)[0][0])
        self._waiting[connection] = network
        return True

    def begin(self, connection: Connection) -> None:
        """A request of it is being answered: it stays."""
        if connection in self._waiting:
            self._answered[connection] = self._waiting.pop(connection)

    def end(self, connection: Connection) -> None:
        """Its request is answered: it waits for another."""
        if connection in self._answered:
            self._waiting[connection] = self._answered.pop(connection)

    def close(self) -> None:
        """Close them all."""
        for connection in [*self._waiting, *self._answered]:
            connection.close()

    def _close_oldest(self, network: str) -> None:
        oldest = next(connection for connection, of in self._waiting.items() if of == network)
        del self._waiting[oldest]
        oldest.close()


class TooManyTries(Exception):
    """A token is not even looked at for `pause_s` seconds: too many wrong ones came from this network."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(f"too many wrong tokens, try again in {math.ceil(pause_s)} s")
        self.pause_s = pause_s


@dataclass
class _Tries:
    forgiven_s: float = -math.inf  # when all of them are
    logged_s: float = -math.inf
    unlogged: int = 0


class WrongTokens:
    """The wrong tokens of each network: FREE_TRIES at once, then one in PAUSE_S; logged once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[str, _Tries] = {}

    def check(self, address: str) -> None:
        """Raise TooManyTries where `address` must wait before it may try a token."""
        tries = self._tries.get(network_of(address))
        if tries is None:
            return
        pause_s = tries.forgiven_s - (FREE_TRIES - 1) * PAUSE_S - self._clock()
        if pause_s > 0:
            self._log(tries, address)
            raise TooManyTries(pause_s)

    def record(self, address: str) -> None:
        """A wrong token came from `address`."""
        network, now_s = network_of(address), self._clock()
        if network not in self._tries and len(self._tries) >= MAX_NETWORKS:
            del self._tries[next(iter(self._tries))]
        tries = self._tries.setdefault(network, _Tries())
        tries.forgiven_s = max(tries.forgiven_s, now_s) + PAUSE_S
        self._log(tries, address)

    def _log(self, tries: _Tries, address: str) -> None:
        tries.unlogged += 1
        now_s = self._clock()
        if now_s - tries.logged_s >= LOG_S:
            several = f"{tries.unlogged} wrong tokens" if tries.unlogged > 1 else "a wrong token"
            log.warning("the live page refused %s from %s", several, address)
            tries.logged_s, tries.unlogged = now_s, 0


def network_of(address: str) -> str:
    """What limits count as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_NETWORK_BITS), strict=False))


def _open_ones(connections: dict[Connection, str]) -> dict[Connection, str]:
    return {connection: network for connection, network in connections.items() if not connection.closed()}
