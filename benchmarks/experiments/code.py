"""What the code of a package does, as a hash: a part of the key of everything that `cache` keeps.

Run `python -m benchmarks code-hash` for the hash of the code as it is.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from threading import Lock
from types import MappingProxyType

from benchmarks.measure.commands import ROOT

PACKAGE = "convert"  # the one whose code is part of keys; `edge-har train --describe` states its own
OURS = ("edge_har", "train", "convert", "benchmarks")
# Modules whose changes change no figure: the text of cards and of the command,
# the environments of older runtimes.
TEXTS = ("card.py", "cli.py", "runtimes.py")

# Hash of code that does what earlier code did -> the hash that keys were made with, so that what was made
# before a change of names or files alone is not made again.
# An entry needs the reason; `code-hash` prints its left side.
CARRIED_OVER: Mapping[str, str] = MappingProxyType(
    {
        # Modules moved into folders and classes got the field's names; behaviour is that of commit 1a06a19,
        # whose own function gave the right side (on Python 3.11).
        "1654e3ce017eda96645be4e3ce946a5c9d5f0b44de7cab011da1b0a7c07d0bb7": (
            "dcf491d33f986149cf2ff6cb34ec19097649fbe5aba2923dc869b3675b27d000"
        ),
        # Clips of `_other` in the validation groups of a refit count no events, and no set of a page has such
        # clips; comparisons have bars; a control is made on request, as pages always had it. Everything else
        # is that of commit c8fd6a7.
        "f9f7cea8fe2b2fecaa9ba9a59a247011442d7097cf18400ea2792cbbf00cc563": (
            "3b8c1038d4a1a0af1d20cf9091c72eced0546870e00a2580b4474e6122886651"
        ),
    }
)


# Python 3.11's parser fails at random where two threads parse at once, as folds that run side by side would.
_PARSING = Lock()


def package_sha256(package: str = PACKAGE, *, carried_over: Mapping[str, str] = CARRIED_OVER) -> str:
    """The hash that keys are made with: `code_sha256`, or the earlier one that it carries over."""
    with _PARSING:
        current = code_sha256(package)
    return carried_over.get(current, current)


def code_sha256(package: str = PACKAGE) -> str:
    """Hash of the statements at the top level of a package's modules,
    in no order and without their modules' names.

    So it stays as it is when code moves to another module or folder. Docstrings, comments, formatting, the
    module that a name of our own is imported from, and the files of TEXTS do not count;
    names of variables do.
    """
    imports: set[str] = set()
    definitions: list[str] = []
    for path in (ROOT / package).rglob("*.py"):
        if path.name in TEXTS:
            continue
        tree = _without_modules(_without_docstrings(ast.parse(path.read_text(encoding="utf-8"))))
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imports.update(_each_name(node))
            else:
                definitions.append(_text(node))
    parts = [*sorted(imports), *sorted(definitions)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _without_modules(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            node.module = OURS[0]
    return tree


def _each_name(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """An import as text, once for each name; nothing for a name of ours,
    whose definition counts where it is.
    """
    module = getattr(node, "module", None)
    for alias in node.names:
        if module != OURS[0] or alias.asname:
            yield f"import {module} {alias.name} {alias.asname}"


def _text(node: object) -> str:
    """A syntax tree as text that is the same on every Python version: fields that are empty do not count."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({', '.join(f'{name}={_text(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    return repr(node)
