"""Every public name: typed, documented, and where a user looks for it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import rtpush

ROOT = Path(__file__).parents[2]
CLASSES = [name for name in rtpush.__all__ if inspect.isclass(getattr(rtpush, name))]


def members(name: str) -> Iterator[tuple[str, Any]]:
    """What is public of a class, but for what it has from Python's own."""
    cls = getattr(rtpush, name)
    for base in cls.__mro__:
        if base.__module__.startswith("rtpush"):
            for member, value in vars(base).items():
                if not member.startswith("_"):
                    yield member, value


def used_names() -> set[str]:
    tree = ast.parse((ROOT / "tests/project/typed/public.py").read_text())
    nodes = list(ast.walk(tree))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


def test_types_are_shipped() -> None:
    assert resources.files("rtpush").joinpath("py.typed").is_file()


def test_the_typed_file_uses_all_that_is_public() -> None:
    public = set(rtpush.__all__)
    for name in set(CLASSES) - {"Settings", "Server"}:
        public |= {member for member, _ in members(name)}
    # What an application uses of a server; its parts are the house's affair.
    public |= {name for name, value in members("Server") if inspect.isfunction(value)}
    assert public - used_names() == set()


@pytest.mark.parametrize("name", rtpush.__all__)
def test_all_that_is_public_says_what_it_is(name: str) -> None:
    if name == "__version__":
        return
    assert inspect.getdoc(getattr(rtpush, name)), name
    for member, value in members(name) if name in CLASSES else ():
        if inspect.isfunction(value) or isinstance(value, property | classmethod):
            assert inspect.getdoc(getattr(getattr(rtpush, name), member)), f"{name}.{member}"


def test_all_that_is_public_is_in_the_documents() -> None:
    pages = "".join(page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
    missing = {name for name in rtpush.__all__ if name not in pages and name != "__version__"}
    for name in set(CLASSES) - {"Settings"}:
        for member, value in members(name):
            if inspect.isfunction(value) and member not in pages:
                missing.add(f"{name}.{member}")
    assert missing == set()


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sever'"):
        rtpush.Sever  # noqa: B018
    assert set(rtpush.__all__) <= set(dir(rtpush))
