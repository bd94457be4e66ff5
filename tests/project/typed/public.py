"""All that is public, used as its types allow: `mypy --strict` reads this, nothing runs it.

`tests/project/test_public.py` holds it to be complete.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from aiohttp import ClientSession, web

import rtpush
from rtpush import (
    ASGIApp,
    AsyncPublisher,
    AsyncReport,
    Client,
    ConfigError,
    ConnectError,
    Event,
    Publisher,
    Report,
    RtpushError,
    Server,
    Settings,
    SimpleClient,
    StartError,
    TaskCancelled,
    TaskEnded,
    Worker,
    WorkTask,
    track,
)
from rtpush.contrib.tqdm import tqdm, trange

server = Server(
    Settings(port=8080, log="memory:"),
    relay="chat",
    retention_age="30d",
    max_body=2**20,
    cors_allowed_origins=["https://app.example.com"],
    async_mode="aiohttp",
)

# What a type checker refuses: strict mypy complains of an `ignore` without an error.
Server(prot=5000)  # type: ignore[call-arg]
Server(log=3)  # type: ignore[arg-type]
Settings(prot=5000)  # type: ignore[call-arg]
Settings(log=3)  # type: ignore[arg-type]
Settings(retention_age="30d", client="site")
Server(rooms={"chat:*": {"enter": "token", "events": ["said"], "history_age": "7d"}})
Server(rooms={"chat:*": {"enter": "guests"}})  # type: ignore[typeddict-item]
Server(rooms={"chat:*": {"entr": "anyone"}})  # type: ignore[typeddict-unknown-key]
Server(json_default=str)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool | None:
    if auth is None:
        return False
    await server.save_session(sid, {"name": environ["rtpush.subject"]})
    assert_type(await server.presence("lobby"), list[dict[str, Any]])
    assert_type(server.member_id(sid), str)
    await server.enter_room(sid, "lobby")
    return None


@server.event()
def disconnect(sid: str, reason: str) -> None:
    if reason == server.reason.PING_TIMEOUT:
        print(server.rooms(sid))


@server.on("chat")
async def chat(sid: str, data: dict[str, str]) -> str:
    async with server.session(sid) as session:
        session["said"] = data["text"]
    position = await server.emit("chat", data, room="lobby", skip_sid=sid, key="k", volatile=False)
    assert_type(position, str | None)
    await server.emit("seen", to=[sid], callback=print)
    await server.send("hello", to=sid)
    answer: int = await server.call("age", to=sid, timeout=5)
    return f"{answer} {server.transport(sid)} {(await server.get_session(sid))['said']}"


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "lifespan.startup.complete"})


async def run_it(app: web.Application) -> None:
    server.on("leave", chat)
    server.attach(app, "/push")
    server.host_app(asgi_app)
    asgi = ASGIApp(server, ASGIApp(server, prefix=""), prefix="/push")
    async with asgi.lifespan(app):
        assert_type(asgi.server, Server)
    await server.leave_room("sid", "lobby")
    await server.close_room("lobby")
    assert_type(await server.presence("lobby"), list[dict[str, Any]])
    await server.disconnect("sid")
    server.start_background_task(server.sleep, 1)
    async with server:
        assert_type(server.url, str)
        assert_type(server.port, int)
    await server.start()
    await server.serve(lambda: None)
    await server.stop()


async def generate_async(task: WorkTask, report: AsyncReport) -> str:
    await report(50, "half", append={"text": "word"})
    return "done"


def generate(task: dict[str, Any], report: Report) -> dict[str, Any]:
    try:
        report(50, "half", layer=1)
    except TaskEnded:
        print(task["id"], "was cancelled")
        raise
    return {"text": "done"}


def cancellable(task: WorkTask, report: Report) -> int:
    if task.cancelled or task.wait_cancelled(0.1):
        raise TaskCancelled
    return task.attempt if task.stream(["a", "b"], field="answer") else 0


async def work_elsewhere() -> None:
    worker = Worker("http://127.0.0.1", token="t", queues=["gpu"], concurrency=2, name="gpu-1")
    await worker.serve(cancellable)
    worker.run(generate_async)


def run_for_good() -> None:
    try:
        Server(work=generate).run()
        Server(work=generate_async, concurrency=8, queues=["big"]).run()
    except ConfigError as error:
        print(*error.problems, sep="\n")
    except StartError as error:
        print(error)


async def talk(http: ClientSession) -> AsyncIterator[Event]:
    client = Client(reconnection_attempts=3, http_session=http, ssl_verify=True)

    @client.event
    async def age() -> int:
        return 7

    client.on("*", lambda event, data: print(event, data))
    try:
        await client.connect("http://127.0.0.1", {"X": "y"}, lambda: "token", ["websocket"])
    except ConnectError as error:
        assert_type(error.code, str)
        raise ConnectionError from error
    await client.emit("chat", {"text": "hi"}, callback=print, room="lobby", key="k")
    await client.send("hello")
    assert_type(await client.call("chat", 1, timeout=1), Any)
    await client.join("lobby", "token")
    await client.leave("lobby")
    assert_type(client.retained("weather", "lobby"), dict[str, Any])
    await client.join("lobby", presence={"name": "Ann"})
    assert_type(client.presence("lobby", by="subject").members, list[dict[str, Any]])
    async for event in client.events("task_*"):
        assert_type(event, Event)
        assert_type(event.event, str)
        assert_type(event.id, str | None)
        print(event.data, event.room, event.key, event.rewound, event.retained)
        yield event
    print(client.sid, client.connected, client.position, client.rooms, client.transport())
    print(client.reason.CLIENT_DISCONNECT)
    await client.start_background_task(client.sleep, 0)
    await client.wait()
    await client.shutdown()
    await client.disconnect()


def talk_simply() -> Iterator[Event]:
    with SimpleClient(reconnection=False) as client:
        client.connect("http://127.0.0.1", auth={"token": "t"}, rooms=["a"], retry=True)
        client.join("b", presence={"name": "Ann"})
        assert_type(client.presence("b", by="subject").receive(1), tuple[str, dict[str, Any]])
        client.leave("b")
        client.emit("x", 1, volatile=True)
        client.emit("x", 1, key="k", retain=True)
        client.send("y")
        print(client.call("z", timeout=1), client.receive(timeout=1))
        print(client.sid, client.transport, client.position, client.connected)
        yield from client.events("n")
        client.disconnect()


def publish() -> str | None:
    with Publisher("http://127.0.0.1", key="k", when_away="drop", timeout=1) as publisher:
        publisher.publish_many([{"event": "a"}])
        with publisher.task("id", formData={}) as task:
            task.progress(40, "hills", detail=1)
            task.result = {"layers": 3}
            task.complete()
            task.fail("no")
        assert_type(publisher.flush(1), bool)
        print(publisher.dropped, publisher.rejected)
        position = publisher.publish("a", 1, room="r", key="k", idempotency_key="i")
        publisher.close()
    return position


async def publish_too() -> None:
    async with AsyncPublisher(when_away="spool", spool="a.spool") as publisher:
        await publisher.publish("a", volatile=True)
        await publisher.publish_many([{"event": "a"}])
        async with publisher.task() as task:
            await task.progress(1)
            await task.complete()
            await task.fail("no")
        await publisher.flush()
        print(publisher.dropped, publisher.rejected)
        await publisher.close()


def show() -> None:
    for number in track(range(10), "Counting", url="http://127.0.0.1"):
        assert_type(number, int)
    for number in trange(10):
        assert_type(number, int)
    for letter in tqdm("abc", desc="Spelling", room="r"):
        assert_type(letter, str)


def refuse() -> None:
    print(rtpush.__version__)
    error = RtpushError("forbidden", "Not here.", retry_after=1)
    raise RtpushError.of(error.as_data())
