"""The tables of keys in docs/config.md, made from the declarations:
`python -m edge_har.config.page docs/config.md`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from edge_har.config.file import all_tables
from edge_har.options.fields import Option
from edge_har.system.files import write_atomically

# What stands between these two lines is replaced by the table that the first one names.
MARKED = re.compile(r"(<!-- table: (?P<table>[^>]*?) -->\n).*?(?=<!-- end of the table -->)", re.DOTALL)


def markdown_of(options: dict[str, Option]) -> str:
    """A Markdown table of options: key, default, meaning."""
    rows = [f"| `{o.name}` | {_default(o)} | {_meaning(o)} |\n" for o in options.values()]
    meaning = "Meaning" + "; on the command line" * any(o.command_line for o in options.values())
    return "".join((f"\n| Key | Default | {meaning} |\n|---|---|---|\n", *rows, "\n"))


def with_tables(page: str) -> str:
    """`page` with its tables made again. Raises KeyError for a table that there is not."""
    tables = all_tables()
    return MARKED.sub(lambda found: found[1] + markdown_of(tables[found["table"].removeprefix("top")]), page)


def _default(declared: Option) -> str:
    default = declared.default
    if declared.needed:
        return "needed"
    if default is None or default == ():
        return declared.otherwise or "-"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int) and default >= 1_000_000:
        return f"{default / 1_000_000:g}M"
    return f"{default:g}" if isinstance(default, (int, float)) else f"`{default}`"


def _meaning(declared: Option) -> str:
    text = declared.help
    if declared.address:
        text += f" (may be secret: `{declared.name}_env`, `{declared.name}_file`)"
    elif declared.secret:
        text += " (secret)"
    return text if declared.command_line is None else f"{text}. `{declared.command_line}`"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        write_atomically(path, with_tables(path.read_text(encoding="utf-8")).encode())
