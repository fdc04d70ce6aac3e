"""Worker processes that a server starts itself."""

import asyncio
import json
import logging
import multiprocessing
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from minichar.model import CharRNN
from minichar.web import pipe
from minichar.web.errors import NoSuchJob, Unavailable, log_regularly
from minichar.web.models import ModelInfo, describe
from minichar.web.queue import JobQueue
from minichar.web.request import Request
from minichar.web.texts import Text
from minichar.web.update import Update

RESTART_DELAY = 1.0
"""Seconds between the end of a worker process and the start of another."""
BROKEN_AFTER = 60.0
"""Seconds without any worker after which the server is considered broken."""
MAX_MESSAGE = 2**30
"""Maximum size of a message from a worker, in bytes. asyncio's default is less than a long text."""

Start = Callable[..., BaseProcess]
SPAWN: Start = multiprocessing.get_context("spawn").Process
"""Function that creates a process from ``target`` and ``args``, like ``multiprocessing.Process``."""


@dataclass(eq=False)
class WorkerProcess:
    """A worker process, with the ids of the jobs that it runs, by model. It is `ready` to take jobs."""

    writer: asyncio.StreamWriter
    jobs: dict[str, set[str]]
    ready: bool = False

    def send(self, *message: Any) -> None:
        """Send a message to the worker."""
        self.writer.write(pipe.encode(*message))


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
        self._died = False
        self._served = time.monotonic()  # time when a worker that was ready last died

    async def start(self) -> None:
        """Start the worker processes."""
        await super().start()
        self._tasks = [asyncio.create_task(self._run_processes()) for _ in range(self._number)]

    async def _run_processes(self) -> None:
        """Run a worker process, and another one whenever it has ended."""
        while True:
            try:
                await self._run_process()
            except OSError as error:
                log_regularly(f"cannot start a worker process, trying again every second: {error}")
                self._died = True
            await asyncio.sleep(RESTART_DELAY)

    async def _run_process(self) -> None:
        """Start a worker process, and receive its messages until it has ended.

        Raises OSError if it cannot be started, for example because too many files are open.
        """
        ours, theirs = socket.socketpair()
        try:
            await asyncio.to_thread(self._start_process, theirs)
            reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE)
        except (OSError, asyncio.CancelledError):
            ours.close()  # a worker that was started ends
            raise
        worker = WorkerProcess(writer, {model: set() for model in self._infos})
        self.processes.append(worker)
        try:
            while True:
                self._received(worker, *json.loads(await reader.readuntil()))
        except Exception as error:
            if not isinstance(error, EOFError | OSError):  # how a worker that dies ends
                logging.exception("unexpected error: the worker is stopped")
            self._ended(worker)
        finally:
            writer.close()  # a worker that is still running ends

    def _start_process(self, theirs: socket.socket) -> None:
        """Start a worker process, and close this process's copy of its socket."""
        if hasattr(signal, "pthread_sigmask"):  # the process inherits the mask: the server handles Ctrl-C
            resource_tracker.ensure_running()  # otherwise, it is started with the process and resets the mask
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with theirs:
            self._start(target=pipe.run, args=(theirs, *self._args), daemon=True).start()

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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
            for job_id, fields in news.items():
                if text := self.texts.get(job_id):
                    text.add(Update.load(fields))
            worker.jobs[model].difference_update(ended)
            if ended:
                self._assign(model)

    def _ended(self, worker: WorkerProcess) -> None:
        """Give the jobs of a worker that has died to the others."""
        logging.error("a worker process ended; starting another one")
        self._died = True
        if worker.ready:
            self._served = time.monotonic()
        self.processes.remove(worker)
        for model, ids in worker.jobs.items():
            # These jobs are the next to be started. Those that are not in progress have been cancelled.
            self._jobs[model].extendleft(ids & self.texts.in_progress().keys())
            self._assign(model)
