"""Worker that takes jobs from Redis and publishes the generated text there."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import uuid4

import dramatiq
import redis

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.web.job import PUBLISH_INTERVAL, Job, Update
from minichar.web.models import describe
from minichar.web.redis_queue import HEARTBEAT_TIMEOUT, Store, queue_name
from minichar.web.request import Request
from minichar.web.scheduler import Scheduler

HEARTBEAT_INTERVAL = HEARTBEAT_TIMEOUT / 5
"""Seconds between heartbeats."""
POLL_INTERVAL = 100
"""Maximum time between polls of an empty queue, in milliseconds."""
MAX_ATTEMPTS = 5
"""Maximum number of workers that may start a job, so that a job cannot kill one worker after another."""


class Worker:
    """Worker that runs jobs from Redis until it is stopped.

    Parameters
    ----------
    url : str
        Redis URL.
    models : dict of str to CharRNN
    columns : int
        Maximum number of concurrent jobs per model.
    pace : float
        Maximum generation speed of each job (see `Scheduler`).

    Attributes
    ----------
    stopping : threading.Event
        Set this event to stop the worker.
    """

    def __init__(self, url: str, models: dict[str, CharRNN], columns: int, pace: float) -> None:
        self.store = Store(url, retries=20)
        self.schedulers = {name: Scheduler(model, columns, columns, pace) for name, model in models.items()}
        self.infos = {name: describe(name, model) for name, model in models.items()}
        self.id = str(uuid4())
        self.announcement = json.dumps(
            {"models": [info.dump() for info in self.infos.values()], "columns": columns}
        )
        for name in models:
            dramatiq.Actor(
                partial(self.generate, name),
                broker=self.store.broker,
                actor_name=queue_name(name),
                queue_name=queue_name(name),
                priority=0,
                options={},
            )
        self.consumers = dramatiq.Worker(
            self.store.broker, worker_threads=columns * len(models), worker_timeout=POLL_INTERVAL
        )
        self.consumers.queue_prefetch = columns  # other workers cannot take prefetched jobs
        self.stopping = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run jobs until `stopping` is set, then complete the running jobs.

        Parameters
        ----------
        on_ready : callable
            Called once, after the first heartbeat.
        """
        self.consumers.start()
        try:
            self._send_heartbeats(on_ready)
        finally:
            with suppress(redis.RedisError):  # the announcement will expire
                self.store.remove("worker", self.id)
            self.consumers.stop()
            for scheduler in self.schedulers.values():
                scheduler.close()

    def _send_heartbeats(self, on_ready: Callable[[], None]) -> None:
        """Announce this worker, and send heartbeats for consumers that are too busy to poll."""
        ready = False
        while not self.stopping.is_set():
            try:
                self.store.put("worker", self.id, self.announcement, HEARTBEAT_TIMEOUT)
                for name in self.schedulers:
                    self.store.broker.do_qsize(queue_name(name))
            except redis.RedisError:
                pass  # try again at the next heartbeat
            else:
                if not ready:
                    on_ready()
                ready = True
            self.stopping.wait(HEARTBEAT_INTERVAL)

    def generate(self, model: str, job_id: str) -> None:
        """Run a job, starting after the text that previous workers published."""
        store = self.store
        serialized = store.get("request", job_id)
        if serialized is None:
            return  # expired
        request = Request.load(serialized)
        published = [update for _, update in store.updates(job_id)]
        if any(update.reason for update in published):
            return
        text = ""
        for update in published:
            text = text[: update.end - len(update.text)] + update.text
        attempts = store.increment("attempts", job_id)
        if attempts > MAX_ATTEMPTS:
            error = f"job failed: {MAX_ATTEMPTS} workers died while running it"
            store.add(job_id, Update("", [], len(text), "error", error))
            return
        if attempts > 1:
            store.add(job_id, Update("", [], len(text), restarted=True))
        try:
            info = self.infos[model]
            job = Job(request, request.stream(info.vocabulary, info.reset_on, text))
            self.schedulers[model].submit(job)
        except MinicharError as error:
            store.add(job_id, Update("", [], len(text), "error", str(error)))
            return
        for new in job.follow(len(text)):
            if new is not None:
                store.add(job_id, new)
                time.sleep(0 if new.reason else PUBLISH_INTERVAL)
            if store.abandoned(job_id):
                job.finish("cancelled")
