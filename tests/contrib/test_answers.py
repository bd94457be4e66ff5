"""Answers of OpenAI's and Anthropic's real packages, from a stand-in for their services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pytest
from aiohttp import web
from clients import PATIENCE, until

from rtpush import AsyncPublisher, AsyncReport, Publisher, Report, RtpushError, Server, WorkTask
from rtpush.work.stream import stream_blocking, text_of
from rtpush.work.task import Work

WORDS = ["Once ", "upon ", "a ", "time."]


def completion(words: list[str]) -> Iterator[dict[str, Any]]:
    """The chunks of a chat completion."""
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    for delta in ({"role": "assistant", "content": ""}, *({"content": word} for word in words)):
        yield common | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield common | {"choices": []}


def message(words: list[str]) -> Iterator[dict[str, Any]]:
    """The events of a message."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    about = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    yield {"type": "message_start", "message": about | {"stop_reason": None, "usage": usage}}
    block = {"type": "text", "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for word in words:
        delta = {"type": "text_delta", "text": word}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_stop"}


class Service:
    """Answers as both services do; without an end while it is told to."""

    def __init__(self) -> None:
        self.endless = False
        self.left = asyncio.Event()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, completion(WORDS), "[DONE]")

    async def write(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, message(WORDS), "")

    async def _answer(
        self, request: web.Request, events: Iterator[dict[str, Any]], end: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            name = f"event: {event['type']}\n" if "type" in event else ""
            await response.write(f"{name}data: {json.dumps(event)}\n\n".encode())
            while self.endless and WORDS[0] in str(event):
                try:
                    await response.write(f"{name}data: {json.dumps(event)}\n\n".encode())
                except ConnectionError:
                    self.left.set()
                    raise
                await asyncio.sleep(0)
        if end:
            await response.write(f"data: {end}\n\n".encode())
        return response


@asynccontextmanager
async def service() -> AsyncIterator[tuple[Service, str]]:
    found = Service()
    app = web.Application()
    app.router.add_post("/chat/completions", found.complete)
    app.router.add_post("/v1/messages", found.write)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield found, runner.addresses[0][1]
    await runner.cleanup()


ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a story"}]}


def openai_in_thread(port: str) -> Work:
    openai = import_module("openai")

    def work(task: WorkTask, report: Report) -> str:
        with openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{port}") as client:
            return task.stream(client.chat.completions.create(**ASKED, stream=True))

    return work


def openai_in_coroutine(port: str) -> Work:
    openai = import_module("openai")

    async def work(task: WorkTask, report: AsyncReport) -> str:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.chat.completions.create(**ASKED, stream=True)
            return await task.stream(answer)

    return work


def anthropic_in_thread(port: str) -> Work:
    anthropic = import_module("anthropic")

    def work(task: WorkTask, report: Report) -> str:
        with anthropic.Anthropic(api_key="k", base_url=f"http://127.0.0.1:{port}") as client:
            return task.stream(client.messages.create(**ASKED, max_tokens=9, stream=True))

    return work


def anthropic_in_coroutine(port: str) -> Work:
    anthropic = import_module("anthropic")

    async def work(task: WorkTask, report: AsyncReport) -> str:
        address = f"http://127.0.0.1:{port}"
        async with (
            anthropic.AsyncAnthropic(api_key="k", base_url=address) as client,
            client.messages.stream(**ASKED, max_tokens=9) as stream,
        ):
            return await task.stream(stream.text_stream)

    return work


def langchain_model() -> Any:
    models = import_module("langchain_core.language_models")
    return models.FakeListChatModel(responses=["".join(WORDS)])


async def test_a_model_of_langchain_is_streamed() -> None:
    model = langchain_model()

    async def work(task: WorkTask, report: AsyncReport) -> str:
        return await task.stream(model.astream("a story"))

    async with Server(port=0, log="memory:", work=work) as server:
        await server.emit("task_created", {"id": "lc"})
        await until(lambda: not len(server._log.board))
        ended = server._log.board.get("lc")
        assert ended is not None
        assert (ended.data["text"], ended.data["result"]) == ("".join(WORDS), "".join(WORDS))


@pytest.mark.parametrize(
    "make", [openai_in_thread, openai_in_coroutine, anthropic_in_thread, anthropic_in_coroutine]
)
async def test_an_answer_is_streamed_and_stops_with_its_task(
    make: Callable[[str], Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where these name no usable certificates, the packages could not even begin.
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    async with (
        service() as (stand_in, port),
        Server(port=0, log="memory:", work=make(port)) as server,
    ):
        await server.emit("task_created", {"id": "whole"})
        await until(lambda: not len(server._log.board))
        whole = server._log.board.get("whole")
        assert whole is not None
        assert (whole.data["text"], whole.data["result"]) == ("".join(WORDS), "".join(WORDS))
        stand_in.endless = True
        await server.emit("task_created", {"id": "stopped"})
        await until(lambda: "text" in _fields(server, "stopped"))
        await server.emit("task_cancel", {"id": "stopped"})
        async with asyncio.timeout(PATIENCE):
            await stand_in.left.wait()
        await until(lambda: _fields(server, "stopped")["status"] == "cancelled")


def _fields(server: Server, key: str) -> dict[str, Any]:
    task = server._log.board.get(key)
    return {} if task is None else task.fields


async def test_a_publisher_streams_too() -> None:
    async def words() -> AsyncIterator[str]:
        for word in WORDS:
            yield word

    def in_thread(url: str) -> str:
        with Publisher(url) as publisher, publisher.task("thread") as task:
            return task.stream(WORDS)

    async with Server(port=0, log="memory:") as server:
        assert await asyncio.to_thread(in_thread, server.url) == "".join(WORDS)
        async with AsyncPublisher(server.url) as publisher, publisher.task("loop") as task:
            assert await task.stream(words()) == "".join(WORDS)
        for key in ("thread", "loop"):
            ended = server._log.board.get(key)
            assert ended is not None
            assert ended.data["text"] == "".join(WORDS)


def test_what_comes_while_one_piece_is_told_is_told_as_one() -> None:
    from concurrent.futures import Future

    told: list[str] = []
    futures: list[Future[None]] = []

    def start(text: str) -> Future[None]:
        told.append(text)
        futures.append(Future())
        return futures[-1]

    def pieces() -> Iterator[str]:
        yield "a"
        yield "b"
        yield "c"
        futures[0].set_result(None)
        yield "d"
        futures[1].set_exception(RtpushError("task_cancelling", "It is to end."))
        yield "e"

    with pytest.raises(RtpushError, match="task_cancelling"):
        stream_blocking(pieces(), start)
    assert told == ["a", "bcd"]


def test_what_is_no_text_is_named() -> None:
    with pytest.raises(TypeError, match="int is no piece of text"):
        text_of(7)
