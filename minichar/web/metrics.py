"""Prometheus metrics of servers and workers, and the health of workers."""

import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    make_wsgi_app,
)

from minichar.errors import MinicharError
from minichar.web.worker import Worker

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Metrics:
    """Metrics of one server or worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU time, open files and start time, on Linux
        self.jobs = Gauge("minichar_jobs", "Unfinished jobs.", ["state"], registry=self.registry)


class ServerMetrics(Metrics):
    """Metrics of one server."""

    def __init__(self) -> None:
        super().__init__()
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

    def text(self, jobs: dict[str, int]) -> bytes:
        """Return all metrics in the Prometheus text format. `jobs` contains the number of jobs per state."""
        self.jobs.clear()
        for state, number in jobs.items():
            self.jobs.labels(state).set(number)
        return generate_latest(self.registry)


class Quiet(WSGIRequestHandler):
    """Request handler without a log."""

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


def monitor(worker: Worker, host: str, port: int) -> WSGIServer:
    """Serve ``/healthz`` and ``/metrics`` of a worker in another thread until ``shutdown`` is called."""
    worker_metrics = Metrics()
    worker_metrics.jobs.labels("running").set_function(lambda: sum(map(len, worker.jobs.values())))
    worker_metrics.registry.register(worker.characters)
    metrics = make_wsgi_app(worker_metrics.registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        known = environ["PATH_INFO"] == "/healthz"
        status = ("200 OK" if worker.healthy else "503 Service Unavailable") if known else "404 Not Found"
        start_response(status, [("Content-Type", "text/plain")])
        return [status.encode()]

    try:
        server = make_server(host, port, app, handler_class=Quiet)
    except OSError as error:
        raise MinicharError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another --metrics-port"
        ) from error
    threading.Thread(target=server.serve_forever, name="monitor", daemon=True).start()
    return server
