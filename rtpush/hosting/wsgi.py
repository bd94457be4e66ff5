"""WSGI applications: called in threads, by a2wsgi."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from ..asgi_types import Event, Receive, Scope, Send
from ..threads import DaemonExecutor

__all__ = ["WsgiApplication"]

# Requests that are answered at the same time; the others wait. As gunicorn's threaded workers
# are usually set.
THREADS: Final = 40
# Where the exchange of a request is found by the thread that answers it.
_LOST: Final = "rtpush.lost"


class WsgiApplication:
    """A WSGI application as one of ASGI. Raises ImportError without a2wsgi."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        from a2wsgi import WSGIMiddleware

        self._adapter: Any = WSGIMiddleware(_until_lost(app), workers=1)
        # Python waits at its exit for a2wsgi's own threads, whatever they are at.
        self._threads = DaemonExecutor(THREADS, "rtpush-wsgi", patient=False)
        self._adapter.executor = self._threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        lost = scope[_LOST] = _Lost()

        async def sending(event: Event) -> None:
            try:
                await send(event)
            except OSError:
                # Nobody would take what the thread puts into a2wsgi's queue then.
                lost.yes = True

        await self._adapter(scope, receive, sending)

    def close(self) -> None:
        """Give the threads back; those that still answer end with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Lost:
    """Has the client gone?"""

    yes = False


def _until_lost(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterator[bytes]]:
    """An application whose answer ends when its client has gone."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        lost: _Lost = environ["asgi.scope"][_LOST]
        chunks = app(environ, start_response)
        try:
            for chunk in chunks:
                yield chunk
                if lost.yes:
                    break
        finally:
            getattr(chunks, "close", lambda: None)()

    return answer
