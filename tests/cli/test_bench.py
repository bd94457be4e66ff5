"""`rtpush bench`: its figures and its errors."""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from terminals import RTPUSH, Terminal, run

from rtpush.cli.load_generator import LoadGenerator, LoadGeneratorError
from rtpush.cli.main import main


async def test_a_short_measurement() -> None:
    # The environment has no say: with this the server would not start.
    code, out, err = await run("bench", "--connections=20", "--time=100ms", url="RTPUSH_PORT=x")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"rtpush on .+\n"
        r" +memory +-?[\d.]+ KiB per connection, 20 of them\n"
        r" +latency +median [\d.]+ ms, p99 [\d.]+ ms, .+\n"
        r" +speed +[\d,]+ deliveries/s, [\d,]+ events to all in [\d.]+ s\n",
        out,
    )


def test_memory_without_psutil_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert main(["bench", "--connections=2", "--time=100ms"]) == 0
    shown = capsys.readouterr().out
    assert "memory   needs psutil; install it: pip install 'rtpush[cli]'\n" in shown
    assert "deliveries/s" in shown


async def test_it_shows_its_steps() -> None:
    command = (*RTPUSH, "bench", "--connections=2", "--time=100ms")
    async with Terminal().running(*command) as terminal:
        await terminal.shows("connecting 2 clients.*one event at a time.*many events at once")
        assert await terminal.ended() == 0


@contextmanager
def killed_server(welcome: int, now: threading.Event) -> Iterator[int]:
    """The port of one that lets so many of two clients in, and is killed."""

    def serve() -> None:
        connections = [listener.accept()[0] for _ in range(2)]
        for connection in connections:
            connection.recv(1000)
        for connection in connections[:welcome]:
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\nactive_tasks")
        now.wait()
        for connection in connections:
            # As the kernel does it when something was not read yet.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_server_that_is_killed() -> None:
    now = threading.Event()
    with killed_server(2, now) as port, closing(LoadGenerator(port)) as load:
        assert [*load.open(2)] == [2]
        now.set()
        with pytest.raises(LoadGeneratorError, match="the server has closed a connection"):
            [*load.deliveries(1)]
    told = pytest.raises(LoadGeneratorError, match="client 2 cannot connect")
    with killed_server(1, now) as port, closing(LoadGenerator(port)) as load, told:
        [*load.open(2)]


async def test_limits() -> None:
    few = await run("bench", "--connections=0")
    assert (few.code, few.out) == (2, "")
    assert "--connections is from 1 to" in few.err
