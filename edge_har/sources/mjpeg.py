"""Motion JPEG over HTTP, read by our own hands: FFmpeg invents 25 fps for it; here a frame's time is its
arrival.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from edge_har import __version__
from edge_har.errors import MisuseError, SourceError
from edge_har.options.addresses import mask_uri, split_credentials
from edge_har.sources.pictures import PictureStream

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
CHUNK_BYTES = 64 * 1024
STREAM_TYPES = ("multipart/", "video/x-motion-jpeg", "video/x-jpeg", "application/octet-stream")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class MjpegSource(PictureStream):
    """A camera or program that sends motion JPEG over HTTP.

    User and password stand in the URL (basic or digest).

    Raises MisuseError for an address that cannot be, SourceError when nothing responds or it is no motion
    JPEG; neither shows the password.
    """

    def __init__(
        self, url: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        super().__init__(mask_uri(url), read_timeout_s)
        try:
            bare, user, password = split_credentials(url)
        except ValueError:
            raise MisuseError(
                f"{self.name}: expected http://HOST:PORT/PATH, with a port of 1 to 65535"
            ) from None
        try:
            # The timeout is that of the socket: it holds for every later read too.
            self._response = _opener(bare, user, password).open(
                urllib.request.Request(bare, headers={"User-Agent": f"edge-har/{__version__}"}),
                timeout=min(open_timeout_s, read_timeout_s),
            )
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceError(
                f"{self.name}: the server answers {error.code} {error.reason}; check path, user and password"
            ) from None
        except urllib.error.URLError as error:
            raise SourceError(f"{self.name}: cannot be reached: {_reason(error.reason)}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"{self.name}: cannot be opened: {_reason(error)}") from None
        kind = self._response.headers.get_content_type()
        if "Content-Type" in self._response.headers and not kind.startswith(STREAM_TYPES):
            self.close()
            raise SourceError(f"{self.name}: sends {kind}, not motion JPEG; download it and name the file")

    def read(self, timeout_s: float) -> bytes | None:
        """More bytes, as soon as there are any; how long that may take is set on the socket."""
        try:
            return bytes(self._response.read1(CHUNK_BYTES))
        except (OSError, HTTPException, ValueError, AttributeError) as error:
            # AttributeError: closed by another thread while reading
            raise SourceError(f"{self.name}: the stream broke off: {_reason(error)}") from None

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def _opener(url: str, user: str, password: str) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = []
    if user or password:
        known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        known.add_password(None, url, user, password)
        handlers += [urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)]
    if urlsplit(url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _reason(error: object) -> str:
    """One line about an error that cannot hold a password: the system's message, or the error's kind."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
