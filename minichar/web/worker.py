"""A worker: takes texts from the queue in Redis, writes them, and leaves them there piece by piece."""

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import dramatiq
import redis

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.web.models import describe
from minichar.web.request import Request
from minichar.web.scheduler import PUBLISH, Piece, Scheduler, Writing
from minichar.web.shared import HEARTBEAT, Store, queue_of

SIGNS = HEARTBEAT / 5
"""Seconds between two signs of life."""
POLL = 100
"""Milliseconds between two looks into an empty queue, at most."""
ATTEMPTS = 5
"""Workers that may die over a text before it is given up: it may be what kills them."""


class Worker:
    """Writes texts of its models until it is stopped.

    Parameters
    ----------
    url : str
        Of Redis.
    models : dict of str to CharRNN
    columns : int
        How many texts of a model it writes at the same time.
    pace : float
        As `Scheduler`.
    """

    def __init__(self, url: str, models: dict[str, CharRNN], columns: int, pace: float) -> None:
        self.store = Store(url, patience=20)
        self.schedulers = {name: Scheduler(model, columns, columns, pace) for name, model in models.items()}
        self.infos = {name: describe(name, model) for name, model in models.items()}
        self.name = str(uuid4())
        self.announcement = json.dumps(
            {"models": [info.dump() for info in self.infos.values()], "columns": columns}
        )
        for name in models:
            dramatiq.Actor(
                partial(self.write, name),
                broker=self.store.broker,
                actor_name=queue_of(name),
                queue_name=queue_of(name),
                priority=0,
                options={},
            )
        self.consumers = dramatiq.Worker(
            self.store.broker, worker_threads=columns * len(models), worker_timeout=POLL
        )
        self.consumers.queue_prefetch = columns  # what it fetches, nobody else can write
        self.stopping = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Work until `stopping` is set; what is being written then is written to its end."""
        self.consumers.start()
        try:
            self._live(on_ready)
        finally:
            self.store.remove("worker", self.name)
            self.consumers.stop()
            for scheduler in self.schedulers.values():
                scheduler.close()

    def _live(self, on_ready: Callable[[], None]) -> None:
        """Say again and again that it is there: a consumer that has all it can take sends no sign of life."""
        ready = False
        while not self.stopping.is_set():
            try:
                self.store.put("worker", self.name, self.announcement, HEARTBEAT)
                for name in self.schedulers:
                    self.store.broker.do_qsize(queue_of(name))
            except redis.RedisError:
                pass  # it is tried again in a moment
            else:
                if not ready:
                    on_ready()
                ready = True
            self.stopping.wait(SIGNS)

    def write(self, name: str, job: str) -> None:
        """Write a text, from where another worker left it if there was one."""
        store = self.store
        asked = store.get("request", job)
        if asked is None:
            return  # it expired
        request = Request.read(asked)
        left = [piece for _, piece in store.pieces(job)]
        if any(piece.reason for piece in left):
            return
        text = ""
        for piece in left:
            text = text[: piece.end - len(piece.text)] + piece.text
        attempts = store.count("attempts", job)
        if attempts > ATTEMPTS:
            store.add(job, Piece("", [], len(text), "error", "the workers that began this text all died"))
            return
        if attempts > 1:
            store.add(job, Piece("", [], len(text), restarted=True))
        try:
            writing = Writing(request, request.stream(self.infos[name].vocabulary, text))
            self.schedulers[name].begin(writing)
        except MinicharError as error:
            store.add(job, Piece("", [], len(text), "error", str(error)))
            return
        for new in writing.follow(len(text)):
            if new is not None:
                store.add(job, new)
                time.sleep(0 if new.reason else PUBLISH)
            if store.unwanted(job):
                writing.end("cancelled")
