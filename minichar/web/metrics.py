"""What ``/metrics`` tells Prometheus."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from minichar.web.desk import Desk
from minichar.web.scheduler import Busy, Piece

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Gauges(Collector):
    """What a desk has to do at the moment it is asked."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily("minichar_texts", "Texts at the moment.", labels=["state"])
        try:
            for state, number in self.desk.loads().items():
                gauge.add_metric([state], number)
        except Busy:
            pass  # Redis does not answer, so nothing is known
        yield gauge


class Metrics:
    """The counters of one server.

    Parameters
    ----------
    desk : Desk
    """

    def __init__(self, desk: Desk) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Gauges(desk))
        self.requests = Counter(
            "minichar_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self.characters = Counter("minichar_characters", "Characters sent.", registry=self.registry)
        self.first = Histogram(
            "minichar_first_character_seconds",
            "From a request to its first character.",
            registry=self.registry,
            buckets=BUCKETS,
        )

    def counted(self, pieces: Iterator[Piece | None]) -> Iterator[Piece | None]:
        """Pass the pieces of a text on, counting."""
        began, waiting = time.monotonic(), True
        for piece in pieces:
            if piece is not None and piece.text:
                self.characters.inc(len(piece.text))
                if waiting:
                    self.first.observe(time.monotonic() - began)
                waiting = False
            yield piece

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self.registry)
