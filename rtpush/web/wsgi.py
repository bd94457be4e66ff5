"""A WSGI application (PEP 3333) on the server's port: each request in a thread of a pool.

Rules that hold here:

- The body is read as the application asks for it, and the response is written as it comes:
  neither is held as a whole.
- A client that goes away ends its response: the application's next write fails, and its
  iterable is closed. A stream without an end would otherwise keep its thread for ever.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from aiohttp import web

from ..threads import DaemonExecutor

__all__ = ["WsgiApplication", "WsgiHandler", "wsgi_environ"]

logger = logging.getLogger("rtpush.wsgi")

T = TypeVar("T")

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# Requests that are under way at once; more wait their turn. Flask's own server has no bound.
MAX_THREADS: Final = 64
# Of the connection, not of the response (RFC 9110, section 7.6.1).
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})

_WITHOUT_BODY: Final = (204, 304)


def wsgi_environ(
    environ: dict[str, Any], host: str, body: io.BufferedIOBase | None = None
) -> dict[str, Any]:
    """What every WSGI application may rely on, for a request of which `environ` tells.

    `host` is the header `Host`.
    """
    secure = environ.get("wsgi.url_scheme") == "https"
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": name or "localhost",
        "SERVER_PORT": port or ("443" if secure else "80"),
        "wsgi.version": (1, 0),
        "wsgi.input": body or io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **environ,
    }


class WsgiHandler:
    """Answers requests of aiohttp's by a WSGI application."""

    def __init__(self, application: WsgiApplication) -> None:
        self._application = application
        self._threads = DaemonExecutor(MAX_THREADS, "rtpush-wsgi")

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        loop = asyncio.get_running_loop()
        exchange = _Exchange(request, loop)
        try:
            await loop.run_in_executor(self._threads, exchange.run, self._application)
        except asyncio.CancelledError:
            # The client has gone, or the server stops; the thread learns of it.
            exchange.gone = True
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            if exchange.response is None or not exchange.response.prepared:
                return web.Response(status=500, text="Internal Server Error")
            # A client must not take what it has for the whole.
            if request.transport is not None:
                request.transport.abort()
            return exchange.response
        response = exchange.response
        if response is None:
            return web.Response(status=500, text="The application has not answered.")
        if not response.prepared:
            await response.prepare(request)
        await response.write_eof()
        return response

    def close(self) -> None:
        """Let the threads go; requests under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Exchange:
    """One request and its response. `run` is called in a thread, all else on the loop."""

    def __init__(self, request: web.Request, loop: asyncio.AbstractEventLoop) -> None:
        self.response: web.StreamResponse | None = None
        # Whether nobody is there any more to take the response.
        self.gone = False
        self._request = request
        self._loop = loop

    def run(self, application: WsgiApplication) -> None:
        chunks = application(self._environ(), self._start_response)
        try:
            for chunk in chunks:
                if chunk:
                    self._write(chunk)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _environ(self) -> dict[str, Any]:
        request = self._request
        environ = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path.encode().decode("latin-1"),
            "QUERY_STRING": request.rel_url.raw_query_string,
            "RAW_URI": request.raw_path,
            "REQUEST_URI": request.raw_path,
            "REMOTE_ADDR": request.remote or "",
            "SERVER_PROTOCOL": "HTTP/{}.{}".format(*request.version),
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "wsgi.url_scheme": request.scheme,
        }
        if request.content_length is not None:
            environ["CONTENT_LENGTH"] = str(request.content_length)
        for name in request.headers:
            # A name with an underscore would stand in for one with a hyphen.
            if name.lower() not in ("content-type", "content-length") and "_" not in name:
                values = ",".join(request.headers.getall(name))
                environ["HTTP_" + name.upper().replace("-", "_")] = values
        body = io.BufferedReader(_Body(self))
        return wsgi_environ(environ, request.host, body)

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and self.response is not None and self.response.prepared:
            raise exc_info[1].with_traceback(exc_info[2])
        code, _, reason = status.partition(" ")
        self.response = web.StreamResponse(status=int(code), reason=reason)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.response.headers.add(name, value)
        return self._write

    def _write(self, chunk: bytes) -> None:
        response = self.response
        if response is None:
            raise RuntimeError("the application has written before it called start_response")
        self.wait(self._send(response, chunk))

    async def _send(self, response: web.StreamResponse, chunk: bytes) -> None:
        if not response.prepared:
            await response.prepare(self._request)
        # What an application writes all the same would be taken for the next response.
        if self._request.method != "HEAD" and response.status not in _WITHOUT_BODY:
            await response.write(chunk)

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        """Run on the loop, from the thread. Raises ConnectionResetError when the client is gone."""
        if self.gone or self._loop.is_closed():
            call.close()
            raise ConnectionResetError("the client has gone")
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    async def read(self, most: int) -> bytes:
        """The next of the request's body; empty at its end."""
        return await self._request.content.read(most)


class _Body(io.RawIOBase):
    """The request's body, for a thread."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._exchange.wait(self._exchange.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)
