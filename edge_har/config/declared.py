"""Options of the configuration file that belong to no room below:
what is logged, the bundle, a source's name.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_har.options.fields import check_values, option
from edge_har.options.kinds import PATH, TEXT, TRUTH, choice

LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
VERBOSE = "debug"  # the level at which all is written
AUTO, PLAIN, JOURNALD = "auto", "plain", "journald"


@dataclass(frozen=True)
class LogOptions:
    """What is logged on standard error. Raises MisuseError for a level or form that there is not."""

    level: str = option(
        choice(*LEVELS),
        "of standard error: `error` (`-q`), `warning`, `info` (with a readable line per event where "
        "standard output is no terminal) or `debug` (`-v`: also what C libraries write)",
        default="info",
    )
    form: str = option(
        choice(AUTO, PLAIN, JOURNALD),
        "`plain`, `journald` (each line begins with its priority, `<4>`), or `auto`: `journald` where "
        "systemd's "
        "journal reads standard error",
        default=AUTO,
        command_line="--log-format",
    )

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class MainOptions:
    """Options that stand before the first table, besides those of RunOptions."""

    model: str | None = option(
        PATH,
        "a bundle (.ehar), or a folder such as `DIR/current`, which is watched",
        otherwise="the shipped model",
        default=None,
        command_line="--model",
    )
    display: bool = option(
        TRUTH, "show what is seen in a window", default=False, fixed=True, command_line="--display"
    )


@dataclass(frozen=True)
class SourceNames:
    """What a [[source]] has besides SourceOptions."""

    name: str | None = option(
        TEXT,
        "what events call it: letters, digits, `_`, `-`",
        otherwise="the address, password masked",
        default=None,
    )
    uri: str = option(TEXT, "the address", needed=True, secret=True, address=True)
