"""Files that are served, and folders that must not be."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import aiohttp
import pytest

import rtpush
from rtpush.web.static import StaticFilesError, check_client_dir


@pytest.mark.parametrize(
    "name",
    [
        *("rtpush.toml", "rtpush.key", "app.py", "chat.db", "chat.db-wal", "server.pem"),
        *("settings.ini", "site/app.py", "a/b/rtpush.db"),
    ],
)
def test_a_folder_with_more_than_a_page_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "index.html").touch()
    check_client_dir(tmp_path, "memory:")
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(StaticFilesError, match=path.name):
        check_client_dir(tmp_path, "memory:")


def test_the_folder_of_the_log_is_refused_before_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(StaticFilesError, match="events"):
        check_client_dir(tmp_path, f"sqlite:{tmp_path}/data/events")
    page = tmp_path / "page"
    page.mkdir()
    check_client_dir(page, f"sqlite:{tmp_path}/events")


async def test_the_server_does_not_start_with_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch()
    with pytest.raises(rtpush.StartError, match="--client a folder with the page's files alone"):
        await rtpush.Server(port=0, log="memory:", client=tmp_path).start()


@pytest.mark.parametrize("name", [".env", ".git/config", "a/.htpasswd"])
async def test_dotfiles_are_never_served(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("secret")
    (tmp_path / "index.html").write_text("page")
    async with (
        rtpush.Server(port=0, log="memory:", client=tmp_path) as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        async with http.get(f"{server.url}{name}") as answer:
            assert answer.status == 404
        async with http.get(server.url) as answer:
            assert await answer.text() == "page"


def raw_session() -> aiohttp.ClientSession:
    """A client that leaves bodies as they come."""
    return aiohttp.ClientSession(trust_env=False, auto_decompress=False)


async def test_text_leaves_compressed(tmp_path: Path) -> None:
    text = "body { margin: 0 }\n" * 500
    (tmp_path / "page.css").write_text(text)
    (tmp_path / "photo.png").write_bytes(text.encode())
    async with (
        rtpush.Server(port=0, log="memory:", client=tmp_path) as server,
        raw_session() as http,
    ):
        packed, plain = {"Accept-Encoding": "gzip, br"}, {"Accept-Encoding": "identity"}
        async with http.get(f"{server.url}page.css", headers=packed) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert answer.content_type == "text/css"
            body, etag = await answer.read(), answer.headers["ETag"]
            assert len(body) < len(text) / 20
            assert gzip.decompress(body).decode() == text
        async with http.get(f"{server.url}page.css", headers=plain) as answer:
            assert "Content-Encoding" not in answer.headers
            assert await answer.text() == text
            assert answer.headers["ETag"] != etag
        for name, headers in (("photo.png", packed), ("page.css", packed | {"Range": "bytes=0-4"})):
            async with http.get(f"{server.url}{name}", headers=headers) as answer:
                assert "Content-Encoding" not in answer.headers


async def test_a_compressed_file_follows_its_changes(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("old " * 1000)
    headers = {"Accept-Encoding": "gzip"}
    async with (
        rtpush.Server(port=0, log="memory:", client=tmp_path) as server,
        raw_session() as http,
    ):
        async with http.get(server.url, headers=headers) as answer:
            etag = {"If-None-Match": answer.headers["ETag"]}
        async with http.get(server.url, headers=headers | etag) as answer:
            assert answer.status == 304
            assert await answer.read() == b""
        page.write_text("new " * 1000)
        os.utime(page, ns=(0, 0))
        async with http.get(server.url, headers=headers | etag) as answer:
            assert answer.status == 200
            assert gzip.decompress(await answer.read()).startswith(b"new ")


async def test_the_documentation_is_beside_the_demo_page_alone(tmp_path: Path) -> None:
    async with (
        rtpush.Server(port=0, log="memory:") as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        for name in ("README.md", "PROTOCOL.md", "docs/tutorial.md"):
            async with http.get(f"{server.url}{name}") as answer:
                assert answer.content_type == "text/plain"
                assert (await answer.text()).startswith("# ")
        for name in ("pyproject.toml", "CONTRIBUTING.md", "docs/../pyproject.toml"):
            async with http.get(f"{server.url}{name}") as answer:
                assert answer.status == 404
    async with (
        rtpush.Server(port=0, log="memory:", client=tmp_path) as server,
        aiohttp.ClientSession(trust_env=False) as http,
        http.get(f"{server.url}README.md") as answer,
    ):
        assert answer.status == 404


async def test_an_answer_of_the_api_ends_its_line() -> None:
    async with (
        rtpush.Server(port=0, log="memory:") as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        for path in ("healthz", "api/tasks", "api/nothing", "ws"):
            async with http.get(f"{server.url}{path}") as answer:
                assert (await answer.read()).endswith(b"}\n"), path


@pytest.mark.parametrize("policy", ["script-src 'self' https://cdn.example", ""])
async def test_the_policy_of_pages_is_a_setting(tmp_path: Path, policy: str) -> None:
    (tmp_path / "index.html").touch()
    server = rtpush.Server(port=0, log="memory:", client=tmp_path, content_security_policy=policy)
    async with server, aiohttp.ClientSession() as http, http.get(server.url) as answer:
        assert answer.headers.get("Content-Security-Policy", "") == policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
