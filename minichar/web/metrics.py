"""Prometheus metrics, served at ``/metrics``."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from minichar.web.update import Update

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class JobGauge(Collector):
    """Gauge of the number of unfinished jobs in each state.

    Attributes
    ----------
    counts : dict of str to int
        Set before each scrape; empty while Redis is unreachable.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily("minichar_jobs", "Unfinished jobs.", labels=["state"])
        for state, number in self.counts.items():
            gauge.add_metric([state], number)
        yield gauge


class Metrics:
    """Metrics of one server."""

    def __init__(self) -> None:
        self.registry, self._jobs = CollectorRegistry(), JobGauge()
        self.registry.register(self._jobs)
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

    def counter(self) -> Callable[[Update | None], None]:
        """Return a function that counts the characters of a job's updates and times the first one."""
        start, waiting = time.monotonic(), True

        def count(update: Update | None) -> None:
            nonlocal waiting
            if update is not None and update.text:
                self.characters.inc(len(update.text))
                if waiting:
                    self.first.observe(time.monotonic() - start)
                waiting = False

        return count

    def text(self, jobs: dict[str, int]) -> bytes:
        """Return all metrics in the Prometheus text format. `jobs` contains the number of jobs per state."""
        self._jobs.counts = jobs
        return generate_latest(self.registry)
