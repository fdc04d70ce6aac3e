"""Worker processes that a server starts itself."""

import asyncio
import logging
import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from minichar.model import CharRNN
from minichar.web import pipe
from minichar.web.errors import NoSuchJob, Unavailable
from minichar.web.models import ModelInfo, describe
from minichar.web.queue import JobQueue
from minichar.web.request import Request
from minichar.web.texts import Text
from minichar.web.update import Update

RESTART_DELAY = 1.0
"""Seconds between the end of a worker process and the start of another."""
BROKEN_AFTER = 60.0
"""Seconds without any worker after which the server is considered broken."""

Start = Callable[..., BaseProcess]
SPAWN: Start = multiprocessing.get_context("spawn").Process
"""Function that creates a process from ``target`` and ``args``, like ``multiprocessing.Process``."""


class WorkerProcess:
    """A worker process. `on_message` is called in the event loop, with ``"died"`` as the last message.

    `jobs` contains the ids of the jobs that it runs, by model. It is `ready` once it can take jobs.
    """

    def __init__(
        self, start: Start, args: tuple[Any, ...], models: Iterable[str], on_message: Callable[..., None]
    ) -> None:
        self._start, self._args, self._on_message = start, args, on_message
        self._loop = asyncio.get_running_loop()
        self._outbox: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self.jobs: dict[str, set[str]] = {model: set() for model in models}
        self.ready = False
        threading.Thread(target=self._run, name="worker", daemon=True).start()

    def send(self, *message: Any) -> None:
        """Send a message to the worker."""
        self._outbox.put(message)

    def _run(self) -> None:
        """Run the process, and pass on its messages until it ends."""
        if hasattr(signal, "pthread_sigmask"):  # the process inherits the mask: the server handles Ctrl-C
            resource_tracker.ensure_running()  # otherwise, it is started with the process and resets the mask
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        ours, theirs = multiprocessing.Pipe()
        with ours, theirs:
            try:
                process = self._start(target=pipe.run, args=(theirs, *self._args), daemon=True)
                process.start()
            except OSError as error:
                logging.error("cannot start a worker process: %s", error)
            else:
                theirs.close()
                writer = threading.Thread(target=self._write, args=(ours,), daemon=True)
                writer.start()
                with suppress(EOFError, OSError):
                    while True:
                        self._tell(*pipe.receive(ours))
                self._outbox.put(None)
                process.terminate()
                process.join()
                writer.join()  # it uses the pipe, which is closed next
        self._tell("died")

    def _write(self, ours: Connection) -> None:
        """Send messages; in a separate thread, because the worker may be too busy to read them."""
        with suppress(OSError):  # the other thread notices as well
            while message := self._outbox.get():
                pipe.send(ours, *message)

    def _tell(self, *message: Any) -> None:
        with suppress(RuntimeError):  # the event loop has been closed
            self._loop.call_soon_threadsafe(self._on_message, self, *message)


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
        number: int,
        memory: int,
        start: Start = SPAWN,
    ) -> None:
        super().__init__(queue, memory)
        self._infos = {name: describe(name, model) for name, model in models.items()}
        self._per_worker, self._number, self._start = -(-columns // number), number, start
        packed = {name: pipe.pack(model) for name, model in models.items()}
        self._args = (packed, self._per_worker, pace, logging.getLogger().level)
        self._jobs: dict[str, deque[str]] = {name: deque() for name in models}
        self.processes: list[WorkerProcess] = []
        self._closing = self._died = False
        self._served = time.monotonic()  # time when a worker that was ready last died

    async def start(self) -> None:
        """Start the worker processes."""
        await super().start()
        for _ in range(self._number):
            self._start_worker()

    def _start_worker(self) -> None:
        if not self._closing:
            self.processes.append(WorkerProcess(self._start, self._args, self._infos, self._received))

    @property
    def _ready(self) -> bool:
        return any(worker.ready for worker in self.processes)

    async def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""
        return list(self._infos.values())

    async def _columns(self, model: str) -> int:
        return self._per_worker * self._number

    async def _unfinished(self, model: str) -> int:
        return sum(len(worker.jobs[model]) for worker in self.processes) + len(self._jobs[model])

    async def _waiting(self, model: str) -> list[str]:
        if self._died and not self._ready:  # at the start, one is ready soon
            raise Unavailable("no worker is available: generation continues when one is started")
        return list(self._jobs[model])

    async def _give(self, job_id: str, text: Text) -> None:
        self._jobs[text.request.model].append(job_id)
        self._assign(text.request.model)

    async def _find(self, job_id: str) -> Request:
        raise NoSuchJob  # there is no other server

    async def _cancel(self, job_id: str, text: Text) -> None:
        model = text.request.model
        text.finish("cancelled")
        if job_id in self._jobs[model]:
            self._jobs[model].remove(job_id)
        for worker in self.processes:
            if job_id in worker.jobs[model]:
                worker.send("stop", job_id)

    _abandon = _cancel  # there is no other server

    async def check(self) -> None:
        """Also raise `Unavailable` if a new request would wait for a worker."""
        await super().check()
        if not self._ready:
            raise Unavailable("no worker is available: try again later")

    async def job_counts(self) -> dict[str, int]:
        """Return the number of running and waiting jobs."""
        running = sum(len(jobs) for worker in self.processes for jobs in worker.jobs.values())
        return {"running": running, "waiting": sum(map(len, self._jobs.values()))}

    @property
    def broken(self) -> bool:
        """Whether there has been no worker for a long time. The first one may take long to start."""
        return self._died and not self._ready and time.monotonic() - self._served > BROKEN_AFTER

    async def close(self) -> None:
        """Stop all workers, and end all readers."""
        self._closing = True
        for worker in self.processes:
            worker.send("close")
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
            worker.ready = True
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
        elif kind == "died" and not self._closing:
            logging.error("a worker process ended; starting another one")
            self._died = True
            if worker.ready:
                self._served = time.monotonic()
            self.processes.remove(worker)
            asyncio.get_running_loop().call_later(RESTART_DELAY, self._start_worker)
            for model, ids in worker.jobs.items():
                # These jobs are the next to be started. Those that are not in progress have been cancelled.
                self._jobs[model].extendleft(ids & self.texts.in_progress().keys())
                self._assign(model)
