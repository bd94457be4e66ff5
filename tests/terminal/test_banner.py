"""The banner, and the sentences about a port that cannot be used."""

from __future__ import annotations

import errno
import json
import shlex
import socket
import sys
from pathlib import Path

import pytest

from rtpush.config.settings import Settings
from rtpush.terminal.banner import banner, explain_bind_error, lan_address


def lines(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines()[1:])


# ---- banner ------------------------------------------------------------------


def test_banner_names_everything_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = banner(Settings(port=0), 5123)
    assert text.splitlines()[0] == "rtpush 0.1.0"
    shown = lines(text)
    assert shown["Open"] == "http://127.0.0.1:5123/"
    assert shown["WebSocket"] == "ws://127.0.0.1:5123/ws"
    assert shown["Data"] == f"{tmp_path / 'rtpush.db'} (kept across restarts)"
    assert shown["Stop"] == "Ctrl+C"
    assert "\033" not in text


def test_banner_is_aligned() -> None:
    rows = banner(Settings(), 5000).splitlines()[1:]
    starts = {row.index(text) for row in rows for text in [row.split(maxsplit=1)[1]]}
    assert len(starts) == 1


def test_banner_publishes_by_copy_and_paste() -> None:
    words = shlex.split(lines(banner(Settings(), 5000))["Publish"])
    assert words[:4] == ["curl", "-X", "POST", "http://127.0.0.1:5000/api/publish"]
    assert words[4:6] == ["-H", "content-type: application/json"]
    assert json.loads(words[7]) == {"event": "hello", "data": "world"}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:5000/"),
        ("::", "http://[::1]:5000/"),
        ("::1", "http://[::1]:5000/"),
        ("push.example", "http://push.example:5000/"),
    ],
)
def test_banner_shows_an_address_that_can_be_opened(host: str, url: str) -> None:
    assert lines(banner(Settings(host=host), 5000))["Open"] == url


def test_banner_says_where_a_key_is_wanted() -> None:
    assert "Bearer" not in banner(Settings(), 5000)
    shown = banner(Settings(auth_secret="s" * 32), 5000, key=True)
    assert "-H 'authorization: Bearer KEY'" in shown
    assert "s" * 32 not in shown
    assert "Key" not in lines(shown)


def test_banner_says_when_publishers_have_no_key() -> None:
    shown = lines(banner(Settings(allow_hosts=("push.example.com",)), 5000, key=False))
    assert "rtpush token --api-key --save" in shown["Key"]


def test_banner_tells_phones_where_to_go() -> None:
    shown = lines(banner(Settings(host="0.0.0.0"), 5000, lan="192.168.1.7"))
    assert shown["Phone"] == "http://192.168.1.7:5000/"
    assert "Phone" not in lines(banner(Settings(), 5000))


def test_banner_says_that_memory_forgets() -> None:
    shown = lines(banner(Settings(log="memory:"), 5000))
    assert shown["Data"] == "memory (gone when the server stops)"


def test_banner_in_colour_says_the_same() -> None:
    coloured = banner(Settings(), 5000, colour=True)
    for code in ("\033[0m", "\033[1m", "\033[2m"):
        coloured = coloured.replace(code, "")
    assert coloured == banner(Settings(), 5000)


def test_only_a_server_for_every_network_has_a_lan_address() -> None:
    assert lan_address("127.0.0.1") is None


# ---- why it cannot listen ----------------------------------------------------


@pytest.mark.parametrize(
    ("exc", "settings", "sentence"),
    [
        (
            OSError(errno.EADDRINUSE, "in use"),
            Settings(),
            "port 5000 on 127.0.0.1 is taken by another program; stop it or choose another: "
            "--port 5001",
        ),
        (
            OSError(errno.EADDRINUSE, "in use"),
            Settings(port=65535),
            "port 65535 on 127.0.0.1 is taken by another program; stop it or choose another: "
            "--port 5000",
        ),
        (
            PermissionError(errno.EACCES, "denied"),
            Settings(port=80),
            "port 80 on 127.0.0.1 needs privileges; choose one above 1023: --port 8080",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, "cannot assign"),
            Settings(host="192.0.2.1"),
            "192.0.2.1 is not an address of this machine; listen on another: --host 127.0.0.1",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "unknown"),
            Settings(host="nowhere.invalid"),
            "host nowhere.invalid cannot be resolved; give an address of this machine: "
            "--host 127.0.0.1",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            Settings(),
            "cannot listen on port 5000 on 127.0.0.1: Too many open files",
        ),
    ],
)
def test_bind_errors(
    exc: OSError, settings: Settings, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert explain_bind_error(exc, settings) == sentence


@pytest.mark.parametrize(("port", "named"), [(5000, True), (5001, False)])
def test_airplay_is_named_where_it_lives(
    port: int, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    text = explain_bind_error(OSError(errno.EADDRINUSE, "in use"), Settings(port=port))
    assert ("AirPlay" in text) is named
