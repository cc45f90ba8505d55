"""A hook of mkdocs: a link to a file that is not on the site becomes the name of that file."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?P<path>\.\./[^)#\s]+)[^)]*\)")
ROOT = "docs"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text, with links that leave `docs` replaced; mkdocs calls it once per page."""
    folder = (ROOT, *PurePosixPath(page.file.src_uri).parent.parts)

    def replaced(found: re.Match[str]) -> str:
        parts = list(folder)
        for part in PurePosixPath(found["path"]).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        if parts[:1] == [ROOT]:
            return found[0]
        return f"{found[1]} (`{'/'.join(parts)}` in the checkout)"

    return LINK.sub(replaced, markdown)
