"""Where the live page listens, who may look, and how often its pictures change."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from edge_har.errors import MisuseError
from edge_har.options.addresses import mask_uri
from edge_har.options.fields import check_values, option
from edge_har.options.kinds import NUMBER, TEXT, WHOLE

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

    Raises MisuseError, which never shows the token.
    """

    listen: str = option(TEXT, "HOST:PORT or [IPV6]:PORT; port 0: the system chooses", default=DEFAULT_LISTEN)
    token: str | None = option(
        TEXT,
        "what a browser must present, 16 characters or more; needed beyond this machine",
        default=None,
        secret=True,
    )
    rate_hz: float = option(NUMBER, "most pictures a second", default=5.0, low=MIN_RATE_HZ, high=MAX_RATE_HZ)
    picture_px: int = option(
        WHOLE, "longest side of a picture, in px", default=640, low=MIN_PICTURE_PX, high=MAX_PICTURE_PX
    )

    def __post_init__(self) -> None:
        host, port = self.address
        if self.token is not None and not TOKEN.fullmatch(self.token):
            raise MisuseError(
                f"the page's token must be {MIN_TOKEN} to 256 printable characters without spaces; "
                "`openssl rand -hex 16` makes one"
            )
        if self.token is None and not is_loopback(host):
            raise MisuseError(
                f"{self.listen} can be reached from other machines: give the page a token, in "
                f"{TOKEN_VARIABLE} or "
                f"the configuration, or listen on 127.0.0.1:{port}"
            )
        check_values(self)

    @property
    def address(self) -> tuple[str, int]:
        """Host, without brackets, and port; raises MisuseError where `listen` is no address."""
        found = ADDRESS.fullmatch(self.listen)
        if found is None or int(found["port"]) > 65535:
            shown = mask_uri(self.listen)
            raise MisuseError(f"the page cannot listen on {shown!r}; expected HOST:PORT, as {DEFAULT_LISTEN}")
        return (found["plain"] or found["bracketed"][1:-1]), int(found["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than localhost may mean anything,
    so it is not.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
