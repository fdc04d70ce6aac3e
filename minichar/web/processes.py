"""Worker processes that a server starts itself."""

import asyncio
import logging
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from minichar.model import CharRNN
from minichar.web import pipe
from minichar.web.errors import NoSuchJob, Unavailable
from minichar.web.models import ModelInfo, describe
from minichar.web.queue import MEMORY, JobQueue
from minichar.web.request import Request
from minichar.web.texts import Text
from minichar.web.update import Update
from minichar.web.worker import MAX_ATTEMPTS

START_TIMEOUT = 30.0
"""Maximum number of seconds to wait for the first worker before requests are accepted."""
RESTART_DELAY = 1.0
"""Minimum number of seconds between starts of the same worker."""
BROKEN_AFTER = 60.0
"""Seconds without any worker after which the server counts as broken."""


Outbox = SimpleQueue[tuple[Any, ...] | None]
Start = Callable[..., BaseProcess]
SPAWN: Start = multiprocessing.get_context("spawn").Process
"""Function that creates a process from ``target`` and ``args``, like ``multiprocessing.Process``."""


class WorkerProcess:
    """A worker process, which is started again whenever it ends.

    `jobs` contains the ids of the jobs that it runs, by model. It is `ready` once it can take jobs.
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
            self._call(self._connect, outbox)
            writer = threading.Thread(target=self._write, args=(ours, outbox), daemon=True)
            writer.start()
            try:
                while True:
                    self._tell(*pipe.receive(ours))
            except (EOFError, OSError):
                outbox.put(None)
                process.terminate()
                process.join()
                writer.join()  # it uses the pipe, which is closed next

    def _connect(self, outbox: Outbox) -> None:
        """Send messages to a new process, after the event loop has handled the death of the last one."""
        self._outbox = outbox
        if self._closing:
            self.close()

    def _write(self, ours: Connection, outbox: Outbox) -> None:
        """Send messages; in a separate thread, because the worker may be too busy to read them."""
        with suppress(OSError):  # the other thread notices as well
            while message := outbox.get():
                pipe.send(ours, *message)

    def _tell(self, *message: Any) -> None:
        self._call(self._on_message, self, *message)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function in the event loop."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the event loop has been closed
            self._closing = True


class ProcessQueue(JobQueue):
    """Job queue that runs jobs in a number of worker processes, which share the columns.

    `start` creates a process. See `JobQueue` and `minichar.web.worker.Worker` for the other parameters.
    """

    def __init__(
        self,
        models: dict[str, CharRNN],
        columns: int,
        queue: int,
        pace: float,
        number: int = 1,
        memory: int = MEMORY,
        start: Start = SPAWN,
    ) -> None:
        super().__init__(queue, memory)
        self._infos = {name: describe(name, model) for name, model in models.items()}
        self._per_worker, self._number, self._start = -(-columns // number), number, start
        packed = {name: pipe.pack(model) for name, model in models.items()}
        self._args = (packed, self._per_worker, pace, logging.getLogger().level)
        self._jobs: dict[str, deque[str]] = {name: deque() for name in models}
        self._ready = asyncio.Event()
        self.processes: list[WorkerProcess] = []
        self._served = time.monotonic()  # time when a worker was last ready

    async def start(self) -> None:
        """Start the worker processes, and wait briefly until the first one is ready."""
        await super().start()
        self.processes = [WorkerProcess(self._start, self._args, self._received) for _ in range(self._number)]
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                await self._ready.wait()

    async def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""
        return list(self._infos.values())

    async def _columns(self, model: str) -> int:
        return self._per_worker * self._number

    async def _unfinished(self, model: str) -> int:
        return sum(len(worker.jobs.get(model, ())) for worker in self.processes) + len(self._jobs[model])

    async def _waiting(self, model: str) -> list[str]:
        if not any(worker.ready for worker in self.processes):
            raise Unavailable("no worker is available: generation continues when one is started")
        return list(self._jobs[model])

    async def _give(self, job_id: str, text: Text) -> None:
        self._jobs[text.request.model].append(job_id)
        self._assign(text.request.model)

    async def _find(self, job_id: str) -> Request:
        raise NoSuchJob  # there is no other server

    async def _cancel(self, job_id: str, text: Text) -> bool:
        model = text.request.model
        text.finish("cancelled")
        if job_id in self._jobs[model]:
            self._jobs[model].remove(job_id)
        for worker in self.processes:
            if job_id in worker.jobs.get(model, ()):
                worker.send("stop", job_id)
        return True

    async def _abandon(self, job_id: str, text: Text) -> None:
        await self._cancel(job_id, text)

    async def job_counts(self) -> dict[str, int]:
        """Return the number of running and waiting jobs."""
        running = sum(len(jobs) for worker in self.processes for jobs in worker.jobs.values())
        return {"running": running, "waiting": sum(map(len, self._jobs.values()))}

    @property
    def broken(self) -> bool:
        """Whether there has been no worker for a long time."""
        if any(worker.ready for worker in self.processes):
            self._served = time.monotonic()
        return time.monotonic() - self._served > BROKEN_AFTER

    async def close(self) -> None:
        """Stop all workers, and end all readers and the wait for the first worker."""
        self._ready.set()
        for worker in self.processes:
            worker.close()
        await super().close()

    def _assign(self, model: str) -> None:
        """Give waiting jobs to the workers that have free columns, the least busy one first."""
        waiting = self._jobs[model]
        while waiting:
            free = [worker for worker in self.processes if worker.ready]
            worker = min(free, key=lambda worker: len(worker.jobs[model]), default=None)
            if worker is None or len(worker.jobs[model]) >= self._per_worker:
                return
            job_id = waiting.popleft()
            text = self.texts[job_id]
            text.begin()
            worker.jobs[model].add(job_id)
            published = [text.so_far().dump()] if text.attempts > 1 else []
            worker.send("start", model, job_id, text.request.dump(), published, text.attempts)

    def _received(self, worker: WorkerProcess, kind: str, *content: Any) -> None:
        """Handle a message from a worker, in the event loop."""
        if kind == "ready":
            worker.jobs, worker.ready = {name: set() for name in self._infos}, True
            self._ready.set()
            for model in self._infos:
                self._assign(model)
        elif kind == "publish":
            model, news, ended = content
            for job_id, updates in news.items():
                if text := self.texts.get(job_id):
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
            if (text := self.texts.get(job_id)) is None or text.reason is not None:
                continue
            if text.attempts >= MAX_ATTEMPTS and not text.progressed:
                text.finish("error", f"job failed: {MAX_ATTEMPTS} workers died while running it")
            else:
                self._jobs[model].appendleft(job_id)
        self._assign(model)
