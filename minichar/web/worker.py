"""Take jobs from Redis and publish the generated text there."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil
from typing import Any
from uuid import uuid4

import redis
from dramatiq import ConnectionClosed

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.web.details import Details
from minichar.web.job import READ_TIMEOUT, Job, Update
from minichar.web.models import describe
from minichar.web.request import Request
from minichar.web.scheduler import Scheduler
from minichar.web.shared_snapshots import SharedSnapshots
from minichar.web.store import HEARTBEAT_TIMEOUT, Store, queue_name
from minichar.web.task import Task

HEARTBEAT_INTERVAL = HEARTBEAT_TIMEOUT / 5
"""Seconds between heartbeats."""
POLL_INTERVAL = 0.05
"""Maximum time between polls of a queue, in seconds."""
OVERTIME_INTERVAL = 1.0
"""Seconds for which jobs must wait before a worker takes more than its share."""
TICK = 0.02
"""Seconds between attempts to publish new text."""
RETRY_DELAY = 0.5
"""Seconds before a failed Redis command is retried."""
UNREACHABLE = (redis.ConnectionError, redis.TimeoutError, ConnectionClosed)
"""Exceptions raised while Redis cannot be reached."""
MAX_ATTEMPTS = 5
"""Maximum number of attempts by all workers to run a job, and by one of them to publish its text."""


@contextmanager
def errors_logged() -> Iterator[None]:
    """Log and suppress unexpected exceptions so that the calling thread can try again.

    If an exception ended the thread, jobs would wait forever. Connection errors are not logged. If Redis
    rejects a command, for example because its memory is full, one line is logged for each attempt.
    """
    try:
        yield
    except UNREACHABLE:
        pass
    except redis.RedisError as error:
        logging.error("Redis rejected a command: %s; trying again", error)
        time.sleep(RETRY_DELAY)
    except Exception:
        logging.exception("unexpected error: trying again")
        time.sleep(RETRY_DELAY)


class Worker:
    """Worker that runs jobs from Redis until it is stopped.

    Each model has a thread that takes jobs from its queue. Another thread publishes the text of all jobs, so
    that the number of connections to Redis does not depend on the number of jobs.

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
    ready : threading.Event
        Set after the first heartbeat.
    """

    def __init__(self, url: str, models: dict[str, CharRNN], columns: int, pace: float) -> None:
        self.store, self.columns = Store(url, retries=20), columns
        self.snapshots = SharedSnapshots(self.store)
        self.schedulers = {
            name: Scheduler(model, columns, columns, pace, self.snapshots) for name, model in models.items()
        }
        self.infos = {name: describe(name, model) for name, model in models.items()}
        self.id = str(uuid4())
        self.announcement = json.dumps(
            {"models": [info.dump() for info in self.infos.values()], "columns": columns}
        )
        self.tasks: dict[str, set[Task]] = {name: set() for name in models}
        self.stopping, self.ready = threading.Event(), threading.Event()
        self._total_columns = dict.fromkeys(models, columns)
        self._waiting_since = dict.fromkeys(models, time.monotonic())
        self._published = time.monotonic()  # time when publishing last succeeded

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run jobs until `stopping` is set, then finish the running jobs unless Redis stops responding.

        Parameters
        ----------
        on_ready : callable
            Called once, after the first heartbeat, in another thread.

        Raises
        ------
        MinicharError
            If the worker is stopped before it reaches Redis.
        """
        takers = [threading.Thread(target=self._take_jobs, args=(name,), daemon=True) for name in self.infos]
        publisher = threading.Thread(target=self._publish, args=(takers,), daemon=True)
        heart = threading.Thread(target=self._send_heartbeats, args=(on_ready, publisher), daemon=True)
        for thread in (*takers, publisher, heart):
            thread.start()
        while publisher.is_alive() or heart.is_alive():
            if self.stopping.is_set() and not self.ready.is_set() and not any(self.tasks.values()):
                raise MinicharError(f"stopped before Redis at {self.store.address} could be reached")
            if self.stopping.is_set() and time.monotonic() - self._published > HEARTBEAT_TIMEOUT:
                logging.error("Redis is not responding: leaving the running jobs to other workers")
                return  # daemon threads waiting for Redis do not keep the process alive
            time.sleep(POLL_INTERVAL)
        for scheduler in self.schedulers.values():
            scheduler.close()

    def _send_heartbeats(self, on_ready: Callable[[], None], publisher: threading.Thread) -> None:
        """Announce this worker until it stops, and send heartbeats until its jobs have ended."""
        while not self.stopping.is_set():
            with errors_logged():
                self.store.announce(self.id, self.announcement)
                for name in self.infos:
                    self._total_columns[name] = max(self.store.columns(name), self.columns)
                self._keep_jobs()
                if not self.ready.is_set():
                    self.ready.set()
                    on_ready()
            self.stopping.wait(HEARTBEAT_INTERVAL)
        with suppress(redis.RedisError):  # the announcement will expire
            self.store.withdraw(self.id)
        while publisher.is_alive():
            with errors_logged():
                self._keep_jobs()
            publisher.join(HEARTBEAT_INTERVAL)

    def _keep_jobs(self) -> None:
        """Keep other workers from taking over this worker's jobs, and keep the queues from expiring."""
        for name in self.infos:
            self.store.broker.do_qsize(queue_name(name))  # Dramatiq counts any command as a heartbeat
            self.store.expire_queue(queue_name(name))

    def _take_jobs(self, model: str) -> None:
        """Take jobs from the queue of a model and start them."""
        while not self.stopping.is_set():
            consumer = self.store.broker.consume(queue_name(model), timeout=int(1000 * POLL_INTERVAL))
            with errors_logged():
                while not self.stopping.is_set():
                    self._take_share(model, consumer)
            self.stopping.wait(RETRY_DELAY)

    def _take_share(self, model: str, consumer: Any) -> None:
        """Take a share of the unfinished jobs in proportion to this worker's number of columns.

        Without shares, the first worker to poll would take all jobs that arrive at the same time. If a worker
        does not take its share, for example because it has just died, the other workers take more than
        theirs. While jobs are waiting, each worker takes one extra job every `OVERTIME_INTERVAL` seconds.
        """
        queue, running = queue_name(model), len(self.tasks[model])
        if not self.store.waiting(queue):
            self._waiting_since[model] = time.monotonic()
        share = ceil(self.store.unfinished(queue) * self.columns / self._total_columns[model])
        late = time.monotonic() - self._waiting_since[model] > OVERTIME_INTERVAL
        for _ in range(min(max(share - running, int(late)), self.columns - running)):
            consumer.prefetch = consumer.outstanding_message_count + 1  # take one message
            message = next(consumer)
            if message is None:
                return  # the queue is empty, and `next` has already waited
            self._waiting_since[model] = time.monotonic()
            self.start(model, message.args[0], partial(consumer.ack, message))
        self.stopping.wait(POLL_INTERVAL)

    def start(self, model: str, job_id: str, acknowledge: Callable[[], None]) -> None:
        """Start a job, continuing from the end of the text that previous workers published.

        Parameters
        ----------
        model : str
        job_id : str
        acknowledge : callable
            Called after the end of the job has been published.
        """
        for task in self.tasks[model].copy():
            if task.job_id == job_id:  # the job was redelivered because heartbeats failed
                task.acknowledge = acknowledge
                return
        task = Task(job_id, acknowledge)
        while True:
            try:
                self._start(model, task)
            except redis.RedisError:
                if self.stopping.wait(RETRY_DELAY):
                    return  # do not acknowledge the job, so that another worker takes it
                continue
            except MinicharError as error:
                task.notices = [Update("", Details(), task.end, "error", str(error))]
            except Exception:
                logging.exception("job %s failed", job_id)
                task.fail()
            self.tasks[model].add(task)
            return

    def _start(self, model: str, task: Task) -> None:
        self.store.expire_queue(queue_name(model))  # the key that marks the job as taken must also expire
        serialized = self.store.get("request", task.job_id)
        published = self.store.updates(task.job_id)
        text = ""
        for update in published:
            text = text[: update.end - len(update.text)] + update.text
        task.end = len(text)
        if serialized is None or any(update.reason for update in published):
            return  # expired or already completed
        attempts = self.store.increment("attempts", task.job_id)
        if attempts > MAX_ATTEMPTS:
            raise MinicharError(f"job failed: {MAX_ATTEMPTS} workers died while running it")
        if attempts > 1:
            task.notices = [Update("", Details(), task.end, restarted=True)]
        info, request = self.infos[model], Request.load(serialized)
        job = Job(request, request.stream(info.vocabulary, info.reset_on, text), text)
        if self.store.abandoned([task.job_id]):
            job.finish("cancelled")
        else:
            self.schedulers[model].submit(job)
        task.job = job

    def _publish(self, takers: list[threading.Thread]) -> None:
        """Publish the text of all jobs until the worker stops taking jobs and all jobs have ended."""
        checked = time.monotonic()
        while any(self.tasks.values()) or any(taker.is_alive() for taker in takers):
            with errors_logged():
                for tasks in self.tasks.values():
                    self._publish_tasks(tasks)
                self.snapshots.publish()
                if time.monotonic() - checked > READ_TIMEOUT:
                    checked = time.monotonic()
                    self._cancel_abandoned()
                self._published = time.monotonic()
            time.sleep(TICK)

    def _publish_tasks(self, tasks: set[Task]) -> None:
        """Publish the new text of the given tasks.

        If a task keeps causing an unexpected error, only its job fails. If the failure cannot be published
        either, the worker drops the job.
        """
        try:
            self._publish_together(tasks, tasks.copy())
        except (redis.RedisError, ConnectionClosed):
            raise
        except Exception:
            logging.exception("unexpected error while publishing: trying again")
            time.sleep(RETRY_DELAY)
            for task in tasks.copy():
                try:
                    self._publish_together(tasks, {task})
                except (redis.RedisError, ConnectionClosed):
                    raise
                except Exception:
                    task.failures += 1
                    if task.failures == MAX_ATTEMPTS:
                        logging.error("job %s failed", task.job_id)
                        task.fail()
                    elif task.failures == 2 * MAX_ATTEMPTS:
                        tasks.remove(task)

    def _publish_together(self, tasks: set[Task], chosen: set[Task]) -> None:
        if not chosen:
            return
        news = {task: task.updates() for task in chosen}
        alternatives = {task.job_id for task in news if task.job and task.job.request.alternatives}
        self.store.add({task.job_id: updates for task, updates in news.items() if updates}, alternatives)
        for task, updates in news.items():
            task.notices, task.failures = [], 0
            if updates:
                task.end = updates[-1].end
        for task, updates in news.items():
            if task.job is None or (updates and updates[-1].reason is not None):
                task.acknowledge()
                tasks.remove(task)

    def _cancel_abandoned(self) -> None:
        jobs = {task.job_id: task.job for tasks in self.tasks.values() for task in tasks.copy() if task.job}
        for job_id in self.store.abandoned(list(jobs)):
            jobs[job_id].finish("cancelled")
        for name in self.infos:
            self.store.remove_abandoned(queue_name(name))
