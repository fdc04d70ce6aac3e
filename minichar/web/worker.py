"""Take jobs from servers, and publish the generated text.

    server → worker    an `Order`: start a job, and continue the text that earlier workers published
                       ids of jobs to stop
    worker → server    an announcement: the worker's models and number of columns
                       `Update`: the next part of a job's text; the last one contains the reason for its end

A worker that `minichar serve` starts uses a pair of sockets (`minichar.web.pipe`), the others use Redis
(`minichar.web.redis_link`). Both transports carry the same messages in JSON.
"""

import json
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

from prometheus_client import Counter

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.web.details import Details
from minichar.web.errors import Unavailable
from minichar.web.job import Job
from minichar.web.models import describe
from minichar.web.request import Request
from minichar.web.scheduler import Scheduler
from minichar.web.update import READ_TIMEOUT, Update

HEARTBEAT_TIMEOUT = 5.0
"""Seconds without a heartbeat after which a worker is considered dead and its jobs are started again."""
HEARTBEAT_INTERVAL = HEARTBEAT_TIMEOUT / 5
"""Seconds between heartbeats."""
TICK = 0.01
"""Minimum number of seconds between attempts to publish new text."""
RETRY_DELAY = 0.5
"""Seconds before a failed operation is tried again."""
MAX_ATTEMPTS = 5
"""Maximum number of workers that try to run a job."""


@dataclass(frozen=True)
class Order:
    """A job for a worker.

    `request` is serialised, or None if it has expired. `published` contains the updates from earlier
    workers, and `attempts` is the number of workers that have started the job, including this one.
    """

    job_id: str
    request: str | None
    published: list[Update] = field(default_factory=list)
    attempts: int = 1


class Link(ABC):
    """A worker's connection to the servers. Its methods may be called from multiple threads.

    They raise `Unavailable` while the servers cannot be reached.
    """

    def announce(self, announcement: str, running: Mapping[str, Sequence[str]]) -> None:  # noqa: B027
        """Announce a worker, and keep other workers from taking over its running jobs.

        Called every `HEARTBEAT_INTERVAL` seconds. `announcement` is empty if the worker takes no more jobs.
        `running` contains the ids of each model's jobs.
        """

    def withdraw(self) -> None:  # noqa: B027
        """End the connection of a worker whose jobs have ended."""

    @abstractmethod
    def take(self, model: str) -> Order | None:
        """Take a job, or return None if there is still none after `READ_TIMEOUT` seconds."""

    @abstractmethod
    def publish(self, model: str, news: Mapping[str, Update], ended: Sequence[str]) -> None:
        """Send updates, keyed by job id, and complete the jobs in `ended`."""

    @abstractmethod
    def unwanted(self, job_ids: Sequence[str]) -> list[str]:
        """Return the jobs that have been cancelled or have no readers."""


@contextmanager
def errors_logged() -> Iterator[None]:
    """Log and suppress exceptions so that the calling thread can try again.

    If an exception ended the thread, jobs would wait forever.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, Unavailable):  # the link has logged its reason
            logging.exception("unexpected error: trying again")
        time.sleep(RETRY_DELAY)


class Worker:
    """Worker that runs up to `columns` jobs per model, with the speed limit `pace` (see `Scheduler`).

    Each model has a thread that takes jobs. Another thread publishes the text of all jobs. To stop the
    worker, set `stopping`. It sets `ready` after its first heartbeat.
    """

    def __init__(self, link: Link, models: dict[str, CharRNN], columns: int, pace: float) -> None:
        self.link, self.columns = link, columns
        self._news = threading.Event()
        self.schedulers = {name: Scheduler(model, pace, self._news.set) for name, model in models.items()}
        self.infos = {name: describe(name, model) for name, model in models.items()}
        self.jobs: dict[str, dict[str, Job]] = {name: {} for name in models}
        self.stopping, self.ready = threading.Event(), threading.Event()
        self.characters = Counter("minichar_characters", "Characters published.", registry=None)
        # Times when publishing and a heartbeat last succeeded. An idle worker publishes nothing.
        self._published = self._announced = time.monotonic()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run jobs until `stopping` is set, then finish the running jobs unless the servers are unreachable.

        `on_ready` is called once, after the first heartbeat, in another thread.
        """
        takers = [threading.Thread(target=self._take_jobs, args=(name,), daemon=True) for name in self.infos]
        publisher = threading.Thread(target=self._publish, args=(takers,), daemon=True)
        heart = threading.Thread(target=self._send_heartbeats, args=(on_ready, publisher), daemon=True)
        for thread in (*takers, publisher, heart):
            thread.start()
        while publisher.is_alive() or heart.is_alive():
            if self.stopping.is_set() and not (self.ready.is_set() and self.healthy):
                if any(self.jobs.values()):
                    logging.error("Redis is not responding: leaving the running jobs to other workers")
                return  # daemon threads waiting for Redis do not keep the process alive
            heart.join(0.05)
        for scheduler in self.schedulers.values():
            scheduler.close()

    @property
    def healthy(self) -> bool:
        """Whether text was published recently, or could have been, and the servers know of this worker."""
        return time.monotonic() - min(self._published, self._announced) <= HEARTBEAT_TIMEOUT

    def _send_heartbeats(self, on_ready: Callable[[], None], publisher: threading.Thread) -> None:
        """Announce this worker until it stops, and renew its claims on jobs until they have ended."""
        models = [asdict(info) for info in self.infos.values()]
        announcement = json.dumps({"models": models, "columns": self.columns})
        while publisher.is_alive():
            with errors_logged():
                running = {name: list(jobs) for name, jobs in self.jobs.items()}
                self.link.announce("" if self.stopping.is_set() else announcement, running)
                self._announced = time.monotonic()
                if not self.ready.is_set():
                    self.ready.set()
                    on_ready()
            (publisher.join if self.stopping.is_set() else self.stopping.wait)(HEARTBEAT_INTERVAL)
        with suppress(Unavailable):  # the announcement will expire
            self.link.withdraw()

    def _take_jobs(self, model: str) -> None:
        """Take jobs of a model and start them."""
        jobs = self.jobs[model]
        while not self.stopping.is_set():
            with errors_logged():
                if len(jobs) >= self.columns:
                    time.sleep(TICK)
                elif order := self.link.take(model):
                    self.start(model, order)

    def start(self, model: str, order: Order) -> None:
        """Start a job, continuing from the end of the text that previous workers published."""
        if order.job_id in self.jobs[model]:
            return  # taken again because heartbeats failed
        news = dict[str, Update]()
        try:
            if order.request is not None and not any(update.reason for update in order.published):
                self._start(model, order)
                return
        except Unavailable:
            raise  # the job is not completed, so that it is taken again
        except Exception as error:
            message = str(error)
            if not isinstance(error, MinicharError):
                logging.exception("a job cannot be started")
                message = "internal error: see the worker log"
            end = order.published[-1].end if order.published else 0
            news[order.job_id] = Update("", Details(), end, "error", message)
        self.link.publish(model, news, [order.job_id])

    def _start(self, model: str, order: Order) -> None:
        if order.attempts > MAX_ATTEMPTS:
            raise MinicharError(f"job failed: {MAX_ATTEMPTS} workers died while running it")
        info, request = self.infos[model], Request.load(order.request or "")
        text = ""
        for update in order.published:  # a slow worker and its successor may have published the same text
            text += update.after(request.start + len(text)).text
        job = Job(request, request.stream(info.vocabulary, info.reset_on, text), request.start + len(text))
        if order.attempts > 1:
            notice = Update("", Details(), job.end, restarted=True)
            self.link.publish(model, {order.job_id: notice}, [])
        if self.link.unwanted([order.job_id]):
            job.finish("cancelled")
        else:
            self.schedulers[model].submit(job)
        self.jobs[model][order.job_id] = job
        self._news.set()

    def _publish(self, takers: list[threading.Thread]) -> None:
        """Publish the text of all jobs until the worker stops taking jobs and all jobs have ended."""
        checked = time.monotonic()
        while any(self.jobs.values()) or any(taker.is_alive() for taker in takers):
            self._news.wait(READ_TIMEOUT / 10)
            self._news.clear()
            with errors_logged():
                for model in self.jobs:
                    self._publish_jobs(model)
                self._published = time.monotonic()
                if self._published - checked > READ_TIMEOUT:
                    checked = self._published
                    self._cancel_unwanted()
            time.sleep(TICK)

    def _publish_jobs(self, model: str) -> None:
        """Publish the new text of a model's jobs. An unexpected error ends them."""
        jobs = self.jobs[model].copy()
        news = {job_id: update for job_id, job in jobs.items() if (update := job.news())}
        if not news:
            return
        ended = [job_id for job_id, update in news.items() if update.reason]
        try:
            self.link.publish(model, news, ended)
        except Unavailable:
            raise
        except Exception:
            for job_id, job in jobs.items():
                if job.reason is not None:  # its end cannot be published either
                    del self.jobs[model][job_id]
                job.finish("error", "internal error: see the worker log")
            raise
        for job_id, update in news.items():
            jobs[job_id].take(update)
            self.characters.inc(len(update.text))
        for job_id in ended:
            del self.jobs[model][job_id]

    def _cancel_unwanted(self) -> None:
        jobs = {job_id: job for running in self.jobs.values() for job_id, job in running.copy().items()}
        for job_id in self.link.unwanted(list(jobs)):
            jobs[job_id].finish("cancelled")
            self._news.set()
