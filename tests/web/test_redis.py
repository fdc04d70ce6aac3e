"""Test servers and workers that share a Redis server."""

import re
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from optional import free_port
from toys import toy_model
from web_helpers import TIMEOUT, Events, redis_server, request, server_in_thread, wait_for

from minichar import MinicharError, generate
from minichar.sampling.streams import State, Streams
from minichar.web import legacy, redis_queue, shared_snapshots, worker
from minichar.web.app import create_app
from minichar.web.details import Details
from minichar.web.job import ABANDONED_AFTER, Busy, Update
from minichar.web.jobs import KEEP_ALTERNATIVES
from minichar.web.queue import Unavailable
from minichar.web.redis_queue import RedisQueue
from minichar.web.request import BadRequest, Request
from minichar.web.shared_snapshots import SharedSnapshots
from minichar.web.snapshots import Snapshot
from minichar.web.store import CONNECTIONS, UNSEEN_AFTER, Store, client
from minichar.web.worker import Worker

redis = pytest.importorskip("redis")
dramatiq = pytest.importorskip("dramatiq")

LONG = {"length": 20000, "seed": 5}
BEST = "lm_lstm_epoch1.00_1.2345.npz"


@pytest.fixture
def queue(redis_url):
    queue = RedisQueue(redis_url, queue=1)
    yield queue
    queue.close()


@contextmanager
def worker_in_thread(url, model, columns=2):
    """Run a worker in a thread of this process."""
    one, ready = Worker(url, {"toy": model}, columns, pace=3000.0), threading.Event()
    thread = threading.Thread(target=one.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(TIMEOUT)
        yield one
    finally:
        one.stopping.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def running_worker(redis_url, model, monkeypatch):
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.2)
    with worker_in_thread(redis_url, model) as one:
        yield one


def text_of(queue, job_id, after=0):
    updates = [update for update in queue.follow(job_id, after) if update]
    return "".join(update.text for update in updates), updates[-1].reason


def run(worker, job_id):
    """Run a job whose request is in Redis but which is not in the queue."""
    done = threading.Event()
    worker.start("toy", job_id, acknowledge=done.set)
    assert done.wait(TIMEOUT)


# Tests in this process


def test_output_equals_minichar_sample(queue, running_worker, sampled):
    job_id = queue.submit(Request.from_json({"length": 500, "seed": 5, "alternatives": True}))
    whole = sampled(500)
    assert text_of(queue, job_id) == (whole, "length")
    assert text_of(queue, job_id, 123) == (whole[123:], "length")
    assert text_of(queue, job_id, 500) == ("", "length")
    assert sum(len(update.details) for update in queue.follow(job_id, 0) if update) == 500
    assert queue.request(job_id).seed == 5
    wait_for(lambda: queue.job_counts() == {"unfinished": 0})


def test_cancelled_and_abandoned_jobs_stop(queue, running_worker, monkeypatch):
    job_id = queue.submit(Request.from_json(LONG))
    assert any(queue.follow(job_id, 0))
    queue.cancel(job_id)
    text, reason = text_of(queue, job_id)
    assert reason == "cancelled"
    assert len(text) < 20000

    monkeypatch.setattr("minichar.web.store.UNSEEN_AFTER", 0.3)
    monkeypatch.setattr("minichar.web.subscriber.ABANDONED_AFTER", 0.3)
    job_id = queue.submit(Request.from_json(LONG))
    next(queue.follow(job_id, 0))
    wait_for(lambda: any(u.reason == "cancelled" for u in running_worker.store.updates(job_id)))


def test_a_busy_server_has_longer_to_renew_its_readers(queue, running_worker):
    """With hundreds of readers, its threads can wait for each other for more than ten seconds."""
    job_id = queue.submit(Request.from_json(LONG))

    def left():
        return queue._store.client.pttl(f"minichar:seen:{job_id}") / 1000

    assert ABANDONED_AFTER < left() <= UNSEEN_AFTER
    reader, other = queue.follow(job_id, 0), queue.follow(job_id, 0)
    next(reader), next(other)
    assert left() > ABANDONED_AFTER
    reader.close()
    queue.leave(job_id)
    assert left() > ABANDONED_AFTER
    other.close()
    queue.leave(job_id)
    assert 0 < left() <= ABANDONED_AFTER
    queue.cancel(job_id)


def test_a_client_that_leaves_before_it_reads_abandons_its_job_as_soon(queue, running_worker, monkeypatch):
    """Otherwise, a client could have more running jobs than it is allowed requests."""
    monkeypatch.setattr(legacy, "LENGTH", 20000)
    monkeypatch.setattr(legacy, "READ_TIMEOUT", 0.2)
    client, store = create_app(queue).test_client(), queue._store

    def left():
        keys = [*store.client.scan_iter("minichar:seen:*")]
        return [store.client.pttl(key) / 1000 for key in keys]

    client.post("/api", json={"primetext": "a", "temperature": 1})
    client.post("/api/generate", json=LONG).close()
    assert len(left()) == 2
    assert max(left()) <= ABANDONED_AFTER
    job_id = client.post("/api", json={"primetext": "a", "temperature": 1}).json["sid"]
    assert client.post("/res", json={"sid": job_id}).json["responds"] == "0"
    assert len(left()) == 3
    assert max(left()) <= ABANDONED_AFTER
    for task in running_worker.tasks["toy"].copy():
        queue.cancel(task.job_id)


def test_polling_returns_the_whole_text(queue, running_worker, sampled):
    client = create_app(queue).test_client()
    job_id = client.post("/api", json={"primetext": "山中", "seed": 5}).json["sid"]

    def poll(sid=job_id):
        responds = client.post("/res", json={"sid": sid}).json["responds"]
        return responds != "0" and responds

    assert wait_for(poll) == "山中" + sampled(1000, "山中") + "……"
    assert len(queue._store.updates(job_id)) > 1
    assert poll("\ud800") is False  # cannot be encoded


def test_polling_a_running_job(queue, running_worker, monkeypatch):
    monkeypatch.setattr(legacy, "LENGTH", 20000)
    client = create_app(queue).test_client()
    job_id = client.post("/api", json={"primetext": ""}).json["sid"]
    next(filter(None, queue.follow(job_id, 0)))
    assert client.post("/res", json={"sid": job_id}).json["responds"] == "0"
    assert running_worker.tasks["toy"]
    threading.Timer(0.3, queue.close).start()  # another server may continue the text
    assert client.post("/res", json={"sid": job_id}).json["responds"] == "0"
    running_worker.store.put("cancelled", job_id, "", 60)


def test_readers_end_if_their_job_is_lost(queue, monkeypatch):
    monkeypatch.setattr(redis_queue, "READ_TIMEOUT", 0.1)
    queue._store.put("request", "job", Request.from_json({"model": "toy"}).dump(), 60)
    updates = queue.follow("job", 7)
    assert next(updates) is None
    queue._store.client.flushall()
    assert list(filter(None, updates)) == [Update("", Details(), 7, "closing")]


def test_readers_end_when_the_server_stops(queue, running_worker):
    job_id = queue.submit(Request.from_json(LONG))
    threading.Timer(0.3, queue.close).start()
    text, reason = text_of(queue, job_id)
    assert (0 < len(text) < 20000, reason) == (True, "closing")
    assert text_of(queue, job_id) == ("", "closing")  # begins to read after the subscriber has stopped
    running_worker.store.put("cancelled", job_id, "", 60)


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
    request = Request.from_json({"length": 300, "seed": 5})
    monkeypatch.setattr(queue._store, "read", fail_once(RuntimeError("boom"))(queue._store.read))
    assert text_of(queue, queue.submit(request)) == ("", "closing")
    assert "boom" in caplog.text
    assert text_of(queue, queue.submit(request)) == (sampled(300), "length")


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


def test_alternatives_expire_soon_after_the_end_but_not_before(queue, running_worker):
    """While a job is running, another worker may have to continue its text."""

    def left(job_id):
        return [queue._store.client.pttl(f"minichar:{kind}:{job_id}") / 1000 for kind in ("request", "text")]

    job_id = queue.submit(Request.from_json(LONG | {"alternatives": True}))
    updates = filter(None, queue.follow(job_id, 0))
    assert next(updates).details
    assert min(left(job_id)) > KEEP_ALTERNATIVES
    queue.cancel(job_id)
    assert list(updates)[-1].reason == "cancelled"
    assert 0 < max(left(job_id)) <= KEEP_ALTERNATIVES


def test_full_queue_rejects_jobs(queue, redis_url, model):
    with worker_in_thread(redis_url, model, columns=1):
        jobs = [queue.submit(Request.from_json(LONG)) for _ in range(2)]
        with pytest.raises(Busy, match="too many"):
            queue.submit(Request.from_json(LONG))
        for job_id in jobs:
            queue.cancel(job_id)
        wait_for(lambda: queue.job_counts() == {"unfinished": 0})
        assert queue.submit(Request.from_json({"length": 5}))


def test_requests_without_a_worker_and_invalid_requests(queue, redis_url, model):
    with pytest.raises(Unavailable, match="no worker"):
        queue.submit(Request.from_json({}))
    assert queue.models() == []
    with worker_in_thread(redis_url, model):
        assert [model.name for model in queue.models()] == ["toy"]
        for invalid in ({"model": "other"}, {"prime": "☃"}):
            with pytest.raises(BadRequest):
                queue.submit(Request.from_json(invalid))
        with pytest.raises(KeyError):
            queue.request("none")
    assert queue.models() == []


def test_position_of_a_waiting_job(queue, redis_url, model):
    with worker_in_thread(redis_url, model, columns=1) as one:
        running = queue.submit(Request.from_json(LONG))
        wait_for(lambda: one.tasks["toy"])
        waiting = queue.submit(Request.from_json(LONG))
        assert [queue.position(job_id) for job_id in (running, waiting)] == [None, 1]
        for job_id in (running, waiting):
            queue.cancel(job_id)
    with pytest.raises(Unavailable, match="no worker"):
        queue.position(waiting)


def test_cancelled_and_abandoned_jobs_leave_the_queue(queue, redis_url, model):
    """Otherwise, one client could fill the queue by submitting and cancelling jobs."""
    with worker_in_thread(redis_url, model, columns=1) as one:
        running = queue.submit(Request.from_json(LONG))
        wait_for(lambda: one.tasks["toy"])
        reading = threading.Thread(target=text_of, args=(queue, running))
        reading.start()
        for _ in range(5):  # there is room for one waiting job
            job_id = queue.submit(Request.from_json(LONG))
            assert queue.cancel(job_id)
            assert text_of(queue, job_id) == ("", "cancelled")
        queue._store.client.delete(f"minichar:seen:{queue.submit(Request.from_json(LONG))}")
        wait_for(lambda: queue.job_counts() == {"unfinished": 1})
        assert queue.submit(Request.from_json(LONG))
        assert not queue.cancel(running)
        reading.join()


def test_a_worker_does_not_start_a_job_that_was_cancelled(queue, running_worker, monkeypatch):
    monkeypatch.setattr(running_worker.schedulers["toy"], "submit", lambda job: pytest.fail("called"))
    for job_id, kind in (("cancelled", "cancelled"), ("unread", "attempts")):
        running_worker.store.put("request", job_id, Request.from_json({"model": "toy"}).dump(), 60)
        running_worker.store.put(kind, job_id, "0", 60)
        running_worker.start("toy", job_id, acknowledge=lambda: None)
        assert text_of(queue, job_id) == ("", "cancelled")


def test_cancelling_a_running_job_does_not_lift_the_limit_at_once(queue, running_worker):
    """The job occupies a worker until the worker has ended it."""
    client = create_app(queue, per_client=1).test_client()
    job_id = client.post("/api", json={"primetext": ""}).json["sid"]
    wait_for(lambda: running_worker.tasks["toy"])
    assert client.delete(f"/api/generate/{job_id}").status_code == 204
    assert client.post("/api", json={"primetext": ""}).status_code == 429


def test_every_key_expires(queue, running_worker):
    """The worker runs two jobs, of which one is made a dead letter, and a third one waits."""
    job_id = queue.submit(Request.from_json({"length": 1001}))
    text_of(queue, job_id)
    queue.cancel(job_id)
    wait_for(lambda: queue.job_counts() == {"unfinished": 0})
    store = running_worker.store
    jobs = [queue.submit(Request.from_json(LONG)) for _ in range(3)]
    wait_for(lambda: len(running_worker.tasks["toy"]) == 2)
    name = redis_queue.queue_name("toy")
    store.broker.do_nack(name, store.get("message", jobs[0]))
    wait_for(lambda: all(0 < store.client.pttl(key) <= 600_000 for key in store.client.scan_iter()))
    of_jobs = {"request", "message", "text", "seen", "cancelled", "attempts", "snapshot"}
    of_workers = {"worker", "workers", "__heartbeats__", f"__acks__.{store.broker.broker_id}.{name}"}
    of_queue = {name, f"{name}.msgs", f"{name}.XQ", f"{name}.XQ.msgs"}
    names = {key.split(":")[1] for key in store.client.scan_iter()}
    assert names == of_jobs | of_workers | of_queue
    for job_id in jobs:
        queue.cancel(job_id)


def test_characters_published_twice_are_read_once(queue):
    """A slow worker may continue publishing after another worker has taken over its job."""
    store = queue._store
    for text, end in (("abc", 3), ("de", 5), ("bcd", 4), ("defg", 7), ("h", 8)):
        store.add({"job": [Update(text, Details(), end)]})
    store.add({"job": [Update("", Details(), 8, "length"), Update("x", Details(), 9)]})
    assert text_of(queue, "job") == ("abcdefgh", "length")
    assert text_of(queue, "job", 4) == ("efgh", "length")


def test_worker_continues_the_published_text(queue, running_worker, sampled):
    """The published text is kept even if this worker would have generated different text."""
    plain = sampled(300)
    other = next(c for c in "abc" if c != plain[89])
    branched = Request.from_json({"length": 300, "seed": 5, "branches": [[89, other]]})
    whole, _ = text_of(queue, queue.submit(branched))
    store = running_worker.store
    store.put("request", "left", Request.from_json({"model": "toy", "length": 300, "seed": 5}).dump(), 60)
    store.put("seen", "left", "", 60)
    store.increment("attempts", "left")
    for start, end in ((0, 50), (40, 90)):  # published by two workers
        store.add({"left": [Update(whole[start:end], Details(), end)]})
    run(running_worker, "left")
    updates = [update for update in queue.follow("left", 0) if update]
    assert "".join(update.text for update in updates) == whole
    assert [update.end for update in updates if update.restarted] == [90]
    before = store.updates("left")
    run(running_worker, "left")  # no effect, because the job has ended
    assert store.updates("left") == before


def test_workers_share_snapshots(queue, redis_url, model, sampled, monkeypatch):
    whole, steps, step = sampled(3500), [], Streams.step

    def counted(self):
        steps.append(len(self.streams))
        return step(self)

    monkeypatch.setattr(Streams, "step", counted)
    request = {"length": 3500, "seed": 5}
    with worker_in_thread(redis_url, model) as first:
        assert text_of(queue, queue.submit(Request.from_json(request))) == (whole, "length")
        assert len(steps) == 3500
        wait_for(lambda: len([*first.store.client.scan_iter("minichar:snapshot:*")]) == 3)
    with worker_in_thread(redis_url, model) as second:
        steps.clear()
        resumed = queue.submit(Request.from_json(request | {"from": 3100}))
        assert text_of(queue, resumed, 3100) == (whole[3100:], "length")
        assert len(steps) == 500
        steps.clear()
        second.store.put("request", "left", Request.from_json(request | {"model": "toy"}).dump(), 60)
        second.store.put("seen", "left", "", 60)
        second.store.add({"left": [Update(whole[:3100], Details(), 3100)]})
        run(second, "left")
        assert text_of(queue, "left") == (whole, "length")
        assert len(steps) == 500


def test_shared_snapshots_take_limited_memory_and_may_be_lost(queue, monkeypatch):
    store, snapshots = queue._store, SharedSnapshots(queue._store)
    state = State(np.array([[[0.1, -1e-300, 3.0]]]), 1000, (2,), (0, 1))
    kept = {name: Snapshot(name * 1000, state) for name in "abcd山"}
    size = len(kept["a"].dump())
    monkeypatch.setattr(shared_snapshots, "MEMORY", 2 * size + len(kept["山"].dump()))
    for name in "abac山":
        snapshots.put([name], kept[name])
        snapshots.publish()
    assert store.snapshots("abc山") == [kept["a"].dump(), None, kept["c"].dump(), kept["山"].dump()]

    def left(name):
        return store.client.pttl(f"minichar:snapshot:{name}")

    for name in "ac":
        store.client.pexpire(f"minichar:snapshot:{name}", 1000)
    snapshots.put("ad", kept["d"])  # keeps `a` for longer, too
    snapshots.publish()
    assert left("d") > 1000
    assert left("a") > 1000
    assert left("c") < 0
    (d, *others) = snapshots.get("d山bc")
    assert [other.text for other in others] == ["山" * 1000]
    np.testing.assert_array_equal(d.state.layers, state.layers)
    assert (d.text, d.state.length, d.state.pending, d.state.recent) == ("d" * 1000, 1000, (2,), (0, 1))
    store.client.pexpire("minichar:snapshot:d", 1000)
    snapshots.get("d")
    assert left("d") > 1000

    for name in "abcdefgh":  # while Redis is not responding
        snapshots.put([name], replace(kept["a"], text=name * 1000))
    assert len(snapshots._new) * size <= shared_snapshots.MEMORY
    store.put("snapshot", "x", "x", 60)
    assert snapshots.get("x") == []  # not a snapshot

    def fail(*arguments, **options):
        raise redis.ConnectionError

    monkeypatch.setattr(store.client, "pipeline", fail)
    assert snapshots.get("d") == []
    snapshots.publish()


def test_without_a_prompt_a_worker_starts_at_the_beginning_of_a_document(queue, redis_url):
    model = toy_model("\nab", scale=40.0)
    model.details["settings"] = {"reset_on": "a"}
    with worker_in_thread(redis_url, model):
        job_id = queue.submit(Request.from_json({"length": 60, "seed": 5, "stop": []}))
        text, _ = text_of(queue, job_id)
    assert text == "".join(generate(model.exact(), 60, seed=5))
    assert text != "".join(generate(model.exact(), 60, prime="\n", seed=5))


def test_jobs_that_cannot_be_completed_end_with_an_error(queue, running_worker):
    store = running_worker.store
    store.put("request", "deadly", Request.from_json({"model": "toy"}).dump(), 60)
    for _ in range(worker.MAX_ATTEMPTS):
        store.increment("attempts", "deadly")
    run(running_worker, "deadly")
    (update,) = (update for update in queue.follow("deadly", 0) if update)
    assert (update.reason, "5 workers died" in update.error) == ("error", True)

    store.put("request", "unknown", Request.from_json({"model": "toy", "prime": "☃"}).dump(), 60)
    run(running_worker, "unknown")
    (update,) = (update for update in queue.follow("unknown", 0) if update)
    assert "not in the vocabulary" in update.error

    run(running_worker, "expired")
    assert store.updates("expired") == []


def test_the_number_of_connections_does_not_depend_on_the_number_of_readers(queue, redis_url, model, sampled):
    """Each of 120 jobs has two readers; one of them starts after the job has ended."""
    whole, read = sampled(60), []
    with worker_in_thread(redis_url, model, columns=120) as one:

        def read_twice():
            job_id = queue.submit(Request.from_json({"length": 60, "seed": 5}))
            read.append(text_of(queue, job_id))
            read.append(text_of(queue, job_id, 20))

        threads = [threading.Thread(target=read_twice) for _ in range(120)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(read) > 50)
        assert queue.models()
        # Two pools in the worker and two in the server.
        assert one.store.client.info("clients")["connected_clients"] <= 4 * CONNECTIONS + 10
        for thread in threads:
            thread.join()
    assert Counter(read) == {(whole, "length"): 120, (whole[20:], "length"): 120}


def test_threads_wait_for_a_free_connection(queue, redis_url, monkeypatch):
    monkeypatch.setattr("minichar.web.store.CONNECTIONS", 1)
    one = client(redis_url, retries=0)
    newest = max(int(client["id"]) for client in queue._store.client.client_list())
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda i: one.incr("n"), range(200)))[-1]
    assert sum(int(client["id"]) > newest for client in queue._store.client.client_list()) == 1
    one.close()


def test_readers_of_the_same_job_do_not_disturb_each_other(queue):
    store = queue._store
    store.add({"job": [Update("ab", Details(), 2), Update("", Details(), 2, restarted=True)]})
    first = filter(None, queue.follow("job", 0))
    assert [next(first).text, next(first).restarted] == ["ab", True]
    second = filter(None, queue.follow("job", 0))
    assert next(second).text == "ab"
    store.add({"job": [Update("c", Details(), 3, "length")]})
    assert list(first) == [Update("c", Details(), 3, "length")]
    assert [update.text for update in second] == ["", "c"]


def test_a_reader_that_joins_during_a_read_receives_the_whole_text(queue, monkeypatch):
    store, read, late = queue._store, queue._store.read, []

    def read_while_another_joins(positions, wait):
        found = list(read(positions, wait))
        if found and not late:
            late.append(queue._subscriber.reader("job"))
            late.append(late[0].__enter__())
        return found

    store.add({"job": [Update("ab", Details(), 2)]})
    with queue._subscriber.reader("job") as inbox:
        assert inbox.get(timeout=5)
        monkeypatch.setattr(store, "read", read_while_another_joins)
        store.add({"job": [Update("c", Details(), 3)]})
        wait_for(lambda: len(late) == 2)
        texts = ""
        while "ab" not in texts:
            texts += str(late[1].get(timeout=5))
        late[0].__exit__(None, None, None)


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


def test_a_burst_is_spread_over_the_workers(queue, redis_url, model, monkeypatch):
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.1)
    with ExitStack() as stack:
        workers = [stack.enter_context(worker_in_thread(redis_url, model, columns=16)) for _ in range(2)]
        wait_for(lambda: all(one._total_columns == {"toy": 32} for one in workers))
        store, jobs = queue._store, [f"job{i}" for i in range(16)]
        for job_id in jobs:
            store.put("request", job_id, Request.from_json(LONG | {"model": "toy"}).dump(), 60)
        store.keep_reading(jobs)
        name = redis_queue.queue_name("toy")
        with store.broker.client.pipeline() as pipeline:  # all at the same time
            for job_id in jobs:
                message = dramatiq.Message(name, name, (job_id,), {}, {"redis_message_id": job_id})
                pipeline.hset(f"minichar:{name}.msgs", job_id, message.encode())
                pipeline.rpush(f"minichar:{name}", job_id)
            pipeline.execute()
        wait_for(lambda: sum(len(one.tasks["toy"]) for one in workers) == 16)
        taken = [len(one.tasks["toy"]) for one in workers]
        for job_id in jobs:
            queue.cancel(job_id)
    assert max(taken) <= 10


@pytest.fixture
def take(monkeypatch):
    """Return a function that lets a worker take jobs at a given time, and returns how many it then runs."""
    clock, workers = [0.0], []
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def take(one, now, columns, model="toy"):
        clock[0], one._total_columns[model] = now, columns
        workers.append(one)
        one._take_share(model, one.store.broker.consume(redis_queue.queue_name(model), timeout=10))
        return len(one.tasks[model])

    yield take
    for one in workers:
        for scheduler in one.schedulers.values():
            scheduler.close()


def test_a_worker_takes_its_share_and_later_jobs_that_no_worker_takes(queue, redis_url, model, take):
    one = Worker(redis_url, {"toy": model}, 8, pace=100.0)
    for worker_id in "ab":
        one.store.announce(worker_id, one.announcement)
    for _ in range(11):
        queue.submit(Request.from_json(LONG))
    times = (0.0, 44), (0.0, 16), (0.9, 16), (1.1, 16), (1.2, 16), (2.2, 16), (9.0, 16)
    assert [take(one, *at) for at in times] == [2, 6, 6, 7, 7, 8, 8]


def test_a_job_that_has_just_arrived_is_left_to_the_other_worker(queue, redis_url, model, take):
    one, other = (Worker(redis_url, {"toy": model}, 8, pace=100.0) for _ in range(2))
    one.store.announce("one", one.announcement)
    for _ in range(5):
        queue.submit(Request.from_json(LONG))
    assert (take(one, 0.0, 16), take(other, 0.0, 16), take(one, 5.0, 16)) == (3, 2, 3)
    queue.submit(Request.from_json(LONG))
    assert (take(one, 5.5, 16), take(other, 5.5, 16)) == (3, 3)


def test_shares_are_in_proportion_to_the_columns(queue, redis_url, model, take):
    small = Worker(redis_url, {"a": model}, 4, pace=100.0)
    large = Worker(redis_url, {"a": model, "b": model}, 12, pace=100.0)
    for one in (small, large):
        one.store.announce(one.id, one.announcement)
    assert [small.store.columns(name) for name in "abc"] == [16, 12, 0]
    for _ in range(8):
        queue.submit(Request.from_json(LONG | {"model": "a"}))
    assert (take(small, 0.0, 16, "a"), take(large, 0.0, 16, "a")) == (2, 6)


def test_redis_may_start_after_the_server_and_the_worker(tmp_path, model, sampled, monkeypatch):
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.1)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    queue = RedisQueue(url, queue=1)
    health = create_app(queue).test_client()
    assert health.get("/").status_code == 200
    assert health.get("/healthz").status_code == 503
    one, ready = Worker(url, {"toy": model}, 2, pace=0.0), threading.Event()
    thread = threading.Thread(target=one.run, args=(ready.set,))
    thread.start()
    assert not ready.wait(0.5)
    with redis_server(port, tmp_path):
        assert ready.wait(TIMEOUT)
        assert wait_for(lambda: health.get("/healthz").status_code == 200)
        assert text_of(queue, queue.submit(Request.from_json({"length": 50, "seed": 5}))) == (
            sampled(50),
            "length",
        )
        one.stopping.set()
        thread.join(20)
    queue.close()


def test_worker_and_server_reconnect_after_a_redis_restart(tmp_path, model, sampled, monkeypatch):
    monkeypatch.setattr(redis_queue, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.2)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with redis_server(port, tmp_path) as first, ExitStack() as second:
        queue = RedisQueue(url, queue=1)
        with worker_in_thread(url, model):
            queue._store.put("request", "job", Request.from_json({"model": "toy"}).dump(), 60)
            updates = queue.follow("job", 7)
            assert next(updates) is None
            first.kill()
            first.wait()
            assert [update for update in updates if update] == [Update("", Details(), 7, "closing")]
            for call in (
                queue.models,
                queue.job_counts,
                lambda: queue.request("x"),
                lambda: queue.cancel("x"),
            ):
                with pytest.raises(Unavailable, match="Redis is not responding"):
                    call()
            second.enter_context(redis_server(port, tmp_path))
            wait_for(queue.models)
            job_id = queue.submit(Request.from_json({"length": 50, "seed": 5}))
            assert text_of(queue, job_id) == (sampled(50), "length")
        queue.close()


# Tests with subprocesses


@pytest.fixture
def port(queue):
    with server_in_thread(queue) as port:
        yield port


def test_jobs_of_a_killed_worker_are_continued(port, work, folder, sampled):
    """The client receives a notice, and every character exactly once."""
    first = work("--pace", 500, folder / BEST)
    with request(port, "POST", "/api/generate", LONG | {"length": 2000}) as response:
        events = Events(response)
        events.until("text")
        first.kill()
        work("--pace", 0, folder / BEST)
        assert 0 < events.until("notice")[1] < 2000
        events.rest()
    assert events.text == sampled(2000)
    assert events.all[-1][1:] == (2000, {"reason": "length"})


def test_stopped_worker_completes_its_jobs(port, work, folder, sampled):
    only = work("--pace", 1000, folder / BEST)
    with request(port, "POST", "/api/generate", LONG | {"length": 500}) as response:
        events = Events(response)
        events.until("text")
        only.send_signal(signal.SIGINT)
        assert events.rest().text == sampled(500)
        assert events.all[-1][1:] == (500, {"reason": "length"})
    assert only.wait(TIMEOUT) == 0
    only.reader.join()
    assert "finishing the running jobs" in only.output
    assert only.output.endswith("stopped\n")
    with request(port, "GET", "/healthz") as response:
        assert response.status == 503


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_worker_stops_with_unfinished_jobs_if_redis_is_gone(work, folder, tmp_path, number):
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with redis_server(port, tmp_path) as redis:
        queue, only = RedisQueue(url, queue=1), work("--pace", 100, folder / BEST, url=url)
        assert next(filter(None, queue.follow(queue.submit(Request.from_json(LONG)), 0))).text
        redis.send_signal(number)
        only.send_signal(signal.SIGTERM)
        try:
            assert only.wait(TIMEOUT) == 0
        finally:
            redis.kill()
    queue.close()
    only.reader.join()
    finishing, error, stopped = only.output.splitlines()[-3:]
    assert finishing == "finishing the running jobs (press Ctrl-C again to stop at once)"
    time, _, error = error.partition(" ERROR ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", time)
    assert error == "Redis is not responding: leaving the running jobs to other workers"
    assert stopped == "stopped"


def test_client_resumes_on_another_server(port, redis_url, serve, running_worker, sampled):
    server = serve("--redis", redis_url)
    with request(server.found[1], "POST", "/api/generate", LONG | {"length": 1500}) as response:
        events = Events(response)
        job_id = events.until("begin")[2]["job"]
        events.until("text")
        server.kill()
        with suppress(OSError):
            events.rest()
    with request(port, "GET", f"/api/generate/{job_id}", Last_Event_ID=str(len(events.text))) as response:
        rest = Events(response).rest()
    assert events.text + rest.text == sampled(1500)
