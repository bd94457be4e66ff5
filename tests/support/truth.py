"""What a client knows of retained events and of members, by PROTOCOL.md, sections 12 and 13."""

from __future__ import annotations

from typing import Any

from clients import Envelope, split

Name = tuple[str | None, str, str]


class Truth:
    """`values` has the data by room, event and key."""

    def __init__(self) -> None:
        self.values: dict[Name, Any] = {}
        # The number of a room's last `state`, until its `active_tasks` comes; None: of all.
        self._open: dict[str | None, int] = {}

    def take(self, envelopes: list[Envelope]) -> dict[str, Any]:
        """What it knows after these, by key."""
        for envelope in envelopes:
            self._take(envelope, envelope.get("event", ""), envelope.get("room"))
        return {key: data for (_, _, key), data in self.values.items()}

    def _take(self, envelope: Envelope, event: str, room: str | None) -> None:
        if event == "state":
            self._begin(room)
            self._open[room] = split(envelope["id"])[1]
            for entry in envelope["data"]["entries"]:
                assert "retain" not in entry
                assert entry["retained"] is True
                self.values[entry.get("room"), entry["event"], entry["key"]] = entry["data"]
        elif event == "active_tasks":
            at = self._open.pop(room, None)
            if at is None:
                self._begin(room)
            else:
                assert at == split(envelope["id"])[1], "both are true at one position"
        elif envelope.get("retain"):
            self.values.pop((room, event, envelope["key"]), None)
            if envelope["data"] is not None:
                self.values[room, event, envelope["key"]] = envelope["data"]
        elif event == "presence" and "id" in envelope:
            for what, members in envelope["data"].items():
                for member in members:
                    self.values.pop((room, event, member["id"]), None)
                    if what != "left":
                        self.values[room, event, member["id"]] = member

    def _begin(self, room: str | None) -> None:
        for name in [name for name in self.values if room in (None, name[0])]:
            del self.values[name]
