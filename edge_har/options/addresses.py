"""Addresses of sources: what may be shown of them, and the credentials that may not."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

MASK = "***"
GSTREAMER = "gst:"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# As people write them: the password may hold / ? # and @. Digits up to a slash after a colon are a port.
USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#@:\s\[]*):(?!\d{1,5}(?:[/?#\s]|$))(\S*)@")
SECRET = re.compile(
    r"(?i)((?:^|[?&;,#/_\s])[\w.-]*(?:pass|pw|token|secret|auth|key)[\w.-]*=)(\"[^\"]*\"|[^&;#\s]*)"
)


def mask_uri(uri: str) -> str:
    """`uri` with its passwords, and values that are called like one, shown as ***;
    plain paths stay as they are.
    """
    if not (URL.search(uri) or uri.startswith(GSTREAMER)):
        return uri
    return SECRET.sub(rf"\g<1>{MASK}", USER_INFO.sub(rf"\g<1>\g<2>:{MASK}@", uri))


def split_credentials(url: str) -> tuple[str, str, str]:
    """`url` without its user part, and the user and password (unquoted; empty where there are none).

    Raises ValueError for a URL that cannot be parsed.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not parts.hostname or parts.port == 0:
        raise ValueError("it has no host")
    bare = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    return bare, unquote(parts.username or ""), unquote(parts.password or "")


def with_password(url: str, password: str) -> str:
    """`url`, which names a user, with that user's password.
    Raises ValueError where it names none, or has one.
    """
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        raise ValueError("it names no user")
    if ":" in user:
        raise ValueError("it has a password already")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))
