"""What a web server does about logins: challenges, and a plain check of the answers, after RFC 7616."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from urllib.request import parse_http_list, parse_keqv_list

HASHES = {
    "MD5": hashlib.md5,
    "SHA-256": hashlib.sha256,
    "SHA-512-256": lambda content: hashlib.new("sha512_256", content),
}


def digest(algorithm: str | None, *, qop: str | None = "auth", nonce: str = "abc", more: str = "") -> str:
    """A challenge."""
    named = "" if algorithm is None else f", algorithm={algorithm}"
    quality = "" if qop is None else f', qop="{qop}"'
    return f'Digest realm="a, b", nonce="{nonce}", opaque="0p"{named}{quality}{more}'


def answers(
    given: str, method: str, path: str, user: bytes, password: bytes, *, nonce: str = "abc", body: bytes = b""
) -> bool:
    """Whether an `Authorization` header is the right answer to a challenge of `digest`, or right as Basic."""
    scheme, _, rest = given.partition(" ")
    if scheme == "Basic":
        return base64.b64decode(rest) == user + b":" + password
    values = parse_keqv_list(parse_http_list(rest))
    algorithm = values.get("algorithm", "MD5")
    made = HASHES[algorithm.removesuffix("-sess")]

    def hashed(*parts: bytes) -> bytes:
        return made(b":".join(parts)).hexdigest().encode()

    name = hashed(user, b"a, b") if values.get("userhash") == "true" else user
    secret = hashed(user, b"a, b", password)
    if algorithm.endswith("-sess"):
        secret = hashed(secret, nonce.encode(), values["cnonce"].encode())
    request = [method.encode(), path.encode()]
    if values.get("qop") == "auth-int":
        request.append(hashed(body))
    counted = [values[key].encode() for key in ("nc", "cnonce", "qop")] if "qop" in values else []
    expected = hashed(secret, nonce.encode(), *counted, hashed(*request)).decode()
    same = (values["uri"], values["nonce"], values["opaque"]) == (path, nonce, "0p")
    return same and values["username"].encode("latin-1") == name and values["response"] == expected


class LoginGate:
    """Refuses with `challenges` whatever is not the right answer.

    wanted: in which way, SCHEME or SCHEME,ALGORITHM. given: all headers that came. uses: good answers until
    the nonce is another one (0: never).
    """

    def __init__(
        self,
        challenges: Sequence[str],
        wanted: str,
        *,
        user: bytes = b"me",
        password: bytes = b"s3cret",
        uses: int = 0,
    ) -> None:
        self._challenges = challenges
        self._wanted = wanted
        self._user, self._password = user, password
        self._uses = uses
        self._good = 0
        self.given: list[str | None] = []

    def __call__(self, method: str, path: str, given: str | None, body: bytes = b"") -> Sequence[str]:
        """The challenges that refuse a request; none where it may pass."""
        self.given.append(given)
        nonce = f"abc{self._good // self._uses}" if self._uses else "abc"
        challenges = [challenge.replace('nonce="abc"', f'nonce="{nonce}"') for challenge in self._challenges]
        scheme, _, algorithm = self._wanted.partition(",")
        if given is None or not given.startswith(f"{scheme} "):
            return challenges
        if algorithm and f"algorithm={algorithm}," not in f"{given},":
            return challenges
        if not answers(given, method, path, self._user, self._password, nonce=nonce, body=body):
            return challenges
        self._good += 1
        return ()
