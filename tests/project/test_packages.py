"""What people who install a release find in it."""

from __future__ import annotations

import ast
import re
import socket
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def imported(path: Path) -> set[str]:
    """The libraries that a module imports, also inside functions."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def required(requirements: list[str]) -> set[str]:
    names = {re.match(r"[\w-]+", one)[0] for one in requirements}  # type: ignore[index]
    return {NAMED_OTHERWISE.get(name, name.replace("-", "_")) for name in names}


# Libraries that are imported by another name than they are installed by.
NAMED_OTHERWISE = {"pyjwt": "jwt"}
# What others bring: aiohttp, Flask, and the program that is used with the module.
BROUGHT = {"yarl", "multidict", "celery", "werkzeug", "pytest", "socketio", "engineio"}


def test_what_is_imported_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    users = [required(extras[name]) for name in extras if name not in ("test", "fuzz", "dev")]
    asked = required(project["dependencies"]).union(*users)
    found = set().union(*(imported(path) for path in (ROOT / "rtpush").rglob("*.py")))
    assert found - {"rtpush"} - BROUGHT <= asked


def test_a_busy_port_under_make_says_what_to_type(tmp_path: Path) -> None:
    for stamp in (".made", ".run"):
        (tmp_path / stamp).touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = subprocess.run(
            [
                *("make", "run", f"VENV={tmp_path}", f"BIN={Path(sys.executable).parent}"),
                f"ARGS=--port {port} --log memory:",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert made.returncode != 0
    assert f"choose another: --port {port + 1}" in made.stderr
    assert "make run ARGS='--port 5001'" in made.stderr


def test_help_points_to_documentation_that_a_wheel_has(packages: Path, tmp_path: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as parts:
        parts.extractall(tmp_path)
    help_text = subprocess.run(
        [sys.executable, "-m", "rtpush", "serve", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    folder = Path(help_text.partition("Documentation: ")[2].strip())
    assert folder.is_relative_to(tmp_path)
    for name in ("configuration.md", "tutorial.md", "../README.md", "../PROTOCOL.md"):
        assert (folder / name).is_file(), name


def test_a_source_package_has_the_examples_and_tests(packages: Path) -> None:
    (sdist,) = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as parts:
        names = {name.partition("/")[2] for name in parts.getnames()}
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "examples", "tests", "docs", "client"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert set(tracked) <= names
