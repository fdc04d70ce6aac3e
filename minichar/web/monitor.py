"""Health and metrics of a worker, on a port of its own."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from minichar.errors import MinicharError
from minichar.web.worker import Worker


class WorkerCollector(Collector):
    """Metrics of a worker, read when they are requested."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the metrics."""
        jobs = GaugeMetricFamily("minichar_jobs", "Unfinished jobs.", labels=["state"])
        jobs.add_metric(["running"], sum(map(len, self._worker.tasks.values())))
        yield jobs
        yield CounterMetricFamily("minichar_characters", "Characters published.", self._worker.characters)


class Quiet(WSGIRequestHandler):
    """Request handler without a log."""

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


def monitor(worker: Worker, host: str, port: int) -> WSGIServer:
    """Serve ``/healthz`` and ``/metrics`` in another thread until ``shutdown`` is called.

    ``/healthz`` returns 503 while the worker cannot publish text.

    Raises
    ------
    MinicharError
        If the address cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker))
    ProcessCollector(registry=registry)
    metrics = make_wsgi_app(registry)

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
