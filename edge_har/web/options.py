"""Where the live page listens, who may look, and how often its pictures change."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from edge_har.errors import MisuseError
from edge_har.options.secrets import secret_field

TOKEN_VARIABLE = "EDGE_HAR_WEB_TOKEN"  # of the environment
DEFAULT_LISTEN = "127.0.0.1:8080"
ADDRESS = re.compile(r"(?:(?P<bracketed>\[[0-9A-Fa-f:.]+\])|(?P<plain>[^\[\]:/@\s]+)):(?P<port>\d{1,5})")
MIN_TOKEN = 16  # characters; fewer can be guessed
TOKEN = re.compile(rf"[!-~]{{{MIN_TOKEN},256}}")  # it must fit into a header
MIN_RATE_HZ, MAX_RATE_HZ = 0.1, 30.0
MIN_PICTURE_PX, MAX_PICTURE_PX = 64, 4096


@dataclass(frozen=True)
class WebOptions:
    """How the live page is served.

    listen: HOST:PORT or [IPV6]:PORT; port 0 lets the system choose. token: what whoever looks must know, 16 printable
    characters or more; needed as soon as others than this machine can connect. rate_hz: how often a picture changes at
    most. picture_px: the longer side of a picture at most.

    Raises MisuseError, which never shows the token.
    """

    listen: str = DEFAULT_LISTEN
    token: str | None = secret_field(default=None)
    rate_hz: float = 5.0
    picture_px: int = 640

    def __post_init__(self) -> None:
        host, port = self.address
        if self.token is not None and not TOKEN.fullmatch(self.token):
            raise MisuseError(
                f"the page's token must be {MIN_TOKEN} to 256 printable characters without spaces; "
                "`openssl rand -hex 16` makes one"
            )
        if self.token is None and not is_loopback(host):
            raise MisuseError(
                f"{self.listen} can be reached from other machines: give the page a token, in {TOKEN_VARIABLE} or "
                f"the configuration, or listen on 127.0.0.1:{port}"
            )
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise MisuseError(
                f"the page's pictures change {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} times a second, not {self.rate_hz:g}"
            )
        if not MIN_PICTURE_PX <= self.picture_px <= MAX_PICTURE_PX:
            raise MisuseError(
                f"the page's pictures are {MIN_PICTURE_PX} to {MAX_PICTURE_PX} pixels large, not {self.picture_px}"
            )

    @property
    def address(self) -> tuple[str, int]:
        """Host, without brackets, and port; raises MisuseError where `listen` is no address."""
        found = ADDRESS.fullmatch(self.listen)
        if found is None or int(found["port"]) > 65535:
            raise MisuseError(
                f"the page cannot listen on {self.listen!r}; expected HOST:PORT, as {DEFAULT_LISTEN}"
            )
        return (found["plain"] or found["bracketed"][1:-1]), int(found["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than localhost may mean anything, so it is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
