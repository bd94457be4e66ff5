"""What the server counts, in the text that Prometheus reads.

Rules that hold here:

- Nothing is counted twice: what another part knows already (sessions, the
  log's newest number) is asked for when somebody looks.
- The format is Prometheus' text format 0.0.4; names end in their unit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .hub import Hub

__all__ = ["Metrics"]


@dataclass(slots=True)
class Metrics:
    """The counters that nobody else keeps. `refusals` is by error code.

    `throttled` counts how often a client was found to send more than it may.
    """

    published: int = 0
    throttled: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def render(self, hub: Hub) -> str:
        """The text of `GET /metrics`."""
        log, kinds = hub.log, Counter[str]()
        for session in hub.sessions.values():
            kinds[session.group.framing.name if session.group else ""] += 1
        lines = [
            *_metric("rtpush_sessions", "gauge", "Open sessions by transport.", "transport", kinds),
            *_metric("rtpush_sessions_lagging", "gauge", "Sessions that lag.", hub.lagging()),
            *_metric("rtpush_deliveries_total", "counter", "Writes to sessions.", hub.deliveries),
            *_metric("rtpush_log_last_seq", "counter", "The newest entry's number.", log.last),
            *_metric("rtpush_log_first_seq", "gauge", "The oldest entry's number.", log.first),
            *_metric("rtpush_tasks_active", "gauge", "Tasks on the board.", len(log.board)),
            *_metric("rtpush_published_total", "counter", "Events from the API.", self.published),
            *_metric("rtpush_throttled_total", "counter", "Clients too fast.", self.throttled),
            *_metric(
                "rtpush_refusals_total",
                "counter",
                "Refusals by code.",
                "code",
                self.refusals,
            ),
        ]
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, help_: str, *value: int | str | Counter[str]) -> list[str]:
    lines = [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
    if len(value) == 1:
        return [*lines, f"{name} {value[0]}"]
    label, counts = value
    assert isinstance(counts, Counter)
    return [*lines, *(f'{name}{{{label}="{key}"}} {count}' for key, count in counts.items())]
