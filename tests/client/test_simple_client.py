"""`rtpush.SimpleClient`: from any thread, interrupted, forked, ended from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
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
    server = Server(port=0, log="memory:", grace=0.1, open_rooms="room")

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


def test_who_is_there(server: Local) -> None:
    with SimpleClient() as ann, SimpleClient() as bob:
        for client in (ann, bob):
            client.connect(server.url)
        present = ann.presence("room")
        ann.join("room", presence={"name": "Ann"})
        event, member = present.receive(PATIENCE)
        assert (event, member["info"]) == ("join", {"name": "Ann"})
        with pytest.raises(TimeoutError):
            present.receive(0)
        waiting = begun(lambda: present.receive(PATIENCE))
        bob.join("room", presence={"name": "Bob"})
        assert waiting.result(PATIENCE)[1]["info"] == {"name": "Bob"}
        assert [one["info"]["name"] for one in present.members] == ["Ann", "Bob"]
        bob.leave("room")
        assert present.receive(PATIENCE)[0] == "leave"
        waiting = begun(present.receive)
        ann.disconnect()
        assert waiting.result(PATIENCE) is ConnectError


EMITS_AND_ENDS = """
import sys
from rtpush import SimpleClient
from rtpush.client import async_client

async_client._DISCONNECT_TIMEOUT = float(sys.argv[2])
client = SimpleClient()
client.connect(sys.argv[1], transports=sys.argv[3])
print("connected", flush=True)
sys.stdin.readline()
for number in range(300):
    client.emit(sys.argv[4], number)
"""


@contextmanager
def program(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A program that is connected, and ends after a line of input."""
    with subprocess.Popen(
        [sys.executable, "-c", EMITS_AND_ENDS, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        yield process


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
def test_a_program_that_ends_sends_what_it_emitted(server: Local, transport: str) -> None:
    with program(server.url, "10", transport, "n") as process:
        assert process.communicate("go\n", PATIENCE) == ("", "")
    assert process.returncode == 0
    with urllib.request.urlopen(f"{server.url}/api/history?limit=1000") as answer:
        events = json.load(answer)["events"]
    assert [event["data"] for event in events] == list(range(300))


def test_a_program_does_not_wait_for_ever_at_its_end(server: Local) -> None:
    # Nothing is answered before its handler returns.
    with program(server.url, "0.1", "websocket", "never") as process:
        _, told = process.communicate("go\n", PATIENCE)
    assert "whether this took effect is not known" in told
    assert process.returncode == 0
