"""Every public name: typed, documented, and where a user looks for it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import rtpush

# What completion shows: what a user needs, and nothing else.
SHOWN = {
    "Server": """
        attach call close_room disconnect emit enter_room event get_session host_app leave_room
        member_id on port presence reason rooms run save_session send serve session settings sleep
        start start_background_task stop transport url
    """,
    "Client": """
        call connect connected disconnect emit event events join leave on position presence reason
        retained rooms send shutdown sid sleep start_background_task transport wait
    """,
    "SimpleClient": """
        call connect connected disconnect emit events join leave position presence receive retained
        send sid transport
    """,
    "Publisher": "close dropped flush publish publish_many rejected task",
    "AsyncPublisher": "close dropped flush publish publish_many rejected task",
}

ROOT = Path(__file__).parents[2]
# Public names whose docstrings have Google's sections.
SHAPED = ["AsyncPublisher", "Client", "Publisher", "Server", "Settings", "SimpleClient", "track"]
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
    for name in set(CLASSES) - {"Settings"}:
        public |= {member for member, _ in members(name)}
    assert public - used_names() == set()


@pytest.mark.parametrize("name", rtpush.__all__)
def test_all_that_is_public_says_what_it_is(name: str) -> None:
    if name == "__version__":
        return
    assert inspect.getdoc(getattr(rtpush, name)), name
    for member, value in members(name) if name in CLASSES else ():
        if inspect.isfunction(value) or isinstance(value, property | classmethod):
            assert inspect.getdoc(getattr(getattr(rtpush, name), member)), f"{name}.{member}"


def sections(doc: str) -> dict[str, str]:
    """The sections of a Google-style docstring, by name."""
    parts = re.split(r"^(Args|Returns|Yields|Raises):\n", doc, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def functions(name: str) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """What is called of a public name: the function, and what is said of it."""
    value = getattr(rtpush, name)
    if not inspect.isclass(value):
        yield name, value, inspect.getdoc(value) or ""
        return
    yield name, value.__init__, f"{inspect.getdoc(value)}\n\n{inspect.getdoc(value.__init__)}"
    for member, function in members(name):
        if inspect.isfunction(function):
            yield f"{name}.{member}", function, inspect.getdoc(getattr(value, member)) or ""


@pytest.mark.parametrize("name", SHAPED)
def test_public_functions_tell_their_arguments_results_and_errors(name: str) -> None:
    for shown, function, doc in functions(name):
        told = sections(doc)
        signature = inspect.signature(function)
        arguments = re.findall(r"^    \*{0,2}(\w+): ", told.get("Args", ""), re.MULTILINE)
        assert arguments == [arg for arg in signature.parameters if arg != "self"], shown
        returns = signature.return_annotation not in ("None", None, "Self")
        assert returns == ("Returns" in told or "Yields" in told), shown
        assert "Raises" not in re.sub(r"^Raises:$", "", doc, flags=re.MULTILINE), shown
        for error in re.findall(r"^    (\S.*)$", told.get("Raises", ""), re.MULTILINE):
            assert re.match(r"[\w.]+: \S", error), shown


def test_all_that_is_public_is_in_the_documents() -> None:
    pages = "".join(page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
    missing = {name for name in rtpush.__all__ if name not in pages and name != "__version__"}
    for name in set(CLASSES) - {"Settings"}:
        for member, value in members(name):
            if inspect.isfunction(value) and member not in pages:
                missing.add(f"{name}.{member}")
    assert missing == set()


def shown(value: object) -> list[str]:
    return [name for name in dir(value) if not name.startswith("_")]


@pytest.mark.parametrize("name", SHOWN)
async def test_completion_shows_what_a_user_needs(name: str) -> None:
    assert shown(getattr(rtpush, name)()) == SHOWN[name].split()


async def test_a_running_server_shows_no_more() -> None:
    async with rtpush.Server(port=0, log="memory:") as server:
        assert shown(server) == SHOWN["Server"].split()


def test_the_package_shows_what_it_exports() -> None:
    assert dir(rtpush) == sorted(rtpush.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sever'"):
        rtpush.Sever  # noqa: B018
