"""The house is as CONTRIBUTING.md draws it: every module has its place, imports point one way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rtpush"
MODULES = sorted(PACKAGE.glob("**/*.py"))


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


def place(parts: tuple[str, ...]) -> int | None:
    """Of a module, by its own name or its folder's; None for the package itself."""
    return None if parts in ((), ("__init__",), ("__main__",)) else PLACES[parts[0]]


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports of this package when it is loaded."""
    own = path.relative_to(PACKAGE).with_suffix("").parts
    # What is imported inside a function or for types alone binds nothing when it is loaded.
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        above = own[: len(own) - node.level]
        if node.module:
            yield (*above, *node.module.split("."))
        else:
            yield from ((*above, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = place(path.relative_to(PACKAGE).with_suffix("").parts)
    for parts in imported(path):
        other = place(parts)
        assert own is None or other is None or other <= own, f"{'.'.join(parts)} is further down"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_needs_the_face_of_the_package(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text())):
        # `from .. import name` at this depth takes the name from rtpush/__init__.py.
        if isinstance(node, ast.ImportFrom) and node.level == len(own) and not node.module:
            assert {alias.name for alias in node.names} <= set(PLACES)
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module != "rtpush"


def test_every_place_is_taken() -> None:
    here = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in MODULES}
    assert set(PLACES) == here - {"__init__", "__main__"}
