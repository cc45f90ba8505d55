"""A new configuration file: what is set in it, and every other key as a comment that says what it does."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from edge_har.config.file import EVENTS, LABEL, LOG, SOURCE, TOP, WEB
from edge_har.config.toml import value_text
from edge_har.errors import MisuseError
from edge_har.options.addresses import holds_password, mask_uri, parse_url
from edge_har.options.fields import Option, options_of
from edge_har.options.secrets import FROM_FILE
from edge_har.sinks import SCHEMES, options_class, options_of_text
from edge_har.sources import parse_address
from edge_har.sources.named import NAMED, named_source
from edge_har.system.files import PRIVATE_FILE_MODE, expand_user, make_private_folder, open_private
from edge_har.web.options import DEFAULT_LISTEN, WebOptions, is_loopback

TOKEN_BYTES = 24
HEAD = """\
# Settings of `edge-har run --config {name}`, written by `edge-har config init`.
# A key behind a # is not set: without it what the comment says holds. docs/config.md has every key.
# `edge-har config check {name}` says what it would do, or what is wrong in it.
"""
SINKS_HINT = "# Each [[sink]] is a place where events or pictures go as well; docs/sinks.md has the kinds."


@dataclass
class Draft:
    """What a new file sets. path: of the file. Secrets are not in it: they get files of their own, in a
    folder beside it that is called like it.

    model: a bundle's path. sources, sinks: a table each, with the keys of the file; web: None: no page.
    secret_files: by path relative to the folder of the file, what is written to it.
    """

    path: Path
    model: str | None = None
    sources: list[dict[str, Any]] = field(default_factory=list)
    sinks: list[dict[str, Any]] = field(default_factory=list)
    web: dict[str, Any] | None = None
    secret_files: dict[str, str] = field(default_factory=dict, repr=False)

    def add_source(self, text: str, password: str | None = None) -> None:
        """A source as `[NAME=]URI`; a password in the address goes to a file of its own.

        A relative path begins in the current folder. Raises MisuseError.
        """
        named_source(text)
        found = NAMED.fullmatch(text)
        table = {"name": found[1], "uri": found[2]} if found else {"uri": text}
        address = parse_address(table["uri"])
        if address.kind == "files" and "://" not in table["uri"]:
            table["uri"] = str(Path.cwd() / expand_user(table["uri"]))
        if holds_password(table["uri"]):
            table["uri"], password = _without_password(table["uri"])
        if password:
            table["password_file"] = self._secret(f"{table.get('name', 'source')}-password", password)
        self.sources.append(table)

    def add_sink(self, text: str, password: str | None = None) -> None:
        """A sink in one line, by the grammar of `run --sink`. Raises MisuseError."""
        options_of_text(text)
        scheme, _, rest = text.partition(":")
        kind = options_class(SCHEMES[scheme])
        address, _, query = rest.partition(kind.query_mark)
        table: dict[str, Any] = {"kind": kind.kind, **kind.of_address(scheme, address)}
        declared = options_of(kind)
        for key, value in parse_qsl(query, keep_blank_values=True):
            table[key] = declared[key].read_text(value) if key in declared else value
        for key, value in table.items():
            option = declared.get(key)
            if option and option.kind.is_path and value not in option.words:
                table[key] = str(Path.cwd() / expand_user(value))
        table = {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}
        if password:
            name = str(table.get("name", kind.kind))
            table[f"password{FROM_FILE}"] = self._secret(f"{name}-password", password)
        self.sinks.append(table)

    def set_web(self, listen: str = DEFAULT_LISTEN) -> None:
        """A live page at HOST:PORT; beyond this machine it gets a token. Raises MisuseError."""
        self.web = {"listen": listen}
        host, _ = WebOptions(listen, token="-" * 16).address
        if not is_loopback(host):
            self.web[f"token{FROM_FILE}"] = self._secret("web-token", secrets.token_urlsafe(TOKEN_BYTES))

    def text(self) -> str:
        """The file."""
        return "".join(f"{line}\n" for line in self._lines())

    def write_secrets(self) -> list[Path]:
        """Write the files of secrets, which only their owner may read; their paths. Raises OSError, and
        FileExistsError for one that is there.
        """
        written = []
        for name, value in self.secret_files.items():
            path = self.path.absolute().parent / name
            make_private_folder(path.parent)
            with os.fdopen(open_private(path, os.O_WRONLY | os.O_EXCL), "w", encoding="utf-8") as file:
                file.write(f"{value}\n")
            path.chmod(PRIVATE_FILE_MODE)
            written.append(path)
        return written

    def _secret(self, name: str, value: str) -> str:
        """The path of a file for a secret, relative to the folder of the file."""
        path = f"{self.path.stem}/{name}"
        number = 2
        while path in self.secret_files:
            path, number = f"{self.path.stem}/{name}-{number}", number + 1
        self.secret_files[path] = value
        return path

    def _lines(self) -> Iterator[str]:
        yield from HEAD.format(name=self.path.name).splitlines()
        yield ""
        yield from table_lines(TOP, {} if self.model is None else {"model": self.model})
        for source in self.sources:
            yield from ("", "[[source]]")
            yield from table_lines(SOURCE, source)
        yield from ("", "[events]")
        yield from table_lines(EVENTS, {})
        yield from ("", "# A label that is not as all others; NAME is one of the model's.", "#[labels.NAME]")
        yield from table_lines(LABEL, {})
        yield from ("", SINKS_HINT)
        for sink in self.sinks:
            kind = options_class(sink["kind"])
            yield from ("", "[[sink]]", f"kind = {value_text(kind.kind)}")
            yield from table_lines(options_of(kind), {k: v for k, v in sink.items() if k != "kind"})
        yield from ("", "# The live page is served if this table is there.")
        yield "#[web]" if self.web is None else "[web]"
        yield from table_lines(WEB, self.web or {})
        yield from ("", "[log]")
        yield from table_lines(LOG, {})


def table_lines(options: Mapping[str, Option], values: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table: what is set, and every other option as a comment, each below what it means."""
    for name, declared in options.items():
        names = (name, f"{name}_env", f"{name}_file") if declared.secret else (name,)
        given = {key: value for key, value in values.items() if key in names}
        yield f"# {declared.help.replace('`', '')}"
        if given:
            yield from (f"{key} = {value_text(value)}" for key, value in given.items())
        elif declared.secret and not declared.address:
            yield f"#{name}{FROM_FILE} ="
        elif declared.default in (None, (), "") or declared.otherwise:
            without = declared.otherwise.replace("`", "")
            yield f"#{name} =" + f"   # without it: {without}" * bool(without)
        else:
            yield f"#{name} = {value_text(declared.default)}"


def _without_password(uri: str) -> tuple[str, str]:
    """An address without its password, and the password."""
    user = password = None
    with suppress(ValueError):
        url = parse_url(uri)
        user, password = url.credentials
    if not user or not password:
        raise MisuseError(
            f"{mask_uri(uri)}: write the address as scheme://USER:PASSWORD@HOST/..., or without a password"
        )
    bare = (
        f"{url.scheme}://{url.user_info.partition(':')[0] if url.user_info else ''}@{url.authority}{url.rest}"
    )
    if holds_password(bare):
        raise MisuseError(f"{mask_uri(uri)}: its password cannot be taken out of it; use password_file")
    return bare, password
