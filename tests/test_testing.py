"""What `rtpush.testing` gives the tests of an application."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rtpush import Client, Publisher, Server, StartError
from rtpush.testing import RunningServer, running

pytest_plugins = ["rtpush.testing"]


def test_what_was_sent_is_there_in_order(rtpush_server: RunningServer) -> None:
    with Publisher() as publisher:
        publisher.publish("news", {"text": "one"})
        publisher.publish("other", room="a")
        publisher.publish("news", {"text": "two"}, room="a")
    news = rtpush_server.received("news")
    assert [(one.data["text"], one.room) for one in news] == [("one", None), ("two", "a")]
    assert [one.event for one in rtpush_server.received(room="a")] == ["other", "news"]
    assert len(rtpush_server.received()) == 3


async def test_what_is_still_to_come_is_waited_for(rtpush_server: RunningServer) -> None:
    client = Client()
    await client.connect()
    waiting = asyncio.create_task(asyncio.to_thread(rtpush_server.received, "said", count=2))
    await client.emit("said", 1)
    await client.emit("said", 2)
    assert [one.data for one in await waiting] == [1, 2]
    with pytest.raises(TimeoutError, match=r"3 such events .* and 2 came; all: said, said"):
        rtpush_server.received("said", count=3, timeout=0)
    await client.disconnect()


def test_time_passes_at_once(rtpush_server: RunningServer) -> None:
    with Publisher() as publisher:
        publisher.publish("task_created", {"id": 1, "formData": {}, "mode": "any"})
    rtpush_server.advance(23 * 3600)
    assert rtpush_server.received("task_failed") == []
    rtpush_server.advance(3600)
    (failed,) = rtpush_server.received("task_failed")
    assert failed.data == {"id": "1", "error": "expired"}


class TestSettings:
    """Settings of a class's, or a file's, own."""

    @pytest.fixture
    def rtpush_settings(self) -> dict[str, Any]:
        return {"relay": ["chat"]}

    def test_they_are_those_of_a_fixture(self, rtpush_server: RunningServer) -> None:
        assert rtpush_server.server.settings.relay == ("chat",)


def test_a_server_of_the_application_is_called_from_the_test() -> None:
    server = Server(port=0, log="memory:")
    with running(server) as here:
        asyncio.run(server.emit("hello", "world"))
        assert [one.data for one in here.received("hello")] == ["world"]


def test_a_server_that_cannot_start_leaves_nothing() -> None:
    with pytest.raises(StartError), running(Server(port=0, log="sqlite:/nowhere/at/all.db")):
        pass
    assert "rtpush-test" not in [thread.name for thread in threading.enumerate()]
