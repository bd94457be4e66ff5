"""Programs as Flask-SocketIO's documentation has them, with nothing but the import changed."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import flask
import flask_socketio as original
import pytest
from processes import PATIENCE
from redisserver import RedisServer

import rtpush
import rtpush.contrib.flask_socketio as ours
from rtpush.contrib.flask_socketio import SocketIO, emit, join_room, leave_room, rooms, send
from rtpush.contrib.flask_socketio.node import Node
from rtpush.errors import RtpushError

TABLES = Path(__file__).parents[2] / "docs/how-to/from-flask-socketio.md"
CLASSES = ["SocketIO", "Namespace", "SocketIOTestClient"]


class Site:
    """An application that does a little of everything."""

    def __init__(self) -> None:
        app = self.app = flask.Flask(__name__)
        app.config["SECRET_KEY"] = "a secret"
        sio = self.sio = SocketIO(app, cors_allowed_origins="*", async_mode="eventlet")
        self.gone: list[str] = []

        @app.get("/login/<name>")
        def login(name):  # type: ignore[no-untyped-def]
            flask.session["name"] = name
            return "welcome"

        @app.get("/shout")
        def shout():  # type: ignore[no-untyped-def]
            sio.emit("shouted", {"loud": True})
            return "done"

        @sio.on("connect")
        def connect(auth):  # type: ignore[no-untyped-def]
            if flask.request.args.get("banned"):
                raise ours.ConnectionRefusedError("banned")
            emit("active_tasks", {"tasks": []})
            emit("welcome", [flask.session.get("name"), auth, flask.request.remote_addr])

        @sio.on("disconnect")
        def disconnect(reason):  # type: ignore[no-untyped-def]
            self.gone.append(f"{flask.session.get('said', 0)} {reason}")

        @sio.event
        def enter(data, more=None):  # type: ignore[no-untyped-def]
            join_room(data)
            emit("entered", more, to=data, include_self=False)
            return rooms()[1:]

        @sio.event
        def join(data):  # type: ignore[no-untyped-def]
            join_room(data["room"])

        @sio.event(namespace="/")
        def quit_garden():  # type: ignore[no-untyped-def]
            leave_room("garden")
            return "left", rooms()[1:]

        @sio.on("message")
        def say(text):  # type: ignore[no-untyped-def]
            flask.session["said"] = flask.session.get("said", 0) + 1
            send(text, broadcast=True)

        @sio.on("*")
        def other(event, data):  # type: ignore[no-untyped-def]
            emit("other", (event, data))

        @sio.event
        def fail(kind):  # type: ignore[no-untyped-def]
            raise ValueError if kind == "value" else KeyError

        @sio.event
        def leave_us():  # type: ignore[no-untyped-def]
            ours.disconnect()

        @sio.on_error_default
        def failed(exc):  # type: ignore[no-untyped-def]
            if isinstance(exc, KeyError):
                raise exc
            return f"failed for {flask.request.sid[:0]}{type(exc).__name__}"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.sio.stop()


def names(client: ours.SocketIOTestClient) -> list[Any]:
    return [(event["name"], event["args"]) for event in client.get_received()]


def test_handlers_have_the_request_and_the_session(site: Site) -> None:
    http = site.app.test_client()
    http.get("/login/ada")
    ada = site.sio.test_client(site.app, flask_test_client=http, auth={"key": 1})
    bob = site.sio.test_client(site.app)
    banned = site.sio.test_client(site.app, query_string="?banned=1")
    assert (ada.is_connected(), banned.is_connected()) == (True, False)
    assert names(ada) == [("welcome", [["ada", {"key": 1}, "127.0.0.1"]])]
    assert names(bob) == [("welcome", [[None, None, "127.0.0.1"]])]

    assert ada.emit("enter", "garden", callback=True) == ["garden"]
    assert bob.emit("enter", "garden", "hi", callback=True) == ["garden"]
    assert (names(ada), names(bob)) == ([("entered", ["hi"])], [])
    bob.emit("join", {"room": "pond"})
    assert bob.emit("quit_garden", callback=True) == ("left", ["pond"])
    ada.send("hello")
    ada.send("bye")
    assert names(bob) == [("message", "hello"), ("message", "bye")]
    names(ada)
    ada.emit("whatever", 7)
    assert names(ada) == [("other", ["whatever", 7])]

    assert ada.emit("fail", "value", callback=True) == "failed for ValueError"
    with pytest.raises(RtpushError, match="failed to handle"):
        ada.emit("fail", "key")
    http.get("/shout")
    assert names(bob) == [("shouted", [{"loud": True}])]
    site.gone.clear()
    ada.disconnect()
    bob.emit("leave_us")
    assert not bob.is_connected()
    with pytest.raises(RuntimeError, match="not connected"):
        bob.get_received()
    assert site.gone == ["2 client disconnect", "0 server disconnect"]


def test_the_server_asks_a_client(site: Site) -> None:
    server = site.sio.serve_in_thread(site.app)
    answered = threading.Event()
    with rtpush.SimpleClient() as client:
        client.connect(server.url)
        client._client.on("double", lambda number: 2 * number)
        sid = client.sid
        assert site.sio.call("double", 21, to=sid, timeout=PATIENCE) == 42
        site.sio.emit("double", 4, to=sid, callback=lambda number: number == 8 and answered.set())
        assert answered.wait(PATIENCE)


def test_a_class_of_handlers_and_other_namespaces() -> None:
    class Chat(ours.Namespace):
        def on_say(self, text):  # type: ignore[no-untyped-def]
            self.emit("said", text)
            return self.rooms(flask.request.sid) == rooms()  # type: ignore[attr-defined]

    app = flask.Flask(__name__)
    sio = SocketIO()
    sio.on_namespace(Chat("/"))
    sio.init_app(app)
    client = sio.test_client(app)
    try:
        assert client.emit("say", "hello", callback=True) is True
        assert names(client) == [("said", ["hello"])]
    finally:
        sio.stop()
    for refused in (
        lambda: sio.on("x", namespace="/chat"),
        lambda: sio.emit("x", namespace="/chat"),
        lambda: Chat("/chat"),
    ):
        with pytest.raises(ValueError, match="only '/': use rooms"):
            refused()
    with pytest.raises(RuntimeError, match="no server runs in this process"):
        sio.emit("x")


PROGRAM = """
from flask import Flask
from rtpush.contrib.flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(app, log="memory:")

@app.get("/shout")
def shout():
    socketio.emit("shouted", {"loud": True})
    return "done"

@app.get("/stop")
def stop():
    socketio.stop()
    return "stopping"

@socketio.event
def connect():
    emit("welcome")

if __name__ == "__main__":
    socketio.run(app, port=0, debug=True, use_reloader=False, allow_unsafe_werkzeug=True)
"""


def test_routes_and_clients_share_a_port(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "app.py")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running,
        ExitStack() as end,
    ):
        end.callback(running.kill)
        assert running.stdout is not None
        url = next(line.split()[1] for line in running.stdout if "Open" in line)

        def get(path: str) -> bytes:
            with urllib.request.urlopen(url + path, timeout=PATIENCE) as answer:
                return bytes(answer.read())

        for path in ("", "socket.io"):
            # The second as contrib.socketio looks for it.
            with rtpush.SimpleClient() as client:
                client.connect(url, socketio_path=path)
                assert client.receive(timeout=PATIENCE)[0] == "welcome"
                assert get("shout") == b"done"
                assert client.receive(timeout=PATIENCE) == ["shouted", {"loud": True}]
        assert b"rtpush" in get("socket.io/dist/rtpush.min.js")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get("api/tasks")
        assert get("stop") == b"stopping"
        assert running.wait(PATIENCE) == 0


def test_other_processes_send_through_the_message_queue(redis_server: RedisServer) -> None:
    url = redis_server.url("flask")
    app = flask.Flask(__name__)
    web, other = SocketIO(app, message_queue=url), SocketIO(message_queue=url)
    node = Node(web.new_server(app, port=0), listens=True)
    node.start()
    try:
        with rtpush.SimpleClient() as client:
            client.connect(node.server.url)
            other.emit("told", 1)
            assert client.receive(timeout=PATIENCE) == ["told", 1]
    finally:
        other.stop()
        node.stop()
    with pytest.raises(ValueError, match="a log in Redis"):
        SocketIO(message_queue="amqp://host")


async def test_a_server_that_others_reach_needs_a_connect_handler() -> None:
    app = flask.Flask(__name__)
    server = SocketIO(app).new_server(app, host="0.0.0.0", port=0, log="memory:")
    with pytest.raises(rtpush.StartError, match="nothing asks who they are"):
        await server.start()


# ---- every public name -------------------------------------------------------


def rows(title: str) -> dict[str, str]:
    """Name → what becomes of it, from the table under a title."""
    section = TABLES.read_text().split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    found: dict[str, str] = {}
    for listed, fate in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.M):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", listed), fate.strip())
    return found


@pytest.mark.parametrize("name", CLASSES)
def test_the_tables_tell_of_every_method(name: str) -> None:
    theirs, mine, table = getattr(original, name), getattr(ours, name), rows(f"`{name}`")
    assert {one for one, _ in inspect.getmembers(theirs) if not one.startswith("_")} == set(table)
    for method, fate in table.items():
        if not fate.startswith("the same"):
            assert not hasattr(mine, method), method
            continue
        function = getattr(theirs, method)
        if inspect.isfunction(function):
            wanted = set(inspect.signature(function).parameters) - {"ignore_queue"}
            taken = inspect.signature(getattr(mine, method)).parameters
            open_ended = any(one.kind is one.VAR_KEYWORD for one in taken.values())
            assert open_ended or wanted - {"args", "kwargs"} <= set(taken), method


def test_the_table_tells_of_every_function() -> None:
    theirs = {
        name
        for name, value in vars(original).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith(("flask_socketio", "socketio.exceptions"))
    }
    assert theirs == set(rows("The functions")) | set(CLASSES) == set(ours.__all__)
