"""Tables and query strings to values of options: every problem is reported, by key, and never a secret."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from edge_har.errors import EdgeHarError, MisuseError, printable
from edge_har.options.addresses import holds_password, mask_uri
from edge_har.options.fields import Option
from edge_har.options.secrets import FROM_ENVIRONMENT, FROM_FILE, base_of, look_up
from edge_har.system.files import expand_user

BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
MAX_SHOWN = 60  # characters of a value in a message

Made = TypeVar("Made")


class Problems:
    """What is wrong, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """A problem of the key `where`."""
        self.lines.append(printable(f"{where}: {what}" if where else what))

    @contextmanager
    def caught(self, where: str) -> Iterator[None]:
        """What is raised on purpose becomes a problem of `where`."""
        try:
            yield
        except EdgeHarError as error:
            self.add(where, str(error))

    def check_name(self, where: str, what: str, name: str, known: Iterable[str]) -> None:
        """A problem where `name` is not among those known."""
        known = tuple(known)
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            self.add(where, f"no {what} is called {name!r}; {hint}")


class OptionReader(Problems):
    """Reads tables and query strings, and goes on after a problem.

    folder: where relative paths begin; None: they stay as they are. hint: where an unknown key belongs, from
    the table and the key; None: nowhere. show_values: whether messages quote values.
    """

    def __init__(
        self,
        folder: Path | None = None,
        hint: Callable[[str, str], str | None] = lambda at, key: None,
        show_values: bool = True,
    ) -> None:
        super().__init__()
        self.folder = folder
        self._hint = hint
        self._show_values = show_values

    def values(
        self,
        table: Mapping[str, Any],
        at: str,
        options: Mapping[str, Option],
        *,
        loosely: bool = False,
        more_keys: Iterable[str] = (),
    ) -> dict[str, Any]:
        """The values of a table by the names of their options; those that are wrong are missing.

        at: the table, in messages. loosely: read texts as well.
        more_keys: others that may be meant by an unknown one.
        """
        values: dict[str, Any] = {}
        for key, value in table.items():
            found = self._option_of(at, key, options, values, more_keys)
            if found is None:
                continue
            try:
                if found.name != key:
                    value = look_up(key, value, self.folder)
                elif found.secret:
                    _check_no_secret(found, value)
                read = found.read_loosely(value) if loosely else found.read(value)
                values[found.name] = self._path(found, read)
            except (TypeError, ValueError, OverflowError) as error:
                self._add_wrong(join(at, key), found, value, error)
        return values

    def query(
        self, query: str, at: str, options: Mapping[str, Option], given: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The values of `option=value&option=value`, and those of `given`, which its address has.

        Raises MisuseError with all that is wrong.
        """
        values: dict[str, Any] = {}
        for name, text in (given or {}).items():
            try:
                values[name] = options[name].read_loosely(text)
            except (TypeError, ValueError) as error:
                self._add_wrong(join(at, name), options[name], text, error)
        for key, text in parse_qsl(query, keep_blank_values=True):
            found = self._option_of(at, key, options, values, ())
            if found is None:
                continue
            if found.secret and found.name == key:
                self.add(join(at, key), f"would show in the list of processes: use {key}_env or {key}_file")
                continue
            try:
                text = text if found.name == key else look_up(key, text, self.folder)
                values[found.name] = found.read_text(text)
            except (TypeError, ValueError, OverflowError) as error:
                self._add_wrong(join(at, key), found, text, error)
        self.end()
        return values

    def make(
        self, at: str, keys: Iterable[str], made: Callable[..., Made], values: Mapping[str, Any]
    ) -> Made | None:
        """What the values make; None, and a problem, where they do not go together."""
        try:
            return made(**values)
        except MisuseError as error:
            text = re.sub(r"^(?:\w+: |a source's )", "", str(error))
            first, _, rest = text.partition(" ")
            if first in keys:
                at, text = join(at, first), rest
            self.add(at, text)
            return None

    def path(self, text: str) -> str:
        """A path of the file: a relative one begins in its folder."""
        return str((self.folder or Path()) / expand_user(text))

    def end(self) -> None:
        """Raise MisuseError if anything was wrong."""
        if self.lines:
            raise MisuseError("; ".join(self.lines))

    def _option_of(
        self,
        at: str,
        key: str,
        options: Mapping[str, Option],
        values: Mapping[str, Any],
        more_keys: Iterable[str],
    ) -> Option | None:
        """The option that `key` sets; None, and a problem, where there is none or it is set already."""
        secrets = [name for name, found in options.items() if found.secret]
        name = key if key in options else base_of(key, secrets) or key
        if name not in options:
            self._add_unknown(at, key, options, more_keys)
            return None
        if name in values:
            self.add(join(at, key), f"{name} is given twice")
            return None
        return options[name]

    def _path(self, found: Option, value: Any) -> Any:
        if self.folder is None or not found.kind.is_path or not isinstance(value, str):
            return value
        return value if value in found.words else self.path(value)

    def _add_wrong(self, where: str, found: Option, value: object, error: Exception) -> None:
        if isinstance(error, MisuseError):
            self.add(where, str(error).removeprefix(f"{where.rpartition('.')[2]}: "))
            return
        shown = f", found {found_value(value)}" if self._show_values and not found.secret else ""
        self.add(where, f"expected {found.expected}{shown}")

    def _add_unknown(
        self, at: str, key: str, options: Mapping[str, Option], more_keys: Iterable[str]
    ) -> None:
        """A problem: there is no such key; which one may have been meant."""
        known = [name for name, found in options.items() if not found.secret or found.address]
        for name, found in options.items():
            known += [name + ending for ending in (FROM_ENVIRONMENT, FROM_FILE)] if found.secret else []
        known += more_keys
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else self._hint(at, key)
        hint = hint or f"expected one of {', '.join(known)}"
        self.add(join(at, key), f"no such key; {hint}")


def _check_no_secret(found: Option, value: object) -> None:
    """Raise MisuseError where a secret stands in the file itself."""
    name = found.name
    if not found.address:
        raise MisuseError(f"a secret does not stand here: use {name}_env or {name}_file")
    if isinstance(value, str) and holds_password(value):
        instead = "leave it out and use password_env or password_file, or" if name == "uri" else "use"
        raise MisuseError(f"a password stands in the address: {instead} {name}_env or {name}_file")


def join(at: str, *keys: str) -> str:
    """A dotted path: `at`, which is one, and keys below it; what is no bare key is quoted."""
    shown = (key if BARE_KEY.fullmatch(key) else json.dumps(_short(mask_uri(key))) for key in keys)
    return ".".join((*((at,) if at else ()), *shown))


def found_value(value: object) -> str:
    """A value as it stands in a file, short and without passwords."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(_short(mask_uri(value)), ensure_ascii=False)
    if isinstance(value, (int, float)):
        try:
            return _short(str(value))
        except ValueError:
            return "a number that is too long"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    return "a date or time"


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
