"""Logging in to a web server: the strongest way that it offers and this module knows (RFC 7616, 7617)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

URL_SAFE = "/%:@!$&'()*+,;=~-._?"
UTF_8, LATIN_1 = "utf-8", "iso-8859-1"
BASIC, DIGEST = "basic", "digest"
# Stronger ones first. Without a name a server means MD5.
DIGEST_HASHES = {"sha-512-256": "sha512_256", "sha-256": "sha256", "md5": "md5"}
SESSION = "-sess"
QUALITIES = ("auth", "auth-int")
MAX_ATTEMPTS = 4  # of one request
SHOWN_SCHEMES, SHOWN_LETTERS = 3, 20  # of what a server asks for
ITEM = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s,\"]*))?")
ESCAPED = re.compile(r"\\(.)")


def request_target(path: str, query: str) -> str:
    """Path and query as a request line has them: blanks and letters beyond ASCII quoted; quoted ones stay."""
    return quote(f"{path or '/'}{'?' if query else ''}{query}", safe=URL_SAFE)


@dataclass(frozen=True)
class Challenge:
    """One way to log in that a server offers. scheme and names of parameters: lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def strength(self) -> int:
        """The higher the better; 0 where it cannot be answered."""
        if self.scheme == BASIC:
            return 1
        if self.scheme != DIGEST or "nonce" not in self.parameters:
            return 0
        name = self.hash_name
        if name not in hashlib.algorithms_available or (self._offered and self.quality is None):
            return 0
        return 1 + len(DIGEST_HASHES) - list(DIGEST_HASHES.values()).index(name)

    @property
    def hash_name(self) -> str:
        """The hash of a digest as hashlib calls it; empty where it is not known."""
        return DIGEST_HASHES.get(self._algorithm.removesuffix(SESSION), "")

    @property
    def of_session(self) -> bool:
        """Whether the hash of the password is mixed with both nonces."""
        return self._algorithm.endswith(SESSION)

    @property
    def quality(self) -> str | None:
        """What of the request a digest covers: one of QUALITIES, or None as before RFC 2617."""
        return next((quality for quality in QUALITIES if quality in self._offered), None)

    @property
    def _algorithm(self) -> str:
        return self.parameters.get("algorithm", "md5").lower()

    @property
    def _offered(self) -> list[str]:
        return re.findall(r"[^\s,]+", self.parameters.get("qop", "").lower())


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The ways to log in that `WWW-Authenticate` headers offer, in their order; several may share a header.

    Never raises: what cannot be read is left out.
    """
    found: list[Challenge] = []
    for header in headers:
        begun = len(found)
        for item in ITEM.finditer(header):
            name, value = item[1].lower(), item[2]
            if value is None:
                found.append(Challenge(name))
            elif len(found) > begun:
                text = ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
                found[-1].parameters.setdefault(name, text)
    return found


class HttpLogin:
    """User and password for one server, and what it last offered.

    Where they are not ASCII and the server names no charset, UTF-8 is tried before Latin-1; lone surrogates
    are bytes that are neither, and are sent as they are. unasked: send both (as Basic) with the first request
    too, which many web servers expect.
    """

    def __init__(self, user: str, password: str, *, unasked: bool = False) -> None:
        self._user = user
        self._password = password
        self._challenge = Challenge(BASIC) if unasked else None
        self._charset = UTF_8
        self._untried: list[str] = []
        self._attempts = 0
        self._count = 0  # requests with the nonce of `_challenge`
        self._own_nonce = b""  # one for each of the server's, which `-sess` asks for

    def authorization(self, method: str, target: str, body: bytes = b"") -> str | None:
        """The `Authorization` header of the next request; None before the server has offered a way.

        target: as in the request line. The header's letters are bytes, as http.client takes them.
        """
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge.scheme == BASIC:
            pair = b":".join(map(self._encoded, (self._user, self._password)))
            return f"Basic {base64.b64encode(pair).decode()}"
        self._count += 1
        return self._digest(challenge, method, target, body)

    def accepted(self) -> None:
        """The server took the last request: what worked is used from now on."""
        self._attempts = 0

    def refused(self, headers: Iterable[str]) -> bool:
        """Whether to send the request again, to which the server answered 401.

        headers: its `WWW-Authenticate` headers.
        """
        known = [challenge for challenge in parse_challenges(headers) if challenge.strength]
        strongest = max(known, key=lambda challenge: challenge.strength, default=None)
        if strongest is None or self._attempts >= MAX_ATTEMPTS or not self._choose_charset(strongest):
            self._attempts = 0
            return False
        self._challenge, self._count = strongest, 0
        self._own_nonce = secrets.token_hex(16).encode()
        self._attempts += 1
        return True

    def _choose_charset(self, challenge: Challenge) -> bool:
        """Whether there is one that was not refused; it is in `_charset`."""
        if self._attempts > 0 and challenge.parameters.get("stale", "").lower() == "true":
            return True
        if self._attempts == 0:
            self._untried = self._charsets(challenge)
            if challenge.scheme == BASIC and self._challenge is not None and self._challenge.scheme == BASIC:
                self._untried.pop(0)  # it is what was refused
        if not self._untried:
            return False
        self._charset = self._untried.pop(0)
        return True

    def _charsets(self, challenge: Challenge) -> list[str]:
        text = self._user + self._password
        if text.isascii() or challenge.parameters.get("charset", "").lower() == UTF_8:
            return [UTF_8]
        try:
            text.encode(LATIN_1)
        except UnicodeEncodeError:
            return [UTF_8]
        # What worked for the nonce before comes first.
        return [self._charset, LATIN_1 if self._charset == UTF_8 else UTF_8]

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._charset, "surrogateescape")

    def _digest(self, challenge: Challenge, method: str, target: str, body: bytes) -> str:
        def hashed(*parts: bytes) -> bytes:
            made = hashlib.new(challenge.hash_name, usedforsecurity=False)
            made.update(b":".join(parts))
            return made.hexdigest().encode()

        given = {name: _bytes(value) for name, value in challenge.parameters.items()}
        realm, nonce, quality = given.get("realm", b""), given["nonce"], challenge.quality
        user = self._encoded(self._user)
        count, own_nonce = b"%08x" % self._count, self._own_nonce
        secret = hashed(user, realm, self._encoded(self._password))
        if challenge.of_session:
            secret = hashed(secret, nonce, own_nonce)
        request = [method.encode(), target.encode()]
        if quality == "auth-int":
            request.append(hashed(body))
        counted = [count, own_nonce, quality.encode()] if quality else []
        hides_user = given.get("userhash", b"").lower() == b"true"
        quoted = {
            "username": hashed(user, realm) if hides_user else user,
            "realm": realm,
            "nonce": nonce,
            "uri": target.encode(),
            "response": hashed(secret, nonce, *counted, hashed(*request)),
        }
        plain = {}
        if "opaque" in given:
            quoted["opaque"] = given["opaque"]
        if "algorithm" in given:
            plain["algorithm"] = given["algorithm"]
        if quality or challenge.of_session:
            quoted["cnonce"] = own_nonce
        if quality:
            plain |= {"qop": quality.encode(), "nc": count}
        if hides_user:
            plain["userhash"] = b"true"
        values = [f"{name}={_quoted(value)}" for name, value in quoted.items()]
        values += [f"{name}={value.decode(LATIN_1)}" for name, value in plain.items()]
        return f"Digest {', '.join(values)}"


def unknown_schemes(headers: Iterable[str]) -> str:
    """What a server asks for where nothing of it is known, for a message; empty where something is."""
    found = parse_challenges(headers)
    if any(challenge.strength for challenge in found):
        return ""
    return ", ".join(challenge.scheme[:SHOWN_LETTERS] for challenge in found[:SHOWN_SCHEMES])


def _bytes(value: str) -> bytes:
    """What stood in a header, which http.client reads as Latin-1."""
    return value.encode(LATIN_1, "replace")


def _quoted(value: bytes) -> str:
    text = value.decode(LATIN_1)
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
