"""The command line: what it says, and the exit codes."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import jwt
import pytest

from rtpush import cli
from rtpush.auth import hash_api_key
from rtpush.cli import main
from rtpush.config import Settings


def test_bad_settings_are_told_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--prot", "1", "--log", "x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "rtpush: unknown option --prot; did you mean --port?",
        "rtpush: --log: 'x' is not memory:, sqlite:PATH or redis://HOST",
    ]


def test_an_interrupt_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(settings: Settings) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 130


# ---- token -------------------------------------------------------------------

SECRET = "a secret of more than thirty-two bytes"


def test_a_token_is_signed_with_the_servers_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RTPUSH_AUTH_SECRET", SECRET)
    flags = ["--room", "a", "--room", "b-*", "--emit", "chat", "--publish", "--for", "2h"]
    assert main(["token", "ada", *flags]) == 0
    claims = jwt.decode(capsys.readouterr().out.strip(), SECRET, ["HS256"])
    assert claims.pop("exp") == pytest.approx(time.time() + 7200, abs=60)
    assert claims == {"sub": "ada", "rooms": ["a", "b-*"], "emit": ["chat"], "publish": True}
    assert main(["token"]) == 0
    assert set(jwt.decode(capsys.readouterr().out.strip(), SECRET, ["HS256"])) == {"exp"}


@pytest.mark.parametrize("secret", ["", "short"])
def test_without_a_secret_there_is_no_token(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    secret: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RTPUSH_AUTH_SECRET", secret)
    assert main(["token", "ada"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rtpush: RTPUSH_AUTH_SECRET")


def test_an_api_key_and_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--api-key"]) == 0
    out, err = capsys.readouterr()
    assert hash_api_key(out.strip()) in err


# ---- check -------------------------------------------------------------------


def check(monkeypatch: pytest.MonkeyPatch, folder: Path, *flags: str) -> int:
    monkeypatch.chdir(folder)
    return main(["check", "--port=0", "--max-connections=100", *flags])


def test_what_is_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, tmp_path) == 0
    assert capsys.readouterr().out == "rtpush: everything is fit\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rtpush.db").write_text("nonsense " * 100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = [f"--port={port}", "--auth-secret=short", "--tls-cert=none.pem"]
        assert check(monkeypatch, tmp_path, *flags, "--max-connections=100000000") == 1
        assert check(monkeypatch, tmp_path, *flags, "--max-connections=10000000") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("rtpush: --max-connections: ")
    for finding in (f"port {port}", "max_connections", "none.pem", "auth_secret", "rtpush.db"):
        assert any(finding in line for line in lines[1:]), finding


@pytest.mark.parametrize(
    ("flags", "finding"),
    [
        (["--insecure"], "insecure lets"),
        ([], "clients are not asked"),
        ([], "publishers have no key"),
        (["--token-in-query"], "token_in_query"),
        (["--allow-origins=*"], "allow_origins"),
        ([], "relay"),
        (["--host=0.0.0.0"], "no TLS"),
        ([], "no proxy is trusted"),
        (["--log=memory:"], "forgets everything"),
        (["--demo"], "demo"),
    ],
)
def test_what_is_not_fit_for_strangers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    finding: str,
) -> None:
    assert check(monkeypatch, tmp_path, *flags, "--production") == 1
    assert finding in capsys.readouterr().err


def test_what_is_fit_for_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--trusted-proxies=127.0.0.1", "--relay=chat_*", f"--auth-secret={SECRET}"]
    assert check(monkeypatch, tmp_path, *flags, "--production") == 0
    assert capsys.readouterr().out == "rtpush: everything is fit for production\n"
