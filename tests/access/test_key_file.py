"""The key file: found by server and publishers, and by nobody else."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

import rtpush
from rtpush.access.auth import publishers_have_key
from rtpush.access.key_file import KeyFileError, key_file_of, read_key_file, write_key_file
from rtpush.cli.main import main
from rtpush.config.settings import Settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that server and publisher are started in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("log", "place"),
    [
        ("sqlite:rtpush.db", "rtpush.key"),
        ("sqlite:data/rtpush.db", "data/rtpush.key"),
        ("sqlite:/var/lib/rtpush/rtpush.db", "/var/lib/rtpush/rtpush.key"),
        ("memory:", "rtpush.key"),
        ("redis://localhost", "rtpush.key"),
    ],
)
def test_it_lies_beside_the_log(folder: Path, log: str, place: str) -> None:
    assert key_file_of(log, folder) == folder / place


async def test_server_and_publisher_find_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTPUSH_LOG", "sqlite:data/rtpush.db")
    (folder / "data").mkdir()
    assert main(["token", "--api-key", "--save"]) == 0
    key = capsys.readouterr().out.strip()
    assert (folder / "data/rtpush.key").stat().st_mode & 0o777 == 0o600
    settings = Settings(port=0, log="sqlite:data/rtpush.db", allow_hosts=("push.example.com",))
    async with (
        rtpush.Server(settings) as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        async with http.get(f"{server.url}api/tasks") as answer:
            assert answer.status == 401
        bearer = {"Authorization": f"Bearer {key}"}
        async with http.get(f"{server.url}api/tasks", headers=bearer) as answer:
            assert answer.status == 200
        async with rtpush.AsyncPublisher(server.url) as publisher:
            assert await publisher.publish("hello")


def test_a_key_goes_to_this_machine_only(folder: Path) -> None:
    from rtpush.publisher.request import resolve_server

    write_key_file(folder / "rtpush.key", "secret")
    assert resolve_server("http://127.0.0.1:5000", None)[1] == "secret"
    assert resolve_server("http://push.example.com", None)[1] is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_one_that_others_may_read_is_refused(folder: Path, mode: int) -> None:
    path = folder / "rtpush.key"
    write_key_file(path, "secret")
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_key_file(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", "schlüssel".encode(), b"x" * 5000])
def test_what_is_no_key_is_refused(folder: Path, content: bytes) -> None:
    path = folder / "rtpush.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match="holds no key"):
        read_key_file(path)


async def test_a_server_does_not_start_with_one_that_others_may_read(folder: Path) -> None:
    (folder / "rtpush.key").write_text("secret")
    (folder / "rtpush.key").chmod(0o644)
    with pytest.raises(rtpush.StartError, match="chmod 600"):
        await rtpush.Server(port=0, log="memory:").start()


def test_a_second_one_is_not_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--api-key", "--save"]) == 0
    capsys.readouterr()
    assert main(["token", "--api-key", "--save"]) == 1
    assert "remove it first" in capsys.readouterr().err


def test_what_the_banner_and_the_check_say() -> None:
    others = Settings(allow_hosts=("push.example.com",))
    assert publishers_have_key(Settings()) is None
    assert publishers_have_key(others) is False
    write_key_file(Path("rtpush.key"), "secret")
    assert publishers_have_key(others) is True
