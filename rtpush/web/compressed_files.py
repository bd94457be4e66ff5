"""Files compressed with gzip, kept in memory.

Rules that hold here:

- A file is compressed once, in a thread, and again when it has changed.
- What is kept has a bound in bytes: a folder may hold very many files.
"""

from __future__ import annotations

import asyncio
import gzip
from mimetypes import MimeTypes
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web

__all__ = ["CompressedFile", "CompressedFiles"]

# Bytes. Below the first nothing is gained, above the second a file is sent as it is on disk.
MIN_COMPRESSED: Final = 512
MAX_COMPRESSED: Final = 4 << 20
# Bytes of compressed files that are kept.
MAX_KEPT: Final = 16 << 20

# Python's own table: that of the system may call JavaScript text/plain.
_TYPES: Final = MimeTypes()


class CompressedFile(NamedTuple):
    """A file's bytes as they leave, and the version of the file that they are made of."""

    version: tuple[int, int]
    content_type: str
    body: bytes

    def response(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        """The answer to a request; 304 when the client has this version."""
        etag = "{:x}-{:x}-gzip".format(*self.version)
        if any(tag.value in (etag, "*") for tag in request.if_none_match or ()):
            response = web.Response(status=304, headers=headers)
        else:
            headers = {"Content-Type": self.content_type, "Content-Encoding": "gzip"} | headers
            response = web.Response(body=self.body, headers=headers)
        response.etag = etag
        return response


class CompressedFiles:
    """Files that were compressed, by path; those used longest ago make room for others."""

    def __init__(self) -> None:
        self._kept: dict[Path, CompressedFile] = {}

    async def get(self, path: Path) -> CompressedFile | None:
        """The file, compressed; None for one that had better leave as it is."""
        found = await asyncio.to_thread(_read, path, self._kept.pop(path, None))
        if found is None:
            return None
        self._kept[path] = found
        while sum(len(file.body) for file in self._kept.values()) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return found


def _read(path: Path, known: CompressedFile | None) -> CompressedFile | None:
    """The file as it is now. `known` is what it was; blocks."""
    try:
        stat = path.stat()
        version = (stat.st_mtime_ns, stat.st_size)
        if known is not None and known.version == version:
            return known
        if MIN_COMPRESSED <= stat.st_size <= MAX_COMPRESSED:
            body = gzip.compress(path.read_bytes(), mtime=0)
            return CompressedFile(version, _content_type(path), body)
    except OSError:
        # It went away meanwhile, which is for the one that opens it to say.
        pass
    return None


def _content_type(path: Path) -> str:
    return _TYPES.guess_type(path.name)[0] or "application/octet-stream"
