"""Job queue of a server that runs its own worker processes."""

import asyncio
import logging
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Protocol

from minichar.model import CharRNN
from minichar.web import pipe
from minichar.web.details import Details
from minichar.web.memory import return_memory
from minichar.web.models import ModelInfo, describe
from minichar.web.queue import JobQueue
from minichar.web.request import Request
from minichar.web.texts import Text, Texts
from minichar.web.update import READ_TIMEOUT, Busy, Unavailable, Update
from minichar.web.worker import MAX_ATTEMPTS

MEMORY = 64 * 2**20
"""Default memory budget for texts, in bytes."""
START_TIMEOUT = 30.0
"""Maximum number of seconds to wait for the first worker before requests are accepted."""
RESTART_DELAY = 1.0
"""Minimum number of seconds between starts of the same worker."""
BROKEN_AFTER = 60.0
"""Seconds without any worker after which the server counts as broken."""
CHECK_INTERVAL = 1.0
"""Seconds between searches for abandoned and expired texts."""


class Process(Protocol):
    """A worker process."""

    def start(self) -> None:
        """Start the process."""

    def terminate(self) -> None:
        """End the process."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for the process to end."""


Outbox = SimpleQueue[tuple[Any, ...] | None]
Start = Callable[..., Process]
SPAWN: Start = multiprocessing.get_context("spawn").Process
"""Function that creates a process from ``target`` and ``args``, like ``multiprocessing.Process``."""


class WorkerProcess:
    """A worker process, which is started again whenever it ends.

    Attributes
    ----------
    jobs : dict of str to set of str
        The ids of the jobs that the worker runs, by model.
    ready : bool
        Whether the worker has announced itself.
    """

    def __init__(self, start: Start, args: tuple[Any, ...], on_message: Callable[..., None]) -> None:
        self._start, self._args, self._on_message = start, args, on_message
        self._loop = asyncio.get_running_loop()
        self._outbox: Outbox = SimpleQueue()
        self._closing = False
        self.jobs: dict[str, set[str]] = {}
        self.ready = False
        threading.Thread(target=self._run, name="worker", daemon=True).start()

    def send(self, *message: Any) -> None:
        """Send a message to the worker."""
        self._outbox.put(message)

    def close(self) -> None:
        """End the process."""
        self._closing = True
        self._outbox.put(("close",))

    def _run(self) -> None:
        """Run processes, one after another."""
        while not self._closing:
            started = time.monotonic()
            try:
                self._run_process()
            except OSError as error:
                logging.error("cannot start a worker process: %s", error)
            if not self._closing:
                logging.error("a worker process ended; starting another one")
                self._tell("died")
                time.sleep(max(0.0, started + RESTART_DELAY - time.monotonic()))

    def _run_process(self) -> None:
        """Run one process, and pass on its messages until it ends."""
        ours, theirs = multiprocessing.Pipe()
        outbox: Outbox = SimpleQueue()
        with ours, theirs:
            process = self._start(target=pipe.run, args=(theirs, *self._args), daemon=True)
            process.start()
            theirs.close()
            self._outbox = outbox
            if self._closing:
                self.close()
            threading.Thread(target=self._write, args=(ours, outbox), daemon=True).start()
            try:
                while True:
                    self._tell(*pipe.receive(ours))
            except (EOFError, OSError):
                outbox.put(None)
                process.terminate()
                process.join()

    def _write(self, ours: Connection, outbox: Outbox) -> None:
        """Send messages; in a separate thread, because the worker may be too busy to read them."""
        with suppress(OSError):  # the other thread notices as well
            while message := outbox.get():
                pipe.send(ours, *message)

    def _tell(self, *message: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._on_message, self, *message)
        except RuntimeError:  # the event loop has been closed
            self._closing = True


class LocalQueue(JobQueue):
    """Queue that runs jobs in worker processes that it starts itself.

    Parameters
    ----------
    models : dict of str to CharRNN
    columns : int
        Maximum number of concurrent jobs per model.
    queue : int
        Maximum number of waiting jobs per model.
    pace : float
        Maximum generation speed of each job (see `Scheduler`).
    memory : int
        Memory budget for texts, in bytes.
    workers : int
        Number of worker processes, which share the columns.
    start : callable
        Function that creates a worker process.
    """

    def __init__(
        self,
        models: dict[str, CharRNN],
        columns: int,
        queue: int,
        pace: float,
        memory: int = MEMORY,
        workers: int = 1,
        start: Start = SPAWN,
    ) -> None:
        self._infos = {name: describe(name, model) for name, model in models.items()}
        self._columns, self._queue = -(-columns // workers), queue  # columns of each worker
        self._number, self._start = workers, start
        packed = {name: pipe.pack(model) for name, model in models.items()}
        self._args = (packed, self._columns, pace, logging.getLogger().level)
        self._texts = Texts(memory)
        self._waiting: dict[str, deque[str]] = {name: deque() for name in models}
        self._workers: list[WorkerProcess] = []
        self._served = time.monotonic()  # time when a worker was last ready
        self._checking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the worker processes, and wait briefly until the first one is ready."""
        self._ready = asyncio.Event()
        self._workers = [WorkerProcess(self._start, self._args, self._received) for _ in range(self._number)]
        self._checking = asyncio.create_task(self._check_regularly())
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                await self._ready.wait()

    async def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""
        return list(self._infos.values())

    async def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job."""
        request, model = await self.resolve(request)
        self._check_capacity(model.name)
        request.stream(model.vocabulary)  # rejects unknown characters before the job is queued
        job_id = self._texts.add(Text(request))
        self._waiting[model.name].append(job_id)
        self._assign(model.name)
        return job_id

    async def check(self) -> None:
        """Check whether a new request for the default model would be accepted."""
        self._check_capacity(next(iter(self._infos)))

    def _check_capacity(self, model: str) -> None:
        running = sum(len(worker.jobs.get(model, ())) for worker in self._workers)
        if running + len(self._waiting[model]) >= self._columns * self._number + self._queue:
            raise Busy("too many requests are in progress: try again later")

    async def request(self, job_id: str) -> Request:
        """Return the request that started a job."""
        return self._texts[job_id].request

    async def follow(self, job_id: str, after: int) -> AsyncGenerator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""
        if (text := self._texts.get(job_id)) is None:  # the text was removed after the call to `request`
            yield Update("", Details(), after, "closing")
            return
        async for update in text.follow(after):
            yield update

    async def leave(self, job_id: str) -> None:
        """Do nothing, because the queue counts the readers of its texts."""

    async def position(self, job_id: str) -> int | None:
        """Return the position of a waiting job in its model's queue, or None if it is not waiting."""
        if not any(worker.ready for worker in self._workers):
            raise Unavailable("no worker is available: generation continues when one is started")
        waiting = self._waiting[self._texts[job_id].request.model]
        return waiting.index(job_id) + 1 if job_id in waiting else None

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job. Return False if there is no such job."""
        if (text := self._texts.get(job_id)) is None:
            return False
        self._end(job_id, text, "cancelled")
        return True

    def _end(self, job_id: str, text: Text, reason: str, error: str = "") -> None:
        model = text.request.model
        text.finish(reason, error)
        if job_id in self._waiting[model]:
            self._waiting[model].remove(job_id)
        for worker in self._workers:
            if job_id in worker.jobs.get(model, ()):
                worker.send("stop", job_id)

    async def job_counts(self) -> dict[str, int]:
        """Return the number of running and waiting jobs."""
        running = sum(len(jobs) for worker in self._workers for jobs in worker.jobs.values())
        return {"running": running, "waiting": sum(map(len, self._waiting.values()))}

    @property
    def broken(self) -> bool:
        """Whether there has been no worker for a long time."""
        if any(worker.ready for worker in self._workers):
            self._served = time.monotonic()
        return time.monotonic() - self._served > BROKEN_AFTER

    async def close(self) -> None:
        """End all jobs and stop all workers."""
        for job_id in self._texts.in_progress():
            self._texts[job_id].finish("closing")
        for worker in self._workers:
            worker.close()
        if self._checking:
            self._checking.cancel()

    def _assign(self, model: str) -> None:
        """Give waiting jobs to the workers that have free columns, the least busy one first."""
        waiting = self._waiting[model]
        while waiting:
            free = [worker for worker in self._workers if worker.ready]
            worker = min(free, key=lambda worker: len(worker.jobs[model]), default=None)
            if worker is None or len(worker.jobs[model]) >= self._columns:
                return
            job_id = waiting.popleft()
            text = self._texts[job_id]
            text.begin()
            worker.jobs[model].add(job_id)
            published = [text.so_far().dump()] if text.attempts > 1 else []
            worker.send("start", model, job_id, text.request.dump(), published, text.attempts)

    def _received(self, worker: WorkerProcess, kind: str, *content: Any) -> None:
        """Handle a message from a worker, in the event loop."""
        if kind == "announce":
            worker.jobs, worker.ready = {name: set() for name in self._infos}, True
            self._ready.set()
            for model in self._infos:
                self._assign(model)
        elif kind == "publish":
            model, news, ended = content
            for job_id, updates in news.items():
                if text := self._texts.get(job_id):
                    for fields in updates:
                        text.add(Update.load(fields))
            worker.jobs[model].difference_update(ended)
            if ended:
                self._assign(model)
        elif kind == "died":
            jobs, worker.jobs, worker.ready = worker.jobs, {}, False
            for model, ids in jobs.items():
                self._resume(model, ids)

    def _resume(self, model: str, job_ids: set[str]) -> None:
        """Put the jobs of a worker that has died at the front of the queue."""
        for job_id in job_ids:
            if (text := self._texts.get(job_id)) is None or text.reason is not None:
                continue
            if text.attempts >= MAX_ATTEMPTS and not text.progressed:
                text.finish("error", f"job failed: {MAX_ATTEMPTS} workers died while running it")
            else:
                self._waiting[model].appendleft(job_id)
        self._assign(model)

    async def _check_regularly(self) -> None:
        """Cancel abandoned jobs and remove expired texts."""
        checked = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            # Cap the elapsed time so that no job is cancelled as abandoned because the machine was suspended.
            now = time.monotonic()
            for job_id in self._texts.abandoned(min(now - checked, READ_TIMEOUT)):
                self._end(job_id, self._texts[job_id], "cancelled")
            checked = now
            if self._texts.expire():
                return_memory()
