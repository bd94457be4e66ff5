"""The page and the browser client, served as files.

Rules that hold here:

- Nothing outside the folder is served, whatever the path says and wherever links lead.
- A folder that holds what must not be read by strangers is refused when the server starts:
  `--client .` in a project's folder would publish its log, its settings and its source.
- Names that begin with a dot are never served: `.env`, `.git`.
- Text leaves compressed, for a client that takes that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiohttp import web

from ..config.documentation import documentation_dir
from ..errors import RtpushError
from .compressed_files import CompressedFiles
from .socketio_clients import is_socketio, refuse_socketio

__all__ = [
    "StaticFiles",
    "StaticFilesError",
    "check_client_dir",
    "client_dir",
]

# Names that show that a folder is a program's and not a page's: logs and databases, settings,
# keys, source. The server looks for them in the folder and two levels below.
SECRETS: Final = (
    *("*.db", "*.db-wal", "*.db-shm", "*.db-journal", "*.sqlite", "*.sqlite3"),
    *("*.toml", "*.key", "*.pem", "*.p12", "*.pfx", "*.py", "*.pyc", "*.cfg", "*.ini"),
    *("*.env", "id_rsa", "id_ed25519"),
)
DEPTH: Final = 3

# The browser client's files, beside those of the demo page.
LIBRARY: Final = ("rtpush.js", "rtpush/", "dist/", "websocket.js", "react.js", "types/")

# The documentation, which the demo page links to.
DOCUMENTATION: Final = ("README.md", "PROTOCOL.md", "docs/")

# Names of files that shrink by half or more. Pictures and fonts are compressed already.
TEXT: Final = (".html", ".js", ".cjs", ".mjs", ".css", ".svg", ".json", ".map", ".md", ".txt")
PAGE_HEADERS: Final = {
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


class StaticFilesError(Exception):
    """A folder must not be served. The message is one sentence that says what to do."""


def check_client_dir(folder: Path, log: str) -> None:
    """Refuse a folder that holds more than a page.

    Args:
        folder: The setting `client`.
        log: The setting `log`.

    Raises:
        StaticFilesError: It holds the log, settings, keys or source.
    """
    scheme, _, path = log.partition(":")
    if scheme == "sqlite" and Path(path).resolve().is_relative_to(folder.resolve()):
        raise _refused(folder, path)
    found = next(_secrets(folder, DEPTH), None)
    if found is not None:
        raise _refused(folder, str(found.relative_to(folder)))


def _refused(folder: Path, name: str) -> StaticFilesError:
    return StaticFilesError(
        f"the folder {folder} holds {name}, which everybody could read: give --client a folder "
        "with the page's files alone"
    )


def _secrets(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "node_modules":
            # Never served, or too much to look at.
            continue
        if path.is_dir() and depth > 1 and not path.is_symlink():
            yield from _secrets(path, depth - 1)
        elif any(path.match(pattern) for pattern in SECRETS):
            yield path


class StaticFiles:
    """The files below a directory; None is the page that comes along.

    `policy` is the Content-Security-Policy (CSP Level 3); empty: none is sent.
    """

    def __init__(self, directory: Path | None, policy: str) -> None:
        self._headers = PAGE_HEADERS | ({"Content-Security-Policy": policy} if policy else {})
        library = client_dir().resolve()
        self._library = library
        self._directory = directory.resolve() if directory else library
        self._compressed = CompressedFiles()

    def routes(self) -> list[web.RouteDef]:
        """Every path that no other route takes."""
        # Not over the others' paths: a method that one of these does not
        # take would be a file that is not there.
        others = "api/|(?:ws|sse|poll|session|healthz|readyz|metrics)$"
        return [web.get(rf"/{{path:(?!{others}).*}}", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The page and its files. Nothing outside the directory, whatever the path says."""
        if is_socketio(request):
            return refuse_socketio(request)
        path = self._find(request.match_info["path"] or "index.html")
        if path is None:
            raise RtpushError("not_found", f"There is nothing at {request.path}.")
        headers = self._headers
        if path.suffix == ".md":
            # What a browser shows; it would save text/markdown to a file.
            headers = headers | {"Content-Type": "text/plain; charset=utf-8"}
        if path.suffix not in TEXT:
            return web.FileResponse(path, headers=headers)
        headers = headers | {"Vary": "Accept-Encoding"}
        compressed = await self._compressed.get(path) if _takes_gzip(request) else None
        if compressed is None:
            return web.FileResponse(path, headers=headers)
        return compressed.response(request, headers)

    def _find(self, name: str) -> Path | None:
        folders = [self._directory]
        if name.startswith(LIBRARY):
            # A page of the user's own still finds the browser client.
            folders.append(self._library)
        if self._directory == self._library and name.startswith(DOCUMENTATION):
            folders.append(documentation_dir())
        return next(filter(None, (_inside(folder, name) for folder in folders)), None)


def _inside(folder: Path, name: str) -> Path | None:
    if any(part.startswith(".") for part in Path(name).parts):
        return None
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder) and path.is_file() else None
    except (OSError, ValueError):
        # A name that no file system takes: too long, or with a NUL.
        return None


def _takes_gzip(request: web.Request) -> bool:
    # A range is one of the file's own bytes.
    return "gzip" in request.headers.get("Accept-Encoding", "") and "Range" not in request.headers
