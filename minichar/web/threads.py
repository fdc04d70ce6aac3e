"""Request-handling threads that start on demand and exit when idle.

By default, glibc caches up to about 230 KiB of freed blocks for each thread. Waitress's own pool rotates
through a fixed number of threads, so hundreds of threads would still hold tens of megabytes of freed memory
after a burst of requests.
"""

import logging
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Protocol

IDLE = 5.0
"""Seconds after which an idle thread exits."""
LOG_INTERVAL = 60.0
"""Minimum number of seconds between messages about threads that cannot be started."""


class Task(Protocol):
    """A connection with a request to handle."""

    def service(self) -> None:
        """Handle the request."""

    def cancel(self) -> None:
        """Drop the request and let the server close the connection."""


Inbox = SimpleQueue[Task | None]
"""Queue that passes an idle thread its next task, or None to stop the thread."""


class Threads:
    """Thread pool that replaces Waitress's task dispatcher.

    Each task runs on the thread that became idle most recently. A thread exits after `IDLE` seconds without a
    task.

    Parameters
    ----------
    most : int
        Maximum number of threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        self._idle: list[Inbox] = []
        self._waiting: deque[Task] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._logged = 0.0

    def add_task(self, task: Task) -> None:
        """Run a task on an idle or new thread. If `most` threads are already busy, the task is queued."""
        with self._changed:
            if self._closed:
                task.cancel()
                return
            if self._idle:
                self._idle.pop().put(task)
                return
            self._waiting.append(task)
        self.start_thread()

    def start_thread(self) -> None:
        """Start a thread if a task is waiting for one.

        If the system cannot create another thread, the task waits until a thread is free. Call this method
        regularly, so that tasks are run eventually even if the pool has no threads.
        """
        with self._changed:
            if not self._waiting or self._number == self._most:
                return
            self._number += 1
        try:
            threading.Thread(target=self._run, name="request", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            with self._changed:
                self._number -= 1
            now = time.time()
            if now - self._logged > LOG_INTERVAL:
                self._logged = now
                logging.error("cannot start a thread for a request: %s; raise the limit (ulimit -u)", error)

    def shutdown(self, timeout: float) -> None:
        """Cancel queued tasks, stop all threads, and wait up to `timeout` seconds for them to exit."""
        with self._changed:
            self._closed = True
            while self._idle:
                self._idle.pop().put(None)
                self._number -= 1
            while self._waiting:
                self._waiting.popleft().cancel()
            self._changed.wait_for(lambda: self._number == 0, timeout)

    def _run(self) -> None:
        inbox: Inbox = SimpleQueue()
        while self._run_one(inbox):
            pass

    def _run_one(self, inbox: Inbox) -> bool:
        """Wait for a task and run it. Return False if the thread should exit."""
        task = self._next(inbox)
        if task is None:
            return False
        try:
            task.service()
        except BaseException:
            logging.exception("error while handling a request")
        return True

    def _next(self, inbox: Inbox) -> Task | None:
        with self._changed:
            if self._closed:
                self._number -= 1
                self._changed.notify_all()
                return None
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(inbox)
        try:
            return inbox.get(timeout=IDLE)
        except Empty:
            with self._changed:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    self._number -= 1
                    return None
            return inbox.get()  # another thread has since put a task or None in the inbox
