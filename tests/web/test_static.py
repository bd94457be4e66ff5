"""Files that are served, and folders that must not be."""

from __future__ import annotations

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
