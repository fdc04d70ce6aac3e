"""Messages between `minichar serve` and its own workers, over a pair of sockets for each worker process.

A message is a line of JSON: its kind, and its content.
"""

import json
import logging
import signal
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from minichar.engine.config import Config
from minichar.engine.parameters import Parameters
from minichar.model import CharRNN
from minichar.terminal import escape_on_terminals
from minichar.text.vocabulary import Vocabulary
from minichar.web.update import READ_TIMEOUT, Update
from minichar.web.worker import Link, Order, Worker

FORMAT = "%(asctime)s %(levelname)s %(message)s"
"""Format of log messages."""


def encode(*message: Any) -> bytes:
    """Return the bytes of a message."""
    return json.dumps(message).encode() + b"\n"


class PipeLink(Link):
    """A worker's end of a pair of sockets. `closed` is set when the server has exited or has stopped."""

    def __init__(self, end: socket.socket, models: Iterable[str]) -> None:
        self._end = end
        self._orders: dict[str, SimpleQueue[Order]] = {model: SimpleQueue() for model in models}
        self._stops: dict[str, threading.Event] = {}  # for each job that has not ended
        self._sending = threading.Lock()
        self.closed = threading.Event()
        threading.Thread(target=self._receive, name="pipe", daemon=True).start()

    def _receive(self) -> None:
        try:
            messages = self._end.makefile("rb")
            while (line := messages.readline()).endswith(b"\n"):  # the last line may be incomplete
                kind, *content = json.loads(line)
                if kind == "start":
                    model, job_id, request, published, attempts = content
                    self._stops[job_id] = threading.Event()
                    updates = [Update.load(fields) for fields in published]
                    self._orders[model].put(Order(job_id, request, updates, attempts))
                elif kind == "stop" and (stop := self._stops.get(*content)):
                    stop.set()
        except OSError:
            pass
        except Exception:
            logging.exception("unexpected error: the worker exits")
        self.closed.set()

    def send(self, *message: Any) -> None:
        """Send a message to the server."""
        with self._sending:
            try:
                self._end.sendall(encode(*message))
            except OSError:
                self.closed.set()

    def take(self, model: str) -> Order | None:
        """Take a job, or return None if there is still none after `READ_TIMEOUT` seconds."""
        try:
            return self._orders[model].get(timeout=READ_TIMEOUT)
        except Empty:
            return None

    def publish(self, model: str, news: Mapping[str, Update], ended: Sequence[str]) -> None:
        """Send updates, keyed by job id, and complete the jobs in `ended`."""
        dumped = {job_id: update.dump() for job_id, update in news.items()}
        self.send("publish", model, dumped, ended)
        for job_id in ended:
            self._stops.pop(job_id, None)

    def unwanted(self, job_ids: Sequence[str]) -> list[str]:
        """Return the jobs that have been cancelled or have no readers."""
        return [job_id for job_id in job_ids if (stop := self._stops.get(job_id)) and stop.is_set()]


Packed = tuple[Config, Vocabulary, np.ndarray, dict[str, Any]]
"""A model that can be passed to another process."""


def pack(model: CharRNN) -> Packed:
    """Return the parts of a model on the CPU."""
    return model.config, model.vocabulary, model.parameters.flat, model.details


def unpack(packed: Packed) -> CharRNN:
    """Return the model, given the parts returned by `pack`."""
    config, vocabulary, flat, details = packed
    parameters = Parameters(config.shapes(), str(flat.dtype))
    parameters.flat[...] = flat
    return CharRNN(config, vocabulary, parameters, details)


def run(end: socket.socket, models: dict[str, Packed], columns: int, pace: float, level: int) -> None:
    """Run a worker until the server closes it or exits. The server handles Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        escape_on_terminals()
        logging.basicConfig(level=level, format=FORMAT)
    link = PipeLink(end, models)
    worker = Worker(link, {name: unpack(packed) for name, packed in models.items()}, columns, pace)
    threading.Thread(target=worker.run, args=(partial(link.send, "ready"),), daemon=True).start()
    link.closed.wait()
    worker.stopping.set()
    for scheduler in worker.schedulers.values():
        scheduler.close()
