"""`rtpush.SimpleClient`: from any thread, interrupted, forked, ended from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
from servers import Local, in_thread

from rtpush import ConnectError, Server, SimpleClient

PATIENCE = 10.0


@pytest.fixture
def server() -> Iterator[Local]:
    """A server on a loop of its own."""
    server = Server(port=0, log="memory:", grace=0.1)

    @server.event
    async def never(sid: str) -> None:
        await asyncio.Event().wait()

    with in_thread(server) as local:
        yield local


def outcome(call: Callable[[], Any]) -> Any:
    """What it returned, or what it raised."""
    try:
        return call()
    except Exception as exc:
        return type(exc)


def begun(call: Callable[[], Any]) -> Future[Any]:
    """The outcome of a call in a daemon thread: when it hangs, the tests still end."""
    found: Future[Any] = Future()
    threading.Thread(target=lambda: found.set_result(outcome(call)), daemon=True).start()
    return found


@contextmanager
def interrupted() -> Iterator[None]:
    """Ctrl+C, as soon as the main thread waits for a lock."""
    main = threading.main_thread()

    def interrupt() -> None:
        while (
            sys._current_frames()[main.ident or 0].f_code is not threading.Condition.wait.__code__
        ):
            time.sleep(0.001)
        signal.pthread_kill(main.ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)


def test_connecting_three_times(server: Local) -> None:
    client = SimpleClient()
    for number in range(3):
        with client:
            client.connect(server.url)
            client.emit("n", number)
            assert client.receive(PATIENCE) == ["n", number]
        with pytest.raises(ConnectError):
            client.emit("n")
    client.disconnect()


def test_receive_without_time_takes_an_event_that_has_arrived(server: Local) -> None:
    with SimpleClient() as client:
        client.connect(server.url)
        client.call("n", 1)
        # Over one WebSocket, events and answers come in order.
        client.call("ping")
        assert client.receive(timeout=0) == ["n", 1]
        with pytest.raises(TimeoutError):
            client.receive(timeout=0)


@pytest.mark.parametrize(
    ("wait", "told"),
    [
        (lambda client: client.receive(), ConnectError),
        (lambda client: client.receive(60), ConnectError),
        (lambda client: client.call("never"), ConnectError),
        (lambda client: type(list(client.events())), list),
    ],
)
def test_disconnect_ends_waiting_calls(
    server: Local, monkeypatch: pytest.MonkeyPatch, wait: Callable[[Any], Any], told: Any
) -> None:
    monkeypatch.setattr("rtpush.client.async_client._DISCONNECT_TIMEOUT", 0.1)
    client = SimpleClient()
    client.connect(server.url)
    waiting = [begun(lambda: wait(client)) for _ in range(5)]
    ending = [begun(client.disconnect) for _ in range(5)]
    assert [one.result(PATIENCE) for one in ending] == [None] * 5
    # Or it came too late to wait at all.
    assert {one.result(PATIENCE) for one in waiting} <= {told, ConnectError}


def test_an_interrupt_takes_no_event(server: Local) -> None:
    with SimpleClient() as client:
        client.connect(server.url)
        with pytest.raises(KeyboardInterrupt), interrupted():
            client.receive()
        client.emit("n", 1)
        assert client.receive(PATIENCE) == ["n", 1]


def test_the_child_of_a_fork_gets_an_error_and_leaves_the_parent_alone(server: Local) -> None:
    with SimpleClient() as client:
        client.connect(server.url)
        child = os.fork()
        if child == 0:
            signal.alarm(5)
            told = outcome(lambda: client.emit("n")) is ConnectError
            client.disconnect()
            os._exit(0 if told else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        client.emit("n", 1)
        assert client.receive(PATIENCE) == ["n", 1]
