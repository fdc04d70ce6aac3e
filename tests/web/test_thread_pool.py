"""Test the pool of threads that handle requests."""

import gc
import logging
import threading
import time
import weakref

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


def run(pool, *tasks):
    """Start tasks, release them, and wait until they have ended."""
    for task in tasks:
        pool.add_task(task)
    for task in tasks:
        task.release.set()
        assert task.done.wait(TIMEOUT)


def idle(pool, number):
    """Wait until this number of threads is idle."""
    wait_for(lambda: len(pool._idle) == number)


def test_tasks_above_the_limit_wait_in_order(pool):
    running, waiting = [Task(released=False) for _ in range(3)], [Task(released=False) for _ in range(2)]
    for task in (*running, *waiting):
        pool.add_task(task)
    assert all(task.started.wait(TIMEOUT) for task in running)
    assert not any(task.started.wait(0.05) for task in waiting)
    for k in range(2):
        running[k].release.set()
        assert waiting[k].started.wait(TIMEOUT)
        assert waiting[k].thread is running[k].thread
    assert not running[2].done.is_set()
    for task in (running[2], *waiting):
        task.release.set()


def test_next_task_is_given_to_the_thread_that_was_busy_last(pool):
    burst = [Task(released=False) for _ in range(3)]
    for task in burst:
        pool.add_task(task)
    for k, task in enumerate(burst):
        task.release.set()
        idle(pool, k + 1)
    for _ in range(3):
        task = Task()
        run(pool, task)
        idle(pool, 3)
        assert task.thread is burst[-1].thread


def test_idle_threads_end_and_new_ones_are_started(pool, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.01)
    for _ in range(2):
        burst = [Task(released=False) for _ in range(3)]
        run(pool, *burst)
        for task in burst:
            task.thread.join(TIMEOUT)
            assert not task.thread.is_alive()
        assert pool._idle == []


def test_task_given_to_a_thread_that_is_about_to_end_is_run(pool, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0.3)
    run(pool, Task())
    idle(pool, 1)
    late = Task()
    with pool._changed:  # the thread times out, but cannot leave the pool yet
        time.sleep(0.5)
        pool.add_task(late)
    assert late.done.wait(TIMEOUT)


def test_error_in_a_task_is_logged_and_the_thread_goes_on(pool, caplog):
    class Failing(Task):
        def service(self):
            super().service()
            raise SystemExit("no such luck")

    failing, next_one = Failing(), Task()
    run(pool, failing)
    idle(pool, 1)
    run(pool, next_one)
    assert next_one.thread is failing.thread
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "error while handling a request"
    assert "no such luck" in caplog.text


def test_idle_thread_does_not_keep_its_last_task(pool):
    task = Task()
    run(pool, task)
    idle(pool, 1)
    last = weakref.ref(task)
    del task
    gc.collect()
    assert last() is None


def test_tasks_are_not_lost_if_the_system_allows_no_more_threads(pool, monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    first, others = Task(released=False), [Task() for _ in range(3)]
    pool.add_task(first)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        for task in others:
            pool.add_task(task)
    first.release.set()
    assert all(task.done.wait(TIMEOUT) for task in others)
    burst = [Task(released=False) for _ in range(3)]
    for task in burst:
        pool.add_task(task)
    assert all(task.started.wait(TIMEOUT) for task in burst)  # the failed threads are not counted
    run(pool, *burst)


def test_shutdown_ends_idle_threads_and_waits_for_busy_ones(monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 10 * TIMEOUT)
    pool = Threads(most=2)
    first, second = Task(released=False), Task(released=False)
    pool.add_task(first)
    pool.add_task(second)
    first.release.set()
    idle(pool, 1)
    shutdown = threading.Thread(target=pool.shutdown, args=(10 * TIMEOUT,))
    shutdown.start()
    shutdown.join(0.1)
    assert shutdown.is_alive()
    second.release.set()
    for thread in (shutdown, first.thread, second.thread):
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_shutdown_cancels_waiting_tasks_and_does_not_wait_for_ever():
    pool = Threads(most=1)
    running, waiting = Task(released=False), Task()
    pool.add_task(running)
    pool.add_task(waiting)
    pool.shutdown(0.05)
    assert waiting.cancelled
    assert running.thread.is_alive()
    running.release.set()
    running.thread.join(TIMEOUT)
    assert not waiting.started.is_set()
