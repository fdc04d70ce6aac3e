"""Test the pool of threads that handle requests."""

import gc
import logging
import threading
import weakref
from queue import Empty, SimpleQueue

import pytest
from web_helpers import TIMEOUT, wait_for

from minichar.web import threads
from minichar.web.threads import Threads


class Task:
    """A task that records its thread and waits until it is released."""

    def __init__(self, *, released=True):
        self.release, self.done = threading.Event(), threading.Event()
        self.started, self.cancelled, self.thread = threading.Event(), False, None
        if released:
            self.release.set()

    def service(self):
        self.thread = threading.current_thread()
        self.started.set()
        assert self.release.wait(TIMEOUT)
        self.done.set()

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def pool():
    pool = Threads(most=3)
    yield pool
    pool.shutdown(TIMEOUT)
    assert pool._number == 0


def busy(number):
    return [Task(released=False) for _ in range(number)]


def add(pool, tasks):
    for task in tasks:
        pool.add_task(task)


def finish(tasks):
    for task in tasks:
        task.release.set()
        assert task.done.wait(TIMEOUT)


def idle(pool, number):
    """Wait until this number of threads is idle."""
    wait_for(lambda: len(pool._idle) == number)


def test_tasks_above_the_limit_wait_in_order(pool):
    running, waiting = busy(3), busy(2)
    add(pool, [*running, *waiting])
    assert all(task.started.wait(TIMEOUT) for task in running)
    assert not any(task.started.wait(0.05) for task in waiting)
    for k in range(2):
        running[k].release.set()
        assert waiting[k].started.wait(TIMEOUT)
        assert waiting[k].thread is running[k].thread
    assert not running[2].done.is_set()
    finish([running[2], *waiting])


def test_next_task_is_given_to_the_thread_that_was_busy_last(pool, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 10 * TIMEOUT)
    burst = busy(3)
    add(pool, burst)
    for k, task in enumerate(burst):
        finish([task])
        idle(pool, k + 1)
    for _ in range(3):
        task = Task()
        pool.add_task(task)
        finish([task])
        idle(pool, 3)
        assert task.thread is burst[-1].thread


def test_idle_threads_end_and_new_ones_are_started(pool, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.01)
    for _ in range(2):
        burst = busy(3)
        add(pool, burst)
        finish(burst)
        for task in burst:
            task.thread.join(TIMEOUT)
            assert not task.thread.is_alive()
        assert (pool._number, pool._idle) == (0, [])


def test_task_given_to_a_thread_that_is_about_to_end_is_run(pool, monkeypatch):
    timed_out, go_on = threading.Event(), threading.Event()

    class Inbox(SimpleQueue):
        def get(self, timeout=None):
            if timeout is None:
                return super().get()
            timed_out.set()
            assert go_on.wait(TIMEOUT)
            raise Empty

    monkeypatch.setattr(threads, "SimpleQueue", Inbox)
    first, late = Task(), Task()
    pool.add_task(first)
    assert timed_out.wait(TIMEOUT)
    pool.add_task(late)
    go_on.set()
    assert late.done.wait(TIMEOUT)
    assert late.thread is first.thread


def test_no_task_is_lost_while_threads_end(monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.0)
    pool = Threads(most=1)
    for _ in range(500):
        task = Task()
        pool.add_task(task)
        assert task.done.wait(TIMEOUT)
    pool.shutdown(TIMEOUT)


def test_error_in_a_task_is_logged_and_the_thread_goes_on(pool, caplog):
    class Failing(Task):
        def service(self):
            super().service()
            raise SystemExit("no such luck")

    tasks = [Failing(), Task()]
    for task in tasks:
        pool.add_task(task)
        finish([task])
        idle(pool, 1)
    assert tasks[0].thread is tasks[1].thread
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "error while handling a request"
    assert "no such luck" in caplog.text


def test_idle_thread_does_not_keep_its_last_task(pool):
    task = Task()
    pool.add_task(task)
    finish([task])
    idle(pool, 1)
    last = weakref.ref(task)
    del task
    gc.collect()
    assert last() is None


def test_tasks_wait_if_the_system_allows_no_more_threads(pool, monkeypatch, caplog):
    def fail(_):
        raise RuntimeError("can't start new thread")

    tasks = busy(3)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        add(pool, tasks)
    assert [record.message for record in caplog.records] == [
        "cannot start a thread for a request: can't start new thread; raise the limit (ulimit -u)"
    ]
    assert not tasks[0].started.wait(0.05)
    for task in tasks:
        pool.start_thread()
        assert task.started.wait(TIMEOUT)
    finish(tasks)
    idle(pool, 3)


def test_no_thread_is_started_without_a_task(pool):
    pool.start_thread()
    assert pool._number == 0


def test_shutdown_ends_idle_threads_and_waits_for_busy_ones(monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 10 * TIMEOUT)
    pool = Threads(most=2)
    first, second = tasks = busy(2)
    add(pool, tasks)
    finish([first])
    idle(pool, 1)
    shutdown = threading.Thread(target=pool.shutdown, args=(10 * TIMEOUT,))
    shutdown.start()
    first.thread.join(TIMEOUT)
    assert not first.thread.is_alive()
    shutdown.join(0.1)
    assert shutdown.is_alive()
    second.release.set()
    for thread in (shutdown, second.thread):
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_shutdown_cancels_tasks_and_does_not_wait_for_ever():
    pool = Threads(most=1)
    [running], waiting, late = busy(1), Task(), Task()
    add(pool, [running, waiting])
    assert running.started.wait(TIMEOUT)
    pool.shutdown(0.05)
    assert running.thread.is_alive()
    pool.add_task(late)
    finish([running])
    running.thread.join(TIMEOUT)
    assert waiting.cancelled
    assert late.cancelled
    assert not any(task.started.is_set() for task in (waiting, late))
