"""Test invalid Redis URLs, jobs that fail, and errors in the threads of servers and workers."""

import time
from functools import partial
from types import SimpleNamespace

import pytest
from redis_helpers import run, text_of, worker_in_thread
from web_helpers import LONG, wait_for

from minichar import MinicharError
from minichar.web import subscriber, worker
from minichar.web.app import create_app
from minichar.web.request import Request
from minichar.web.store import Store


def fail_once(error):
    """Return a function that raises an error and, when it is called again, calls the original function."""

    def wrap(original):
        errors = [error]

        def wrapped(*arguments, **options):
            if errors:
                raise errors.pop()
            return original(*arguments, **options)

        return wrapped

    return wrap


def test_an_unexpected_error_while_reading_ends_only_the_current_readers(
    queue, running_worker, sampled, monkeypatch, caplog
):
    slept, read = [], queue._store.read
    long = queue.submit(Request.from_json(LONG))

    def fail(positions, **options):
        if "wait" in options:  # called by the thread, for readers that wait
            monkeypatch.setattr(queue._store, "read", read)
            raise RuntimeError("boom")
        return read(positions, **options)

    def sleep(seconds):
        slept.append(seconds)
        time.sleep(0.01)

    monkeypatch.setattr(subscriber, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    monkeypatch.setattr(queue._store, "read", fail)
    assert text_of(queue, long)[1] == "closing"
    assert "boom" in caplog.text
    queue.cancel(long)
    request = Request.from_json({"length": 300, "seed": 5})
    assert text_of(queue, queue.submit(request)) == (sampled(300), "length")
    assert max(slept) == 1.0  # a persistent error must not fill the log


@pytest.mark.parametrize("method", ["add", "unfinished", "expire_queue", "abandoned"])
def test_a_worker_survives_unexpected_errors(queue, redis_url, model, sampled, monkeypatch, caplog, method):
    """Each method is called in one of the threads of a worker."""
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.2)
    monkeypatch.setattr(worker, "READ_TIMEOUT", 0.1)
    with worker_in_thread(redis_url, model) as one:
        store = one.store
        monkeypatch.setattr(store, method, fail_once(RuntimeError("boom"))(getattr(store, method)))
        wait_for(lambda: "boom" in caplog.text or method == "add")
        job_id = queue.submit(Request.from_json({"length": 300, "seed": 5}))
        assert text_of(queue, job_id) == (sampled(300), "length")
        assert "boom" in caplog.text


@pytest.mark.parametrize("published", [True, False])
def test_a_lasting_error_while_publishing_ends_only_its_job(
    queue, running_worker, sampled, monkeypatch, caplog, published
):
    """If the error message cannot be published either, the worker gives up on the job."""
    monkeypatch.setattr(worker, "RETRY_DELAY", 0.01)
    request = Request.from_json({"length": 300, "seed": 5})
    add, bad = running_worker.store.add, []

    def fail(news, alternatives):
        bad[:] = bad or [*news][:1]  # the first job
        if any(job_id in bad and not (published and updates[0].error) for job_id, updates in news.items()):
            raise RuntimeError("boom")
        add(news, alternatives)

    monkeypatch.setattr(running_worker.store, "add", fail)
    jobs = {queue.submit(request), queue.submit(request)}
    wait_for(lambda: bad)
    (good,) = jobs - {*bad}
    assert text_of(queue, good) == (sampled(300), "length")
    if published:
        update = list(filter(None, queue.follow(bad[0], 0)))[-1]
        assert (update.reason, update.error) == ("error", "internal error: see the worker log")
    wait_for(lambda: not running_worker.tasks["toy"])
    assert caplog.text.count(f"job {bad[0]} failed") == 1
    assert queue.job_counts() == {"unfinished": 0 if published else 1}


def test_texts_continue_when_redis_has_memory_again(queue, running_worker, caplog):
    client, connection = create_app(queue).test_client(), queue._store.client
    job_id = queue.submit(Request.from_json(LONG))
    updates = filter(None, queue.follow(job_id, 0))
    assert next(updates).text
    connection.config_set("maxmemory", 1)
    try:
        wait_for(lambda: "Redis rejected a command" in caplog.text)
        assert client.post("/api/generate", json={}).status_code == 503
        *_, last = updates
        assert last.reason == "closing"
    finally:
        connection.config_set("maxmemory", 0)
    assert next(filter(None, queue.follow(job_id, last.end))).text
    queue.cancel(job_id)


def test_a_job_that_is_delivered_again_to_the_same_worker_runs_once(running_worker):
    """This happens if Redis was unreachable, so that other workers considered this one dead."""
    store, acknowledged = running_worker.store, []
    store.put("request", "job", Request.from_json(LONG | {"model": "toy"}).dump(), 60)
    store.put("seen", "job", "", 60)
    for k in range(2):
        running_worker.start("toy", "job", partial(acknowledged.append, k))
    assert len(running_worker.tasks["toy"]) == 1
    store.put("cancelled", "job", "", 60)
    wait_for(lambda: acknowledged == [1])


def test_jobs_that_cannot_be_completed_end_with_an_error(queue, running_worker):
    store = running_worker.store
    store.put("request", "deadly", Request.from_json({"model": "toy"}).dump(), 60)
    for _ in range(worker.MAX_ATTEMPTS):
        store.increment("attempts", "deadly")
    run(running_worker, "deadly")
    (update,) = (update for update in queue.follow("deadly", 0) if update)
    assert (update.reason, "5 workers died" in update.error) == ("error", True)

    store.put("request", "last", Request.from_json({"model": "toy", "length": 5}).dump(), 60)
    store.put("seen", "last", "", 60)
    for _ in range(worker.MAX_ATTEMPTS - 1):
        store.increment("attempts", "last")
    run(running_worker, "last")
    assert text_of(queue, "last")[1] == "length"

    store.put("request", "unknown", Request.from_json({"model": "toy", "prime": "☃"}).dump(), 60)
    run(running_worker, "unknown")
    (update,) = (update for update in queue.follow("unknown", 0) if update)
    assert "not in the vocabulary" in update.error

    run(running_worker, "expired")
    assert store.updates("expired") == []


def test_any_exception_in_a_worker_reaches_the_reader(queue, running_worker, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("boom")

    monkeypatch.setattr(running_worker.schedulers["toy"], "submit", fail)
    updates = queue.follow(queue.submit(Request.from_json({})), 0)
    update = wait_for(lambda: next(updates))
    assert (update.reason, "internal error" in update.error) == ("error", True)
    assert "boom" in caplog.text


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:99999x/0", "redis://[", "http://:secret@x", "x"])
def test_invalid_url(url):
    with pytest.raises(MinicharError, match=r"^invalid Redis URL: .*$") as caught:
        Store(url, retries=0)
    assert "secret" not in str(caught.value)


def test_problem_names_the_server_but_not_the_password(redis_url):
    problem = Store("redis://:secret@127.0.0.1:1/0", retries=0).problem()
    assert problem.startswith("cannot connect to Redis at redis://127.0.0.1:1/0: ")
    assert "secret" not in problem
    assert Store(redis_url, retries=0).problem() is None
