"""Test readers of jobs in Redis: what they read, when they end, and the connections they need."""

import threading
from collections import Counter
from contextlib import aclosing

import pytest
from redis_helpers import put, redis_queue, text_of, worker_in_thread
from web_helpers import LONG, loop_of, wait_for

from minichar.web import legacy
from minichar.web import redis_queue as module
from minichar.web.details import Details
from minichar.web.request import Request
from minichar.web.store import CONNECTIONS, dump, key
from minichar.web.update import Update


def add(db, job_id, *updates):
    """Append updates to a text, all at the same time."""
    with db.pipeline() as pipeline:
        for update in updates:
            pipeline.xadd(key("text", job_id), dump(update))
        pipeline.execute()


def test_a_busy_server_has_longer_to_renew_its_readers(queue, db, running_worker):
    """A starved server can take more than ten seconds to do so."""
    job_id = queue.submit(Request.from_json(LONG))

    def left():
        return db.pttl(key("seen", job_id)) / 1000

    assert 10 < left() <= 30
    reader, other = queue.follow(job_id), queue.follow(job_id)
    next(reader), next(other)
    reader.close()
    queue.leave(job_id)
    assert left() > 10
    other.close()
    queue.leave(job_id)
    assert 0 < left() <= 10
    again = queue.follow(job_id)
    next(again)
    assert left() > 10
    again.close()
    queue.cancel(job_id)


def test_a_server_renews_its_readers_regularly(redis_url, db, monkeypatch):
    """Without a reader, it also stops to read the text."""
    monkeypatch.setattr(module, "ABANDONED_AFTER", 0.1)
    put(db, "job")
    monkeypatch.setattr("minichar.web.queue.CHECK_INTERVAL", 0.02)
    with loop_of(redis_queue(redis_url)) as queue:
        reader = queue.follow("job")
        assert next(reader) is None
        for _ in range(2):
            wait_for(lambda: db.delete(key("seen", "job")))
        assert queue.texts.in_progress()
        monkeypatch.setattr("minichar.web.texts.ABANDONED_AFTER", 0.1)
        reader.close()
        wait_for(lambda: not queue.texts.in_progress(), 10)


def test_a_client_that_leaves_before_it_reads_abandons_its_job_as_soon(client, queue, db, monkeypatch):
    """Otherwise, a client could have more running jobs than it is allowed requests."""
    monkeypatch.setattr(legacy, "LENGTH", 20000)

    def left():
        return [db.pttl(name) / 1000 for name in db.scan_iter("minichar:2:seen:*")]

    first = client.post("/api", json={"primetext": "a", "temperature": 1}).json["sid"]
    assert max(left()) <= 10
    client.post("/api/generate", json=LONG).close()
    wait_for(lambda: len(left()) == 2 and max(left()) <= 10)
    assert client.post("/res", json={"sid": first}).json["responds"] == "0"
    assert max(left()) <= 10
    for name in db.scan_iter("minichar:2:seen:*"):
        queue.cancel(name.rpartition(":")[2])


def test_readers_end_if_their_job_is_lost(queue, db, monkeypatch):
    monkeypatch.setattr(module, "ABANDONED_AFTER", 0.1)
    put(db, "job")
    updates = queue.follow("job", 7)
    assert next(updates) is None
    db.flushall()
    assert list(filter(None, updates)) == [Update("", Details(), 7, "closing")]
    assert text_of(queue, "none") == ("", "closing")


@pytest.mark.anyio
async def test_a_text_that_was_lost_is_read_again_from_its_beginning(db, redis_url, monkeypatch):
    """It may be requested again at once, while Redis is read for the lost one."""
    put(db, "job", Update("abc", Details(), 3))
    queue = redis_queue(redis_url)
    async with aclosing(queue.client):
        for _ in range(2):
            text = await queue.text("job")
            await queue._read_once()
            assert text.end == 3
            queue.texts.lose("job")
        again = await queue.text("job")
        await queue._read_once()
        add(db, "job", Update("def", Details(), 6))
        found = await queue.client.xread({key("text", "job"): again.position})

        async def xread(*arguments, **options):
            queue.texts.lose("job")
            await queue.text("job")
            return found

        with monkeypatch.context() as patch:
            patch.setattr(queue.client, "xread", xread)
            await queue._read_once()
        await queue._read_once()
        whole = queue.texts["job"]
        whole.finish("stop")
        assert [update.text async for update in whole.follow(0)] == ["abcdef"]


def test_a_server_that_stops_ends_its_readers_and_closes_its_connections(db, redis_url):
    def connections():
        return {client["id"] for client in db.client_list()}

    put(db, "job", Update("ab", Details(), 2))
    before = connections()  # some may be those of an earlier test, which are about to close
    with loop_of(redis_queue(redis_url)) as queue:
        updates = queue.follow("job")
        assert next(updates).text == "ab"
        assert connections() - before
        queue.close()
        assert list(filter(None, updates)) == [Update("", Details(), 2, "closing")]
    wait_for(lambda: not connections() - before)


def test_the_number_of_connections_does_not_depend_on_the_number_of_readers(
    queue, db, redis_url, model, sampled
):
    """Each of 40 jobs has two readers; one of them starts after the job has ended."""
    whole, read, before = sampled(60), [], db.info("clients")["connected_clients"]
    with worker_in_thread(redis_url, model, columns=60):

        def read_twice():
            job_id = queue.submit(Request.from_json({"length": 60, "seed": 5}))
            read.append(text_of(queue, job_id))
            read.append(text_of(queue, job_id, 20))

        threads = [threading.Thread(target=read_twice) for _ in range(40)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(read) > 20)
        # The pools of the worker and the server.
        assert db.info("clients")["connected_clients"] <= before + 2 * CONNECTIONS
        for thread in threads:
            thread.join()
    assert Counter(read) == {(whole, "length"): 40, (whole[20:], "length"): 40}


def test_a_late_reader_receives_all_entries_at_once(queue, db, monkeypatch):
    """They are read in parts, without a pause between the parts."""
    monkeypatch.setattr(module, "MOST", 3)
    monkeypatch.setattr("minichar.web.texts.READ_TIMEOUT", 10)
    updates = [Update("a", Details(), n) for n in range(1, 101)]
    put(db, "job", *updates, Update("", Details(), 100, "stop"))
    text = ""
    for update in queue.follow("job"):
        monkeypatch.setattr(module, "INTERVAL", 60)
        assert update is not None
        text += update.text
    assert text == 100 * "a"
