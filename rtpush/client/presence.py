"""Who is present in a room, as `client.presence(room)` shows it. PROTOCOL.md, section 13.

Rules that hold here:

- It shows what the client knows of the room's retained events, and tells what has changed.
- With `by="subject"` the connections of one person count as one: the person joins with the
  first of them and leaves with the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from .retained import PRESENCE, RetainedValues

__all__ = ["Member", "Presence", "PresenceViews", "changes"]

Member = dict[str, Any]
Handler = Callable[[Member], Any]

_EVENTS: Final = ("join", "change", "leave")


class Presence:
    """The members of a room that the client is in."""

    def __init__(self, values: RetainedValues, room: str, by: Literal["id", "subject"]) -> None:
        self._values = values
        self._room = room
        self._by = by
        self._handlers: dict[str, Handler] = {}
        self._known = self.by_key()

    @property
    def members(self) -> list[Member]:
        """Who is there now, each with its `id`, `info`, and `subject` if it has one."""
        return list(self.by_key().values())

    def on(self, event: str, handler: Handler | None = None) -> Any:
        """Register a handler of `join`, `change` or `leave`, which is called with the member.

        Args:
            event: One of the three.
            handler: A function or coroutine function; without one this is a decorator.

        Returns:
            The handler, or the decorator.

        Raises:
            ValueError: Another event.
        """
        if event not in _EVENTS:
            raise ValueError(f"{event!r} is not one of {', '.join(_EVENTS)}")

        def register(handler: Handler) -> Handler:
            self._handlers[event] = handler
            return handler

        return register if handler is None else register(handler)

    def update(self, room: str | None, call: Callable[..., None]) -> None:
        """A room's members have changed: call the handlers."""
        if room != self._room:
            return
        before, self._known = self._known, self.by_key()
        for event, _key, member in changes(before, self._known):
            if event in self._handlers:
                call(self._handlers[event], member)

    def by_key(self) -> dict[str, Member]:
        """Who is there now, by id, or the first of each subject."""
        found: dict[str, Member] = {}
        for member in self._values.of(PRESENCE, self._room).values():
            subject = member.get("subject") if self._by == "subject" else None
            found.setdefault(subject or member["id"], member)
        return found


def changes(before: dict[str, Member], now: dict[str, Member]) -> list[tuple[str, str, Member]]:
    """What leads from one to the other: `leave`, `join` or `change`, the key and the member."""
    told = [("leave", key, one) for key, one in before.items() if key not in now]
    for key, one in now.items():
        if before.get(key) != one:
            told.append(("change" if key in before else "join", key, one))
    return told


class PresenceViews:
    """The views of one client."""

    def __init__(self, values: RetainedValues) -> None:
        self._values = values
        self._views: list[Presence] = []

    def add(self, room: str, by: Literal["id", "subject"]) -> Presence:
        """A view of a room."""
        view = Presence(self._values, room, by)
        self._views.append(view)
        return view

    def update(self, room: str | None, call: Callable[..., None]) -> None:
        """A room's members have changed."""
        for view in self._views:
            view.update(room, call)
