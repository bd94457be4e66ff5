"""Hooks as a setting: how they are given, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtpush.config import ConfigError, Settings
from rtpush.config.hook_settings import HookSettings, hooks_table
from rtpush.config.sources import load

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef" * 2
URL = "https://app.example.com/rtpush"


def test_a_table_of_a_file_and_json_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "rtpush.toml").write_text(
        f'[hooks]\nurl = "{URL}"\nask = ["connect", "join"]\nsecret = "{SECRET}"\ntimeout = "2s"\n'
    )
    hooks = load([], {}, tmp_path).hooks
    assert hooks == HookSettings(URL, ("connect", "join"), SECRET, timeout=2.0)
    text = f'{{"url": "{URL}", "ask": "connect,join", "secret": "{SECRET}", "timeout": 2}}'
    assert load([], {"RTPUSH_HOOKS": text}, tmp_path / "none").hooks == hooks


def test_the_secret_may_lie_in_a_file_and_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    settings = Settings(hooks={"url": URL, "secret_file": str(tmp_path / "secret")})
    assert settings.hooks is not None
    assert settings.hooks.secret == SECRET
    assert SECRET not in repr(settings) + repr(settings.hooks)
    with pytest.raises(ConfigError) as caught:
        Settings(hooks=f'{{"secret": "{SECRET}"')
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"url": "http://app.example.com/"}, "hooks.url: 'http://app.example.com/' is not an add"),
        ({"url": "https://u:p@app.example.com/"}, "hooks.url: 'https://u:p@app.example.com/' is"),
        ({"url": "app.example.com"}, "hooks.url: 'app.example.com' is not an address like"),
        ({}, "hooks.url: missing"),
        ({"url": URL}, "hooks.secret: it has fewer than 32 characters; make one with `openssl"),
        ({"url": URL, "secret": "short"}, "hooks.secret: it has fewer than 32"),
        ({"url": URL, "secret": SECRET, "secret_file": "x"}, "hooks: secret and secret_file are"),
        ({"url": URL, "secret_file": "/nowhere"}, "hooks.secret_file: /nowhere cannot be read: No"),
        ({"url": URL, "secrets": SECRET}, "hooks: unknown key secrets; did you mean secret"),
        ({"url": URL, "secret": SECRET, "timeout": "2h"}, "hooks.timeout: '2h' is not a duration"),
        (
            {"url": URL, "secret": SECRET, "headers": "Cookie, rtpush-signature"},
            "hooks.headers: 'Cookie, rtpush-signature' is not names of headers like Cookie",
        ),
        (5, "hooks: the value (int, not shown) is not hooks: a table in rtpush.toml"),
    ],
)
def test_what_is_wrong_is_refused_by_name(given: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(hooks=given)
    assert caught.value.problems[0][: len(problem)] == problem


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:80"])
def test_on_this_machine_http_will_do(host: str) -> None:
    assert Settings(hooks={"url": f"http://{host}/", "secret": SECRET}).hooks is not None


def test_the_page_lists_every_key() -> None:
    assert hooks_table() in (ROOT / "docs/how-to/hooks.md").read_text()
