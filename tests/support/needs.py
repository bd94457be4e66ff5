"""Programs that some tests use and that not every machine has.

- `needs("nginx")` marks a test: skipped where the program is missing.
- Under RTPUSH_TEST_ALL=1 nothing is skipped: a missing program is a failure.
- `program("nginx")` is the path to start it by.
"""

from __future__ import annotations

import os
import shutil

import pytest

# Servers live in sbin, which is not in every user's PATH.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])

PROGRAMS = {
    "redis": ["redis-server", "valkey-server"],
    "nginx": ["nginx"],
    "haproxy": ["haproxy"],
    "chromium": ["chromium", "chromium-browser", "google-chrome"],
    # Chromium without windows: a page costs a quarter of what it costs in the other one.
    "headless chromium": ["chromium-headless-shell"],
    "node": ["node"],
    "npm": ["npm"],
    "zsh": ["zsh"],
    "fish": ["fish"],
}


def program(name: str) -> str:
    """The path of the program; raises FileNotFoundError when it is missing."""
    path = _find(name)
    if path is None:
        raise FileNotFoundError(_missing(name))
    return path


def has(name: str) -> bool:
    """Is the program here?"""
    return _find(name) is not None


def needs(name: str) -> pytest.MarkDecorator:
    """A mark that skips without the program, or fails under RTPUSH_TEST_ALL=1."""
    missing = _find(name) is None
    if missing and os.environ.get("RTPUSH_TEST_ALL") == "1":
        pytest.fail(f"RTPUSH_TEST_ALL=1, and {_missing(name)}", pytrace=False)
    return pytest.mark.skipif(missing, reason=f"{_missing(name)}; see tests/setup.sh")


def _find(name: str) -> str | None:
    found = (shutil.which(candidate, path=SEARCH_PATH) for candidate in PROGRAMS[name])
    return next(filter(None, found), None)


def _missing(name: str) -> str:
    return f"{name} is not installed (looked for {', '.join(PROGRAMS[name])})"
