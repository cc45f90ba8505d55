"""Addresses of cameras and servers: one parser, for logging in and for showing them without passwords."""

from __future__ import annotations

import ipaddress
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

MASK = "***"
GSTREAMER = "gst:"
USB = "usb:"
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# A name or an address of IP, and a port.
AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::([0-9]+))?(?=[/?#]|\Z)")
PATH_BEGINS = re.compile(r"[/?#]")
NEEDS_QUOTES = re.compile(r"[/?#@\[\]\\\s\x00-\x1f\x7f]|:.*:|%(?![0-9A-Fa-f]{2})", re.DOTALL)
MAX_PORT = 65535
# Addresses within an address or a pipeline.
NESTED = re.compile(r"""=\s*["']?([A-Za-z][A-Za-z0-9+.-]*://)""")
QUOTED_NESTED = re.compile(r"(?i)((?::|%3A)(?:/|%2F){2})[^&#]*%40")
END_OF_NESTED = re.compile(r"""[\s"']|$""")
SECRET_NAME = r"(?i)((?:^|[?&;,#/_\s])[\w.-]*(?:pass|pw|token|secret|auth|key)[\w.-]*\s*=\s*)"
SECRET = re.compile(rf"{SECRET_NAME}[^&;#]*")
# A value of a pipeline: in quotes, or up to a blank that no backslash stands before.
PIPELINE_SECRET = re.compile(
    SECRET_NAME + r"""(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|(?:\\.|[^\s\\])*)""", re.DOTALL
)
PATH = re.compile(r"(?:file://)?(?=/(?!/)|\.{1,2}/|~)(?!.*:/)", re.DOTALL)
LIKE_URL = re.compile(r"(?i):/|//|^\W*(?:rtsp|http|mqtt)s?\b")
# Where an address begins in a sentence: surely, and else perhaps.
BEGINS = (re.compile(r"[^\s'\"(]*(?::/|//)"), re.compile(r"[^\s'\"(:]+:(?=\S*@)"))
TWO_WAYS = (
    "it can be read in two ways: / ? # @ in a user or password are written %2F %3F %23 %40, and so is any @ "
    "after the host"
)


@dataclass(frozen=True)
class Url:
    """An address `scheme://user:password@host:port/path?query#fragment`, as `parse_url` reads it.

    user_info: user and password as they were typed; None where there are none. authority: host and port.
    rest: from the path on, as it was typed.
    """

    scheme: str
    user_info: str | None = field(repr=False)
    authority: str
    rest: str

    @property
    def credentials(self) -> tuple[str | None, str | None]:
        """User and password without percent signs; None where there is none. Bytes that are no UTF-8 are
        lone surrogates.
        """
        if self.user_info is None:
            return None, None
        user, colon, password = self.user_info.partition(":")
        return _unquoted(user), _unquoted(password) if colon else None

    @property
    def host_and_port(self) -> tuple[str, int | None]:
        """The host in lower case and without brackets, and the port; None where none is given."""
        found = _authority_of(self.authority)
        return found[1].strip("[]").lower(), int(found[2]) if found[2] else None

    @property
    def path_and_query(self) -> str:
        """Path and query of a request to the server; begins with a slash."""
        path = self.rest.partition("#")[0]
        return path if path.startswith("/") else f"/{path}"

    def with_credentials(self, user: str, password: str) -> Url:
        """The same address for `user`, both quoted."""
        return replace(self, user_info=f"{_quoted(user)}:{_quoted(password)}")

    @property
    def text(self) -> str:
        """The address, quoted where that is needed for every other parser to read the same in it."""
        if self.user_info is None:
            return f"{self.scheme}://{self.authority}{self.rest}"
        user, password = self.credentials
        info = self.user_info
        if NEEDS_QUOTES.search(info):
            info = _quoted(user or "") + ("" if password is None else f":{_quoted(password)}")
        return f"{self.scheme}://{info}@{self.authority}{self.rest}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _unquoted(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def parse_url(text: str) -> Url:
    """Read an address as people write it: in a user and a password any character may stand as it is, but a
    colon in a user and what reads as `%40` in both.

    They end at the last `@`. One after the host belongs to the path only where it cannot be otherwise: no
    colon or no host name stands before it, or the host is an IP address, or the value of a secret or an
    address within this one holds it.

    Raises ValueError, which shows nothing of the address, where it has no host or no possible port, and where
    a password could be sent to the wrong host.
    """
    found = SCHEME.match(text)
    if found is None:
        raise ValueError("it does not begin with a word and ://")
    body = text[found.end() :]
    at = _host_begins(body)
    authority = _authority_of(body[at:])[0]
    return Url(found[1], body[: at - 1] if at else None, authority, body[at + len(authority) :])


def _host_begins(body: str) -> int:
    """Where the host begins in what follows `scheme://`: 0, or after the `@` that ends user and password."""
    early = PATH_BEGINS.split(body, maxsplit=1)[0].rfind("@") + 1
    late = body.rfind("@") + 1
    try:
        authority = _authority_of(body[early:])
    except ValueError:
        return late
    if early == late or ":" not in body[:late] or not _is_authority(body[late:]):
        return early
    of_a_secret = any(secret.end(1) < late - 1 < secret.end() for secret in SECRET.finditer(body))
    if of_a_secret or "://" in body[:late] or _is_ip_address(authority[1].strip("[]")):
        return early
    if ":" in body[:early]:
        raise ValueError(TWO_WAYS)
    return late


def _authority_of(text: str) -> re.Match[str]:
    """The host and port at the beginning of `text`. Raises ValueError where there are none."""
    found = AUTHORITY.match(text)
    if found is None or (found[2] and not 0 < int(found[2][:6]) <= MAX_PORT):
        raise ValueError("it has no host, or no possible port")
    return found


def _is_authority(text: str) -> bool:
    try:
        _authority_of(text)
    except ValueError:
        return False
    return True


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def split_credentials(url: str) -> tuple[str, str, str]:
    """`url` without its user part, and the user and password (unquoted; empty where there are none).

    Raises ValueError as `parse_url`.
    """
    parsed = parse_url(url)
    user, password = parsed.credentials
    return f"{parsed.scheme}://{parsed.authority}{parsed.path_and_query}", user or "", password or ""


def with_password(url: str, password: str) -> str:
    """`url`, which names a user, with that user's password.
    Raises ValueError where it names none, or has one.
    """
    parsed = parse_url(url)
    user, present = parsed.credentials
    if not user:
        raise ValueError("it names no user")
    if present is not None:
        raise ValueError("it has a password already")
    return parsed.with_credentials(user, password).text


# Showing ----------------------------------------------------------------------------------------------------


def mask_uri(uri: str) -> str:
    """`uri` as it may be shown: its passwords, and values that are called like one, as ***.

    What cannot be parsed is shown without anything before its last `@`; paths stay as they are.
    """
    pipeline = uri.startswith(GSTREAMER)
    if not (pipeline or _is_like_url(uri)):
        return _without_passwords(uri)
    secrets, at = PIPELINE_SECRET if pipeline else SECRET, uri.rfind("@")
    with suppress(ValueError):
        url = parse_url(uri)
        if ":" in (url.user_info or ""):
            return _without_passwords(uri.removesuffix(url.rest) + SECRET.sub(rf"\g<1>{MASK}", url.rest))
    for secret in secrets.finditer(uri):
        # A password may itself hold what looks like the name of a secret, and so the @ behind it.
        begins, ends = secret.end(1), secret.end()
        if begins <= at < ends and (begins == at or not _is_sure(uri[:begins])):
            after = secrets.sub(rf"\g<1>{MASK}", uri[ends:])
            return f"{GSTREAMER if pipeline else ''}{MASK}{after}"
        # So may a user: the colon that ends it would be masked with the value, and the password be left.
        if ":" in uri[begins:ends] and ends <= at:
            after = secrets.sub(rf"\g<1>{MASK}", uri[at:])
            return f"{GSTREAMER if pipeline else ''}{MASK}{after}"
    return _without_passwords(secrets.sub(rf"\g<1>{MASK}", uri))


def _is_sure(text: str) -> bool:
    """Whether no password begins in `text` and goes on behind it."""
    text = text.removeprefix(GSTREAMER)
    found = NESTED.search(text)
    begin = found.start(1) if found else 0
    try:
        rest = parse_url(text[begin:]).rest if ":" in text else text
    except ValueError:
        return False
    return bool(rest.strip("/")) and ":" not in rest


def mask_text(text: str) -> str:
    """A sentence that may quote an address, as a library or the reader of a command line makes it, without
    what `mask_uri` hides.
    """
    for begins in BEGINS:
        if found := begins.search(text):
            return text[: found.start()] + mask_uri(text[found.start() :])
    return text


def holds_password(uri: str) -> bool:
    """Whether a password, or what cannot be distinguished from one, stands before an `@` of `uri`.

    Values of a query do not count, whatever they are called.
    """
    if "@" not in uri or not (_is_like_url(uri) or uri.startswith(GSTREAMER)):
        return False
    return _without_passwords(uri) != uri


def _is_like_url(text: str) -> bool:
    return LIKE_URL.search(text) is not None and not _is_path(text)


def _is_path(text: str) -> bool:
    return PATH.match(text) is not None or os.path.exists(text)


def _without_passwords(text: str) -> str:
    if text.startswith(GSTREAMER):
        return GSTREAMER + _shown_nested(text.removeprefix(GSTREAMER))
    if SCHEME.match(text) and not PATH.match(text):
        return _shown_url(text)
    return text if _is_path(text) else _hidden(text)


def _shown_url(text: str) -> str:
    """What may be shown of what begins with `scheme://`."""
    try:
        url = parse_url(text)
    except ValueError:
        return _hidden(text)
    rest = url.rest
    if NESTED.search(rest):
        rest = _shown_nested(rest)
    elif "@" in rest and not _is_ip_address(url.host_and_port[0]) and _hidden(text) != text:
        # It was not taken for a password, but who mistyped the host may have meant one.
        return _hidden(text)
    rest = QUOTED_NESTED.sub(rf"\g<1>{MASK}%40", rest)
    user = ""
    if url.user_info is not None:
        name, colon, _ = url.user_info.partition(":")
        if PATH_BEGINS.search(name) and SECRET.search(name):
            # Shown, its sign of a path would have the next reader take what follows for a secret's value.
            name = MASK
        user = f"{name}:{MASK}@" if colon else f"{name}@"
    return f"{url.scheme}://{user}{url.authority}{rest}"


def _shown_nested(text: str) -> str:
    """What may be shown of a text in which an address may stand behind `=`."""
    found = NESTED.search(text)
    if found is None or not {":", "@"}.isdisjoint(text[: found.start(1)]):
        return _hidden(text)
    begin = found.start(1)
    end = END_OF_NESTED.search(text, max(begin, text.rfind("@")))
    assert end is not None
    return text[:begin] + _shown_url(text[begin : end.start()]) + text[end.start() :]


def _hidden(text: str) -> str:
    """`text`, of which nobody knows how it is meant, without anything that could be a password."""
    before, _, after = text.rpartition("@")
    scheme = SCHEME.match(before)
    if ":" in before.removeprefix(USB)[scheme.end() if scheme else 0 :]:
        return f"{MASK}@{after}"
    found = SCHEME.search(text)
    if found is not None and ":" in PATH_BEGINS.split(text[found.end() :], maxsplit=1)[0]:
        try:
            parse_url(text[found.start() :])
        except ValueError:
            return f"{text[: found.end()]}{MASK}"
    return text
