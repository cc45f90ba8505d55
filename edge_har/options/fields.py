"""One declaration of an option: a dataclass field that carries all that readers, help,
page and schema need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from edge_har.errors import MisuseError
from edge_har.options.addresses import MASK
from edge_har.options.kinds import Kind
from edge_har.system.files import is_utf8

KEY = "option"  # of a field's metadata
NO_PATHS = ("-", "off")  # what a path of a configuration file never means


@dataclass(frozen=True)
class Option:
    """What is known of an option.

    name: its key. default: what holds without it. help: one sentence for the page and for the help of a
    command; code stands between back-ticks. low, high, above: the range of its values. needed: it must be
    given. secret: its value is never shown, and a table names where it stands: NAME_env, NAME_file. address:
    a secret that may stand in the file as long as no password is seen in it. fixed: it cannot change while a
    run goes on. table: where it stands in the file, if not where the rest of its class does. command_line:
    its name there. words: values of a path that are no path. otherwise: what holds where nothing is given and
    the default does not say it (None, or an empty list).
    """

    name: str
    kind: Kind
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    needed: bool = False
    secret: bool = False
    address: bool = False
    fixed: bool = False
    table: str | None = None
    command_line: str | None = None
    words: tuple[str, ...] = NO_PATHS
    otherwise: str = ""

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        return ", ".join(part for part in (self.kind.expected, self._range()) if part)

    def read(self, value: object) -> Any:
        """A value of a table of the file. Raises TypeError, ValueError or MisuseError."""
        return self._within_range(self.kind.read(value))

    def read_text(self, text: str) -> Any:
        """A value from a text, as in `option=value` or on the command line. Raises as `read`."""
        return self._within_range(self.kind.read_text(text))

    def read_loosely(self, value: object) -> Any:
        """As `read`, and texts as `read_text`: tables of sources and sinks take what their addresses take."""
        if isinstance(value, str):
            return self.read_text(value)
        if isinstance(self.default, bool) and type(value) is int:
            return self.read_text(str(value))
        return self.read(value)

    def is_within_range(self, value: Any) -> bool:
        """Whether `value`, which is of the kind, is one that it may have."""
        if self.kind.choices:
            return value in self.kind.choices
        low, high, above = self._limits()
        if (low, high, above) == (None, None, None):
            return True
        return (
            math.isfinite(value)
            and (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
        )

    def shown(self, value: Any) -> Any:
        """A value for people: a secret as ***."""
        return MASK if self.secret and value else value

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of a value in the file."""
        low, high, above = self._limits()
        found = {"minimum": low, "maximum": high, "exclusiveMinimum": above}
        limits = {key: limit for key, limit in found.items() if limit is not None}
        if self.kind.above is not None:
            del limits["exclusiveMinimum"]  # 0 stands in a file for no limit
        schema = dict(self.kind.schema)
        if "anyOf" in schema:
            schema["anyOf"] = [
                {**one, **limits} if one["type"] in ("number", "integer") else one for one in schema["anyOf"]
            ]
        else:
            schema |= limits
        schema["description"] = self.help
        if self.default not in (None, "", (), MISSING):
            schema["default"] = self.default
        return schema

    def _limits(self) -> tuple[float | None, float | None, float | None]:
        return (
            self.kind.low if self.low is None else self.low,
            self.kind.high if self.high is None else self.high,
            self.kind.above if self.above is None else self.above,
        )

    def _within_range(self, value: Any) -> Any:
        if value is not None and not self.is_within_range(value):
            raise ValueError(f"{value!r} is out of range")
        return value

    def _range(self) -> str:
        low, high, above = self._limits()
        # That a time is 0 or more goes without saying.
        low = None if low == self.kind.low and high is None else low
        above = None if above == self.kind.above else above
        if above is not None:
            return f"above {above:g}" + ("" if high is None else f" and at most {high:g}")
        if low is not None:
            return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
        return "" if high is None else f"at most {high:g}"


def option(
    kind: Kind,
    help: str,
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | None = None,
    kw_only: bool = False,
    secret: bool = False,
    needed: bool = False,
    **more: Any,
) -> Any:
    """A dataclass field that is an option; see `Option` for what it takes.
    needed: without a default it is an empty text.

    A secret is not in the `repr` of the class.
    """
    if needed and default is MISSING:
        default = ""
    metadata = {KEY: {"kind": kind, "help": help, "secret": secret, "needed": needed, **more}}
    given: dict[str, Any] = {"repr": not secret, "metadata": metadata}
    if kw_only:
        given["kw_only"] = True
    if default_factory is not None:
        return field(default_factory=default_factory, **given)
    return field(default=default, **given)


def options_of(cls: type[Any]) -> dict[str, Option]:
    """The options that a dataclass declares, by name; other fields are absent."""
    return {
        f.name: Option(name=f.name, default=f.default, **f.metadata[KEY])
        for f in fields(cls)
        if KEY in f.metadata
    }


def check_values(options: Any, prefix: str = "") -> None:
    """Raise MisuseError for the first value of a dataclass of options that is out of its range, or a
    text, other than a path, that is not UTF-8.

    prefix: what the message begins with.
    """
    for name, declared in options_of(type(options)).items():
        value = getattr(options, name)
        if value is None and declared.default is None:
            continue
        if isinstance(value, str) and not (declared.kind.is_path or is_utf8(value)):
            raise MisuseError(f"{prefix}{name} holds bytes that are not UTF-8")
        if not declared.is_within_range(value):
            got = "" if declared.secret else f", got {value!r}"
            expected = declared.kind.expected_value or declared.expected
            raise MisuseError(f"{prefix}{name} must be {expected}{got}")
