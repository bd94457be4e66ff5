"""The house is as CONTRIBUTING.md draws it: every module has its place, imports point one way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rtpush"
MODULES = sorted(PACKAGE.glob("**/*.py"))
SCRIPTS = sorted((ROOT / "client").glob("*.js")) + sorted((ROOT / "client/rtpush").glob("*.js"))
# A longer module holds more than one thing: split it by what it holds.
MAX_LINES = 400
# So does a class.
MAX_CLASS_LINES = 300


def places() -> dict[str, int]:
    """Module or folder → its row in the table of modules."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.split("Imports point up this list", 1)[1].split("\n\nData flows", 1)[0]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    return {
        name.rstrip("/"): number
        for number, row in enumerate(rows)
        for name in re.findall(r"`([\w/]+)`", row.split(" | ")[0])
    }


PLACES = places()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def place(parts: tuple[str, ...]) -> int | None:
    """Of a module, by its own name or its folder's; None for the package itself."""
    return None if parts in ((), ("__init__",), ("__main__",)) else PLACES[parts[0]]


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports of this package when it is loaded."""
    own = path.relative_to(PACKAGE).with_suffix("").parts
    # What is imported inside a function or for types alone binds nothing when it is loaded.
    for node in parsed(path).body:
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        above = own[: len(own) - node.level]
        if node.module:
            yield (*above, *node.module.split("."))
        else:
            yield from ((*above, alias.name) for alias in node.names)


def test_imports_point_one_way() -> None:
    downwards = [
        f"{path}: {'.'.join(parts)}"
        for path in MODULES
        if (own := place(path.relative_to(PACKAGE).with_suffix("").parts)) is not None
        for parts in imported(path)
        if (other := place(parts)) is not None and other > own
    ]
    assert not downwards


def test_every_module_opens_with_what_it_is_for() -> None:
    assert [path for path in MODULES if not ast.get_docstring(parsed(path))] == []


def test_no_module_is_too_long() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in [*MODULES, *SCRIPTS]}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_no_class_is_too_long() -> None:
    long = [
        (path, node.name)
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_CLASS_LINES
    ]
    assert long == []


def test_no_module_needs_the_face_of_the_package() -> None:
    needing = []
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.ImportFrom):
                continue
            # `from .. import name` at this depth takes the name from rtpush/__init__.py.
            if node.level == len(own) and not node.module:
                needing += [(path, alias.name) for alias in node.names if alias.name not in PLACES]
            elif not node.level and node.module == "rtpush":
                needing.append((path, node.module))
    assert not needing


def test_every_place_is_taken() -> None:
    here = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in MODULES}
    assert set(PLACES) == here - {"__init__", "__main__"}
