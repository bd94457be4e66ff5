"""Streams of text into a task: each piece is told at once, and what comes meanwhile as one.

Rules that hold here:

- One append is under way at a time. A server that is far away holds up no model: the pieces that
  come while it is told of one are told together, next.
- Of what a library yields, only the text is taken. A piece without any is passed over.
- A stream that is left before its end is closed, so that the model behind it stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from inspect import isawaitable
from typing import Any

__all__ = ["stream_async", "stream_blocking", "text_of"]


def text_of(piece: Any) -> str:
    """The text of a piece: a string, or a chunk of OpenAI's, Anthropic's or LangChain's streams.

    Raises TypeError for what is no such thing.
    """
    if isinstance(piece, str):
        return piece
    choices = getattr(piece, "choices", None)
    if isinstance(choices, list):
        # A chat completion: the last chunk may have no choice.
        return (choices[0].delta.content or "") if choices else ""
    kind = getattr(piece, "type", None)
    if kind == "response.output_text.delta":
        return str(piece.delta)
    if kind == "content_block_delta":
        return getattr(piece.delta, "text", None) or ""
    content = getattr(piece, "content", None)
    if isinstance(content, str):
        # A message chunk of LangChain.
        return content
    if isinstance(kind, str):
        # The other events of a response or a message.
        return ""
    raise TypeError(f"{type(piece).__name__} is no piece of text: give strings")


def stream_blocking(pieces: Iterable[Any], start: Callable[[str], Future[None]]) -> str:
    """Tell all pieces; returns the whole text. `start` begins to append. Raises what that does."""
    whole: list[str] = []
    behind: list[str] = []
    under_way: Future[None] | None = None
    try:
        for piece in pieces:
            if not (text := text_of(piece)):
                continue
            whole.append(text)
            behind.append(text)
            if under_way is None or under_way.done():
                _check(under_way)
                under_way, behind = start("".join(behind)), []
        _check(under_way)
        if behind:
            start("".join(behind)).result()
    except BaseException:
        _close(pieces)
        raise
    return "".join(whole)


def _check(under_way: Future[None] | None) -> None:
    """Wait for the append that is under way. Raises what it does."""
    if under_way is not None:
        under_way.result()


def _close(pieces: Any) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        # The reason why the stream is left matters more.
        with suppress(Exception):
            close()


async def stream_async(pieces: AsyncIterable[Any], append: Callable[[str], Awaitable[None]]) -> str:
    """Tell all pieces; returns the whole text. Raises what `append` does."""
    whole: list[str] = []
    behind: list[str] = []
    under_way: asyncio.Future[None] | None = None
    try:
        async for piece in pieces:
            if not (text := text_of(piece)):
                continue
            whole.append(text)
            behind.append(text)
            if under_way is None or under_way.done():
                if under_way is not None:
                    under_way.result()
                under_way, behind = asyncio.ensure_future(append("".join(behind))), []
        if under_way is not None:
            await under_way
        if behind:
            await append("".join(behind))
    except BaseException:
        if under_way is not None:
            under_way.cancel()
        await _aclose(pieces)
        raise
    return "".join(whole)


async def _aclose(pieces: Any) -> None:
    close = getattr(pieces, "aclose", None) or getattr(pieces, "close", None)
    if close is not None:
        with suppress(Exception):
            closing = close()
            if isawaitable(closing):
                await closing
