"""Addresses of sources: what may be shown of them, and the credentials that may not."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

MASK = "***"
SECRET_QUERY = re.compile(r"(?i)([?&;][^=&;#]*(?:pass|pwd|token|secret|auth|key)[^=&;#]*=)[^&;#]*")
USER_INFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)@")


def mask_uri(uri: str) -> str:
    """`uri` with its password, and query values that are called like one, shown as ***."""

    def mask_user(found: re.Match[str]) -> str:
        user, colon, _ = found[2].partition(":")
        return f"{found[1]}{user}{colon and ':' + MASK}@"

    return SECRET_QUERY.sub(rf"\g<1>{MASK}", USER_INFO.sub(mask_user, uri))


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
