"""Celery's tasks on the board, with a real worker of Celery's."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import celery
import pytest
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging
from clients import PATIENCE
from servers import Local, in_thread

from rtpush import ConnectError, Publisher, Server
from rtpush.contrib.celery import report, revoke_cancelled, show_tasks


@pytest.fixture(autouse=True)
def logging_as_it_is() -> Iterator[None]:
    """Celery's worker would set the level of all loggers, for every test that comes later."""

    def leave_it(**_: Any) -> None:
        pass

    setup_logging.connect(leave_it)
    yield
    setup_logging.disconnect(leave_it)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(port=0, log="memory:")
    with in_thread(server):
        yield server


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_tasks_of_celery_are_watched_and_revoked(server: Server) -> None:
    app = celery.Celery("tests", broker="memory://", backend="cache+memory://")
    began, go_on = threading.Event(), threading.Event()
    ran: list[str] = []
    with Publisher(Local.of(server).url) as publisher:

        @app.task(bind=True, name="paint")
        def paint(self: Any, what: str) -> dict[str, str]:
            ran.append(what)
            report(publisher, self, 50, "half", colour="blue")
            if what == "slow":
                began.set()
                assert go_on.wait(PATIENCE)
                report(publisher, self, 60)
            if what == "bad":
                raise ValueError("no such colour")
            return {"painted": what}

        show_tasks(publisher, ["paint"])

        def shown(key: str) -> dict[str, Any]:
            task = server._log.board.get(key)
            return {} if task is None else task.data

        def revoke() -> None:
            with suppress(ConnectError):
                revoke_cancelled(app, Local.of(server).url)

        revoking = threading.Thread(target=revoke, daemon=True)
        revoking.start()
        until(lambda: len(server._hub.sessions) == 1)
        with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
            good, bad = paint.delay("good"), paint.delay("bad")
            until(lambda: shown(bad.id).get("status") == "failed")
            task = shown(good.id)
            assert (task["status"], task["result"]) == ("completed", {"painted": "good"})
            assert (task["progress"], task["colour"], task["worker"]) == (50, "blue", "celery")
            assert task["formData"] == {"prompt": "paint ('good',)"}
            assert shown(bad.id)["error"] == "no such colour"
            slow, waits = paint.delay("slow"), paint.delay("never")
            assert began.wait(PATIENCE)
            assert shown(waits.id)["status"] == "queued"
            for one in (waits, slow):
                publisher.publish("task_cancel", {"id": one.id})
            assert shown(waits.id)["status"] == "cancelled"
            go_on.set()
            until(lambda: shown(slow.id)["status"] == "cancelled")
            last = paint.delay("last")
            until(lambda: shown(last.id).get("status") == "completed")
        assert ran == ["good", "bad", "slow", "last"]
        (sid,) = server._hub.sessions
        request = urllib.request.Request(f"{server.url}api/connections/{sid}", method="DELETE")
        urllib.request.urlopen(request).close()
        revoking.join(PATIENCE)
