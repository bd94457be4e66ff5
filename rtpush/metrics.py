"""Metrics: the counters of a server, and the text that Prometheus scrapes.

Nothing is counted twice: what another part knows already (sessions, the log's newest
number) is asked for at a scrape. Our counters are integers: adding to one takes a third of
the time that a counter of prometheus-client takes, which holds a lock for threads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .errors import CODES
from .framing import FRAMINGS
from .hub import Hub

__all__ = ["CONTENT_TYPE", "Metrics"]


@dataclass(slots=True)
class Metrics:
    """The counters that no other part keeps."""

    # Events that publishers sent by the API and the log took.
    published: int = 0
    # How often a client was found to send more than it may.
    throttled: int = 0
    # Refusals by error code.
    refusals: Counter[str] = field(default_factory=Counter)

    def render(self, hub: Hub) -> bytes:
        """The answer to a scrape, in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Scrape(self, hub))
        return generate_latest(registry)


class _Scrape(Collector):
    """All metrics at one moment; every series is there from the start."""

    def __init__(self, metrics: Metrics, hub: Hub) -> None:
        self._metrics = metrics
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        metrics, hub, log = self._metrics, self._hub, self._hub.log
        yield self._sessions()
        yield GaugeMetricFamily("rtpush_sessions_lagging", "Sessions that lag.", hub.lagging())
        yield CounterMetricFamily("rtpush_deliveries", "Writes to sessions.", hub.deliveries)
        yield GaugeMetricFamily("rtpush_log_last_seq", "The newest entry's number.", log.last)
        yield GaugeMetricFamily("rtpush_log_first_seq", "The oldest entry's number.", log.first)
        yield GaugeMetricFamily("rtpush_tasks_active", "Tasks on the board.", len(log.board))
        yield CounterMetricFamily("rtpush_published", "Events from the API.", metrics.published)
        yield CounterMetricFamily("rtpush_throttled", "Clients too fast.", metrics.throttled)
        refusals = CounterMetricFamily("rtpush_refusals", "Refusals by code.", labels=["code"])
        for code in CODES:
            refusals.add_metric([code], metrics.refusals[code])
        yield refusals

    def _sessions(self) -> Metric:
        counts = Counter(s.group.framing.name for s in self._hub.sessions.values() if s.group)
        family = GaugeMetricFamily(
            "rtpush_sessions", "Open sessions by transport.", labels=["transport"]
        )
        for name in dict.fromkeys(framing.name for framing in FRAMINGS):
            family.add_metric([name], counts[name])
        return family
