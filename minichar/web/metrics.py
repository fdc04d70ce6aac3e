"""Prometheus metrics, served at ``/metrics``."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from minichar.web.job import Busy, Update
from minichar.web.queue import JobQueue

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class JobGauge(Collector):
    """Gauge that reads the number of unfinished jobs from the queue at scrape time."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge, which has no values while Redis is unreachable."""
        gauge = GaugeMetricFamily("minichar_jobs", "Unfinished jobs.", labels=["state"])
        try:
            for state, number in self.queue.job_counts().items():
                gauge.add_metric([state], number)
        except Busy:
            pass
        yield gauge


class Metrics:
    """Metrics for one server.

    Parameters
    ----------
    queue : JobQueue
    """

    def __init__(self, queue: JobQueue) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(JobGauge(queue))
        ProcessCollector(registry=self.registry)  # memory, CPU time, open files and start time, on Linux
        self.requests = Counter(
            "minichar_requests", "HTTP responses sent.", ["route", "status"], registry=self.registry
        )
        self.characters = Counter("minichar_characters", "Characters sent.", registry=self.registry)
        self.first = Histogram(
            "minichar_first_character_seconds",
            "Time from a request to its first generated character.",
            registry=self.registry,
            buckets=BUCKETS,
        )

    def count(self, updates: Iterator[Update | None]) -> Iterator[Update | None]:
        """Yield `updates` unchanged, counting their characters and timing the first character."""
        start, waiting = time.monotonic(), True
        for update in updates:
            if update is not None and update.text:
                self.characters.inc(len(update.text))
                if waiting:
                    self.first.observe(time.monotonic() - start)
                waiting = False
            yield update

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)
