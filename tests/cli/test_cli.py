"""The command line: messages and exit codes."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import jwt
import pytest
from processes import free_port
from redisserver import RedisServer
from terminals import RTPUSH, environment

from rtpush import __version__
from rtpush.access.auth import hash_api_key
from rtpush.cli import serve
from rtpush.cli.common import COMMANDS
from rtpush.cli.main import main


def test_bad_settings_are_reported_line_by_line(
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


def test_an_interrupt_prints_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "main", interrupted)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 130


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_one_help_lists_all_commands(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: rtpush ")
    assert max(map(len, shown.splitlines())) <= 80
    for command in COMMANDS.values():
        assert f"  {command.name:<12}{command.summary}\n" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: rtpush {name}")
    assert max(map(len, shown.splitlines())) <= 80
    parser = import_module(f"rtpush.cli.{name}").make_parser()
    for action in parser._actions:
        assert action.help
        assert (action.option_strings or [action.metavar])[0] in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rtpush {__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("pubish", "did you mean publish?"), ("xyzzy", "rtpush --help lists all")],
)
def test_a_mistyped_command(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert capsys.readouterr() == ("", f"rtpush: there is no command {word!r}; {hint}\n")


@pytest.mark.parametrize(
    ("shell", "out", "err", "code"),
    [
        ("--version >&-", "", "", 0),
        ("exec -- sh -c 'echo hi; exit 3' >&-", "", "", 3),
        ("exec -- sh -c 'echo hi; exit 3' <&- >&- 2>&-", "", "", 3),
        ("exec -- sh -c 'echo hi; exit 3' 2>&-", "hi\n", "", 3),
        ("pubish 2>&-", "", "", 2),
        ("publish e - <&-", "", "", 0),
        ("--version >/dev/full", "", "the output cannot be written: No space left on device", 1),
    ],
)
def test_streams_that_are_closed_or_full(shell: str, out: str, err: str, code: int) -> None:
    ran = subprocess.run(
        ["sh", "-c", f"{shlex.join(RTPUSH)} {shell}"],
        env=environment("http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert (ran.returncode, ran.stdout) == (code, out)
    assert ran.stderr == (f"rtpush: {err}\n" if err else "")


def test_characters_outside_the_encoding_are_escaped() -> None:
    environ = environment() | {"PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([*RTPUSH, "--help"], env=environ, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "python -m rtpush \\u2026" in ran.stdout


@pytest.mark.parametrize(
    ("library", "module", "argv", "feature"),
    [
        ("rich", "tasks", ["tasks"], "rtpush tasks (without --json)"),
        ("shtab", "completion", ["completion", "bash"], "rtpush completion"),
        ("watchfiles", "reloader", ["app:server", "--reload"], "--reload"),
    ],
)
def test_a_missing_extra_is_named(
    library: str,
    module: str,
    argv: list[str],
    feature: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"rtpush.cli.{module}", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 1
    hint = f"{feature} needs {library}; install it: pip install 'rtpush[cli]'"
    assert capsys.readouterr() == ("", f"rtpush: {hint}\n")


def test_commands_import_nothing_heavy() -> None:
    """Nor anything else that takes time: they are for scripts and prompts."""
    begin = [f"rtpush.cli.{name}.make_parser()" for name in COMMANDS]
    names = ", ".join(f"rtpush.cli.{name}" for name in COMMANDS)
    code = f"import sys, rtpush.cli, {names}; {'; '.join(begin)}; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    heavy = {"aiohttp", "rtpush.server", "websockets", "uvloop", "redis", "jwt"}
    heavy |= {"rich", "shtab", "watchfiles"}
    assert heavy & set(out.decode().split()) == set()


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


def test_no_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, tmp_path) == 0
    assert capsys.readouterr().out == "rtpush: no problems found\n"
    assert list(tmp_path.iterdir()) == []


def test_start_problems(
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


def test_a_log_that_cannot_be_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, tmp_path, "--log=sqlite:data/rtpush.db") == 1
    assert f"{tmp_path}/data is not a directory that can be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_log_in_redis(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    redis_server: RedisServer,
) -> None:
    url = redis_server.url("checked")
    assert check(monkeypatch, tmp_path, f"--log={url}", "--workers=2") == 0
    assert list(redis_server.client.scan_iter("checked*")) == []
    nobody = free_port()
    assert check(monkeypatch, tmp_path, f"--log=redis://127.0.0.1:{nobody}") == 1
    err = capsys.readouterr().err
    assert err.startswith(f"rtpush: Redis at 127.0.0.1:{nobody} cannot be used (")
    assert check(monkeypatch, tmp_path, "--workers=2") == 1
    assert "2 workers need a log that processes can share" in capsys.readouterr().err


def test_the_rule_of_a_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rtpush.toml").write_text(
        '[rooms."chat:*"]\nenter = "token"\n[rooms."call:*"]\nenter = "handler"\nevents = ["a"]\n'
    )
    assert check(monkeypatch, tmp_path, "--room=call:1", "--room=lobby") == 1
    out, err = capsys.readouterr()
    first, *lines = out.splitlines()
    assert (first, lines[:2]) == (
        'call:1: the rule "call:*"',
        ["  enter          handler", "  events         a"],
    )
    assert lines[-1] == "lobby: no rule"
    assert 'rooms."chat:*": clients enter by token, and there are none' in err
    assert 'rooms."call:*": a `join` handler decides, and the server has none' in err


def test_exposure_without_authentication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, tmp_path, "--host=0.0.0.0") == 1
    told = capsys.readouterr().err
    assert "lets other machines in, and nothing asks who they are" in told
    # What it points to is there.
    assert Path(told.partition("auth_keys (")[2].partition(")")[0]).is_file()


OWN = """
import rtpush
server = rtpush.Server(log="sqlite:text.db", port=0, max_connections=100)
@server.event
def connect(sid, environ, auth): return auth == "secret"
"""


def test_a_server_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checked_app.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["check", "checked_app:server", "--host=0.0.0.0"]) == 0
    assert main(["check", "checked_app:sever"]) == 1
    assert "did you mean server?" in capsys.readouterr().err
    # Its own settings are what is looked at.
    (tmp_path / "text.db").write_text("Dear diary")
    assert main(["check", "checked_app:server"]) == 1
    assert "text.db is not an rtpush log" in capsys.readouterr().err


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
def test_production_problems(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    finding: str,
) -> None:
    assert check(monkeypatch, tmp_path, *flags, "--production") == 1
    assert finding in capsys.readouterr().err


def test_no_production_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--trusted-proxies=127.0.0.1", "--relay=chat_*", f"--auth-secret={SECRET}"]
    assert check(monkeypatch, tmp_path, *flags, "--production") == 0
    assert capsys.readouterr().out == "rtpush: no problems found for production\n"
