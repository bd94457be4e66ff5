"""The prototype's server, moved by its import, with the prototype's page in Chromium."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from browser import in_chromium
from flask import Flask, redirect, request, send_from_directory
from playwright.async_api import Browser
from tabs import PAGES, Tab

from rtpush.contrib.flask_socketio import SocketIO, emit

pytestmark = in_chromium

logger = logging.getLogger(__name__)


@pytest.fixture
def socketio() -> Iterator[SocketIO]:
    """The prototype's handlers, and routes for its page."""
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "your-secret-key"
    socketio = SocketIO(app, cors_allowed_origins="*")
    connected_clients: dict[str, Any] = {}
    active_tasks: dict[Any, Any] = {}

    @app.get("/prototype/<path:name>")
    def page(name: str) -> Any:
        return send_from_directory(PAGES / "prototype", name)

    @app.get("/dist/<name>")
    def script(name: str) -> Any:
        return redirect(f"/socket.io/dist/{name}")

    @socketio.on("connect")
    def handle_connect() -> None:
        sid = request.sid  # type: ignore[attr-defined]
        connected_clients[sid] = {"connected_at": time.time(), "ip": request.remote_addr}
        emit("active_tasks", {"tasks": list(active_tasks.values())})

    @socketio.on("disconnect")
    def handle_disconnect() -> None:
        sid = request.sid  # type: ignore[attr-defined]
        connected_clients.pop(sid, None)
        logger.info("%s, %d", sid, len(connected_clients))

    @socketio.on("task_created")
    def handle_task_created(data: Any) -> None:
        active_tasks[data.get("id")] = data
        emit("task_created", data, broadcast=True)

    @socketio.on("task_progress")
    def handle_task_progress(data: Any) -> None:
        if data.get("id") in active_tasks:
            active_tasks[data.get("id")]["progress"] = data.get("progress")
        emit("task_progress", data, broadcast=True)

    @socketio.on("task_completed")
    def handle_task_completed(data: Any) -> None:
        active_tasks.pop(data.get("id"), None)
        emit("task_completed", data, broadcast=True)

    socketio.serve_in_thread(app)
    yield socketio
    socketio.stop()


async def test_the_prototype_s_server_runs_by_its_changed_import(
    browser: Browser, socketio: SocketIO
) -> None:
    async def shown(tab: Tab, *entry: Any) -> None:
        await tab.until(
            "entry => shown.some((one) => JSON.stringify(one) === entry)",
            json.dumps(entry, ensure_ascii=False, separators=(",", ":")),
        )

    assert socketio.server is not None
    url = f"{socketio.server.url}prototype/index.html"  # type: ignore[attr-defined]
    one = await Tab.open(browser, url, begin=False)
    await shown(one, "showToast", "实时连接已建立", "success")
    await one.run("app.submitTask({prompt: 'a lake'}, 'fast')")
    await one.run("ws.emit('task_progress', {id: 1, progress: 40, message: 'water'})")
    await shown(one, "updateTaskProgress", 1, 40, "water")
    # Who comes later is told by the server of what the handlers have emitted.
    two = await Tab.open(browser, url, begin=False)
    await shown(two, "createTaskCard", 1, "a lake")
    await one.run("ws.emit('task_completed', {id: 1, result: {url: 'a.png'}})")
    await shown(two, "showTaskResult", 1, {"url": "a.png"})
