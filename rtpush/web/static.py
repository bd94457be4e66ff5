"""The page and the browser client, served as files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from ..errors import RtpushError

__all__ = ["StaticFiles", "client_dir"]

# The browser client's files, beside those of the demo page.
LIBRARY: Final = ("rtpush.js", "rtpush/", "dist/", "websocket.js", "react.js", "types/")

# What a browser may do with the page: run and fetch our own files, and show
# pictures that tasks bring along as data. Tasks are other people's text.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
        "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Always asked for again, and answered 304 by its ETag: a new release
    # reaches every browser at once.
    "Cache-Control": "no-cache",
}


def client_dir() -> Path:
    """The directory of the browser client: in the wheel, else of the checkout."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "_client"
    return packaged if packaged.is_dir() else package.parent / "client"


class StaticFiles:
    """The files below a directory; None is the page that comes along."""

    def __init__(self, directory: Path | None) -> None:
        library = client_dir().resolve()
        self._library = library
        self._directory = directory.resolve() if directory else library

    def routes(self) -> list[web.RouteDef]:
        """Every path that no other route takes."""
        # Not over the others' paths: a method that one of these does not
        # take would be a file that is not there.
        others = "api/|(?:ws|sse|poll|healthz|readyz|metrics)$"
        return [web.get(rf"/{{path:(?!{others}).*}}", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The page and its files. Nothing outside the directory, whatever the path says."""
        path = self._find(request.match_info["path"] or "index.html")
        if path is None:
            raise RtpushError("not_found", f"There is nothing at {request.path}.")
        return web.FileResponse(path, headers=PAGE_HEADERS)

    def _find(self, name: str) -> Path | None:
        folders = [self._directory]
        if name.startswith(LIBRARY):
            # A page of the user's own still finds the browser client.
            folders.append(self._library)
        return next(filter(None, (_inside(folder, name) for folder in folders)), None)


def _inside(folder: Path, name: str) -> Path | None:
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None
    except (OSError, ValueError):
        # A name that no file system takes: too long, or with a NUL.
        return None
