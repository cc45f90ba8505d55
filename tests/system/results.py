"""What the tests of whole systems found, for the page."""

from __future__ import annotations

from collections.abc import Callable

Noted = Callable[[str], None]  # takes a sentence for the page
