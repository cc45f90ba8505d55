"""Who may look at the page: names of this machine, the token, and the cookie in its place."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

from edge_har.web.limits import WrongTokens
from edge_har.web.options import is_loopback

COOKIE_DAYS = 30
COOKIE_MEANS = b"edge_har live page"
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::\d{1,5})?")
OURS = ("same-origin", "none")  # Sec-Fetch-Site of a request by our own page, or by a person


class RequestAuth:
    """Decides about requests by their headers. token: None where only this machine can connect.

    The cookie holds a digest of the token, not the token: what reads cookies cannot learn it. Its name
    differs by token, because browsers share cookies between the ports of a machine.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._wrong = WrongTokens()
        self.cookie = "" if token is None else _digest(token)
        self.cookie_name = f"edge_har_{self.cookie[:8]}"

    def host_allowed(self, host: str) -> bool:
        """Whether the page answers to this Host header.

        Without a token a foreign name could be made to lead here (DNS rebinding), and its page would then see
        the pictures; with one it would lack the cookie, so any name is welcome.
        """
        if self._token is not None:
            return True
        found = HOST.fullmatch(host)
        return found is not None and is_loopback(found[1].strip("[]"))

    def site_allowed(self, headers: Mapping[str, str]) -> bool:
        """Whether a person, a program or our own page asks: another site's page may not embed a picture."""
        return headers.get("Sec-Fetch-Site", "none") in OURS

    def known(self, headers: Mapping[str, str], cookie: str | None, address: str) -> bool:
        """Whether the request from `address` may see data: by the token as bearer or as a basic password, or
        by the cookie, which nobody can guess: it is never slowed.

        Raises TooManyTries.
        """
        if self._token is None:
            return True
        if cookie is not None and _same(cookie, self.cookie):
            return True
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return self.is_token(_password(given), address)
        return scheme.lower() == "bearer" and self.is_token(given.strip(), address)

    def is_token(self, given: str, address: str) -> bool:
        """Whether `given`, which came from `address`, is the token; how long this takes reveals nothing about
        it. Nothing that was left empty is a try.

        Raises TooManyTries where too many wrong ones came before.
        """
        if self._token is None or not given:
            return False
        self._wrong.check(address)
        if _same(given, self._token):
            return True
        self._wrong.record(address)
        return False


def _password(basic: str) -> str:
    """The password in basic credentials; empty where they are none. Programs that know nothing else send
    these.
    """
    try:
        return base64.b64decode(basic, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _digest(token: str) -> str:
    return hmac.new(token.encode(), COOKIE_MEANS, hashlib.sha256).hexdigest()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
