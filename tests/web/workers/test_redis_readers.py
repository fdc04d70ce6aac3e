"""Test readers of jobs in Redis: what they read, when they end, and the connections they need."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import SimpleNamespace

import pytest
from minichar.web.task import Task
from redis_helpers import text_of, worker_in_thread
from web_helpers import LONG, wait_for

from minichar.web import legacy, subscriber
from minichar.web.app import create_app
from minichar.web.details import Details
from minichar.web.job import PIECE, Update
from minichar.web.request import Request
from minichar.web.store import CONNECTIONS, client, parse


def test_a_busy_server_has_longer_to_renew_its_readers(queue, running_worker):
    """With hundreds of readers, its threads can wait for each other for more than ten seconds."""
    job_id = queue.submit(Request.from_json(LONG))

    def left():
        return queue._store.client.pttl(f"minichar:seen:{job_id}") / 1000

    assert 10 < left() <= 30
    reader, other = queue.follow(job_id, 0), queue.follow(job_id, 0)
    next(reader), next(other)
    assert left() > 10
    reader.close()
    queue.leave(job_id)
    assert left() > 10
    other.close()
    queue.leave(job_id)
    assert 0 < left() <= 10
    queue.cancel(job_id)


def test_a_server_renews_its_readers_long_before_their_jobs_are_abandoned(queue, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(subscriber, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=time.sleep))
    reader = queue._subscriber.follow("job", 1)
    assert next(reader) == []
    for _ in range(2):
        wait_for(lambda: queue._store.client.delete("minichar:seen:job"), seconds=10)
        clock[0] += 3.0
    reader.close()


def test_a_client_that_leaves_before_it_reads_abandons_its_job_as_soon(queue, running_worker, monkeypatch):
    """Otherwise, a client could have more running jobs than it is allowed requests."""
    monkeypatch.setattr(legacy, "LENGTH", 20000)
    client, store = create_app(queue).test_client(), queue._store

    def left():
        keys = [*store.client.scan_iter("minichar:seen:*")]
        return [store.client.pttl(key) / 1000 for key in keys]

    client.post("/api", json={"primetext": "a", "temperature": 1})
    client.post("/api/generate", json=LONG).close()
    assert len(left()) == 2
    assert max(left()) <= 10
    job_id = client.post("/api", json={"primetext": "a", "temperature": 1}).json["sid"]
    assert client.post("/res", json={"sid": job_id}).json["responds"] == "0"
    assert len(left()) == 3
    assert max(left()) <= 10
    for task in running_worker.tasks["toy"].copy():
        queue.cancel(task.job_id)


def test_readers_end_if_their_job_is_lost(queue, monkeypatch):
    monkeypatch.setattr(subscriber, "READ_TIMEOUT", 0.1)
    queue._store.put("request", "job", Request.from_json({"model": "toy"}).dump(), 60)
    updates = queue.follow("job", 7)
    assert next(updates) is None
    queue._store.client.flushall()
    assert list(filter(None, updates)) == [Update("", Details(), 7, "closing")]


def test_readers_end_when_the_server_stops(queue, running_worker):
    job_id = queue.submit(Request.from_json(LONG))
    updates = filter(None, queue.follow(job_id, 0))
    assert next(updates).text
    queue.close()
    *_, last = updates
    assert (last.end < 20000, last.reason) == (True, "closing")
    assert text_of(queue, job_id) == ("", "closing")  # begins to read after the subscriber has stopped
    running_worker.store.put("cancelled", job_id, "", 60)


def test_characters_published_twice_are_read_once(queue):
    """A slow worker may continue publishing after another worker has taken over its job."""
    store = queue._store
    for text, end in (("abc", 3), ("de", 5), ("bcd", 4), ("defg", 7), ("h", 8)):
        store.add({"job": [Update(text, Details(), end)]})
    store.add({"job": [Update("", Details(), 8, "length"), Update("x", Details(), 9)]})
    assert text_of(queue, "job") == ("abcdefgh", "length")
    assert text_of(queue, "job", 4) == ("efgh", "length")


def test_the_number_of_connections_does_not_depend_on_the_number_of_readers(queue, redis_url, model, sampled):
    """Each of 240 jobs has two readers; one of them starts after the job has ended."""
    whole, read = sampled(60), []
    with worker_in_thread(redis_url, model, columns=240) as one:

        def read_twice():
            job_id = queue.submit(Request.from_json({"length": 60, "seed": 5}))
            read.append(text_of(queue, job_id))
            read.append(text_of(queue, job_id, 20))

        threads = [threading.Thread(target=read_twice) for _ in range(240)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(read) > 50)
        assert queue.models()
        # Two pools in the worker and two in the server.
        assert one.store.client.info("clients")["connected_clients"] <= 4 * CONNECTIONS + 10
        for thread in threads:
            thread.join()
    assert Counter(read) == {(whole, "length"): 240, (whole[20:], "length"): 240}


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


def test_a_slow_reader_holds_only_a_part_of_the_text(queue, monkeypatch):
    """The slow reader waits once, then takes nothing while another one reads the rest of the text."""
    monkeypatch.setattr(subscriber, "MOST", 2)
    monkeypatch.setattr(subscriber, "READ_TIMEOUT", 0.1)
    queue._store.put("request", "job", Request.from_json({}).dump(), 60)
    slow = queue._subscriber.follow("job", 2)
    assert next(slow) == []
    (inbox,) = queue._subscriber._inboxes["job"]
    other = queue.follow("job", 0)
    assert next(other) is None
    for n, character in enumerate("abcdef", 1):
        queue._store.add({"job": [Update(character, Details(), n, "length" if n == 6 else None)]})
        assert next(filter(None, other)).text == character
    assert inbox.batches.qsize() == 1
    batches = list(islice(filter(None, slow), 4))
    assert [len(batch) for batch in batches] == [1, 2, 2, 1]
    assert "".join(parse(update).text for batch in batches for _, update in batch) == "abcdef"


def test_readers_wait_at_different_positions(queue, monkeypatch):
    monkeypatch.setattr(subscriber, "MOST", 2)
    queue._store.add({"job": [Update(character, Details(), n) for n, character in enumerate("abcdef", 1)]})
    entries = queue._store.entries("job")
    first, second, behind = (subscriber.Inbox(entries[k][0]) for k in (1, 2, 0))
    behind.position = None
    queue._subscriber._deliver({"job": [first, second, behind]})
    assert [first.batches.get_nowait(), second.batches.get_nowait()] == [entries[2:4]] * 2
    assert [first.position, second.position] == [None, None]
    assert behind.batches.empty()


def test_no_entry_holds_the_alternatives_of_a_long_text(job_of):
    job = job_of(length=2 * PIECE + 50, alternatives=True)
    for _ in range(2 * PIECE + 50):
        job.append("a")
    job.publish()
    updates = Task("job", lambda: None, job).updates()
    assert [update.end for update in updates] == [PIECE, 2 * PIECE, 2 * PIECE + 50]


@pytest.mark.parametrize(("alternatives", "reads"), [(False, 3), (True, 51)])
def test_a_late_reader_needs_few_commands(queue, monkeypatch, alternatives, reads):
    store, counted = queue._store, []
    store.put("request", "job", Request.from_json({"alternatives": alternatives}).dump(), 60)
    updates = [Update("a", Details(), n) for n in range(1, 1001)]
    store.add({"job": [*updates, Update("", Details(), 1000, "stop")]})
    entries = store.entries
    monkeypatch.setattr(store, "entries", lambda *arguments: counted.append(1) or entries(*arguments))
    assert text_of(queue, "job") == (1000 * "a", "stop")
    assert len(counted) == reads


def test_a_reader_ignores_entries_that_it_knows(monkeypatch):
    """Another reader may have needed them."""
    monkeypatch.setattr(subscriber, "READ_TIMEOUT", 0.1)
    inbox = subscriber.Inbox()
    inbox.batches.put([("9-1", "a")])
    inbox.batches.put([("9-1", "a"), ("10-0", "b"), ("10-1", "c")])
    assert inbox.wait("10-0") == [("10-1", "c")]
    inbox.batches.put([("10-1", "c")])
    assert inbox.wait("10-1") == []
    inbox.batches.put(None)
    assert inbox.wait("10-1") is None
