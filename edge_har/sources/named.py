"""What a run follows: a source's name and how it is opened."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from edge_har.errors import MisuseError, printable
from edge_har.options.addresses import mask_uri
from edge_har.sources import open_source
from edge_har.sources.base import Source

NAME = re.compile(r"[A-Za-z0-9_-]+")
MISNAMED = re.compile(  # a word that is no name, before what can only be an address
    r"(?!gst:)([^=/?#]*)=(?=[a-z][a-z0-9+.-]*://|(?:synthetic|usb|csi|gst):|/dev/|\d+$)", re.IGNORECASE
)
NAMED = re.compile(rf"({NAME.pattern})=(.+)", re.DOTALL)


@dataclass(frozen=True)
class NamedSource:
    """A source to follow.

    name: what events call it, without secrets. open: opens it, as often as it must be.
    """

    name: str
    open: Callable[[], Source] = field(repr=False, compare=False)


def named_source(text: str, *, realtime: bool = False) -> NamedSource:
    """The source that `URI` or `NAME=URI` means; without a name it is called by its URI, password masked
    and what cannot be shown as escapes: events, topics and window titles are text.

    A name is letters, digits, `_` and `-`: an `=` further on belongs to the URI. realtime: play files by the
    clock. Raises MisuseError where there is no URI, or where what comes before one is no name.
    """
    named = NAMED.fullmatch(text)
    if not named and (misnamed := MISNAMED.match(text)) and not os.path.exists(text):
        raise MisuseError(f"a source's name is letters, digits, _ and -, got {mask_uri(misnamed[1])!r}")
    name, uri = (named[1], named[2]) if named else (printable(mask_uri(text)), text)
    if not uri.strip():
        raise MisuseError("a source needs an address; expected URI or NAME=URI")
    return NamedSource(name, partial(open_source, uri, realtime=realtime))


def check_names(sources: Iterable[NamedSource]) -> None:
    """Raises MisuseError where two sources have the same name, as their events could not be distinguished."""
    for name, times in Counter(source.name for source in sources).items():
        if times > 1:
            raise MisuseError(f"{times} sources are called {name}; give each a name: --source NAME=URI")
