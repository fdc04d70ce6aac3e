"""Test how long ended jobs are kept, and how much memory jobs take."""

import gc
import re
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from web_helpers import events_of, wait_for

from minichar.web.details import SIZE, Details, pack
from minichar.web.job import PIECE, Busy, Job, Update, merge
from minichar.web.jobs import OVERHEAD, Jobs, cost
from minichar.web.parts import encode
from minichar.web.request import Request
from minichar.web.sse import document, events


@pytest.fixture
def memory():
    """Return a function that returns the memory allocated since the start of the test, in bytes."""

    def memory():
        gc.collect()  # also clears Python's free lists
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield memory
    tracemalloc.stop()


def test_ended_jobs_expire(client, monkeypatch):
    first, second = (
        events_of(client.post("/api/generate", json={"length": 5})).all[0][2]["job"] for _ in "ab"
    )
    assert client.get(f"/api/generate/{first}").status_code == 200
    monkeypatch.setattr("minichar.web.jobs.KEEP", 0)
    assert client.post("/api/generate", json={"length": 5}).status_code == 200
    for job in (first, second):
        assert client.get(f"/api/generate/{job}").status_code == 404


def ask(jobs, model, **fields):
    request = Request.from_json(fields)
    return jobs.add(Job(request, request.stream(model.vocabulary)))


def test_ended_jobs_are_removed_oldest_first_when_the_memory_is_used_up(model):
    jobs = Jobs(cost(Request.from_json({"alternatives": True}), 900) + 3 * OVERHEAD)
    first, second, third = (ask(jobs, model, length=300, alternatives=True) for _ in range(3))
    with pytest.raises(Busy, match="long texts"):
        ask(jobs, model, length=300, alternatives=True)
    jobs[second].append("a" * 300)
    jobs[second].publish()
    for job_id in (second, first, third):
        jobs[job_id].finish("length")
        assert list(jobs[job_id].follow(0))
    jobs[second].news(0)  # most recently read
    fourth = ask(jobs, model, length=100, alternatives=True)
    assert all(map(jobs.get, (first, second, third, fourth)))
    fifth = ask(jobs, model, length=600, alternatives=True)
    assert not any(map(jobs.get, (first, third)))
    assert all(map(jobs.get, (second, fourth, fifth)))
    jobs.close()


def test_a_text_is_kept_for_its_readers_but_not_for_long(model, monkeypatch):
    jobs = Jobs(cost(Request.from_json({"alternatives": True}), 600))
    job_id = ask(jobs, model, length=300, alternatives=True)
    job = jobs[job_id]
    for _ in range(300):
        job.append("a")
    job.publish()
    job.finish("error", "no memory")
    with pytest.raises(Busy):  # its reader has not started yet
        ask(jobs, model, length=600, alternatives=True)
    reader = job.follow(0)
    assert next(reader).end == PIECE
    with pytest.raises(Busy):
        ask(jobs, model, length=600, alternatives=True)
    monkeypatch.setattr("minichar.web.job.KEEP_FOR_READERS", 0.0)
    assert ask(jobs, model, length=600, alternatives=True)
    assert jobs.get(job_id) is None
    job.append("a")  # the scheduler has not noticed yet
    job.publish()
    assert list(reader) == [Update("", Details(), PIECE, "closing")]
    assert job.news(0) == Update("", Details(), 0, "closing")
    jobs.close()


def test_a_text_that_has_been_read_is_removed_at_once(model):
    jobs = Jobs(2 * OVERHEAD)
    job_id = ask(jobs, model, length=300)
    jobs[job_id].finish("cancelled")
    assert [update.reason for update in jobs[job_id].follow(0)] == ["cancelled"]
    with closing(jobs[job_id].follow(0)) as reader:
        next(reader)
    assert ask(jobs, model, length=1000)
    jobs.close()


def test_a_text_is_kept_if_its_reader_has_left_early(model):
    """For example, a client has lost its connection, or polls ``/res`` again later."""
    jobs = Jobs(2 * OVERHEAD)
    job_id = ask(jobs, model, length=300)
    with closing(jobs[job_id].follow(0)) as reader:
        assert next(reader) is None
    jobs[job_id].finish("cancelled")
    with pytest.raises(Busy):
        ask(jobs, model, length=1000)
    assert jobs[job_id].reason == "cancelled"
    jobs.close()


def test_a_rejected_job_removes_no_texts_and_texts_without_readers_go_first(model):
    jobs = Jobs(3 * OVERHEAD + 4000)
    first, second = (ask(jobs, model, length=300) for _ in range(2))
    for job_id in (first, second):
        jobs[job_id].finish("cancelled")
        assert list(jobs[job_id].follow(0))
    with pytest.raises(Busy):
        ask(jobs, model, length=20_000)
    assert all(map(jobs.get, (first, second)))
    reader = jobs[first].follow(0)
    next(reader)
    jobs[first].last_read -= 60
    jobs[first]._ended -= 60
    assert ask(jobs, model, length=3000)
    assert [jobs.get(job_id) is None for job_id in (first, second)] == [False, True]
    jobs.close()


def test_readers_of_a_job_that_has_just_been_removed_end(queue):
    assert list(queue.follow("none", 7)) == [Update("", Details(), 7, "closing")]


def test_ended_jobs_with_alternatives_expire_without_further_requests(model, monkeypatch):
    monkeypatch.setattr("minichar.web.jobs.EXPIRE_INTERVAL", 0.02)
    monkeypatch.setattr("minichar.web.jobs.KEEP_ALTERNATIVES", 0.05)
    returned = []
    monkeypatch.setattr("minichar.web.jobs.return_memory", lambda: returned.append(set(jobs._jobs)))
    jobs = Jobs(2**20)
    running, large, small = (ask(jobs, model, alternatives=wanted) for wanted in (True, True, False))
    ended = jobs[large]
    for job_id in (large, small):
        jobs[job_id].finish("length")
    wait_for(lambda: returned)
    assert returned == [{running, small}]
    assert ended.news(0).reason == "closing"
    jobs.close()


def test_alternatives_take_little_memory(client, queue, memory):
    response = client.post("/api/generate", json={"length": 2000, "alternatives": True, "stop": []})
    job = queue._jobs[events_of(response).all[0][2]["job"]]
    before = memory()
    copy = job.news(0)
    assert memory() < before + 2000 * 60
    assert len(list(copy.details)) == 2000


ROLLUP = Path("/proc/self/smaps_rollup")


def resident():
    """Return the resident memory of this process, in bytes."""
    gc.collect()
    return 1024 * int(re.search(r"^Rss: +(\d+) kB", ROLLUP.read_text(), re.MULTILINE)[1])


@pytest.mark.skipif(not ROLLUP.exists(), reason="requires /proc")
def test_the_memory_of_alternatives_is_used_when_needed_and_returned(job_of):
    job_of()  # the first one initialises the validation of requests
    bytearray(2**24)  # glibc may keep what is freed from now on
    before, size = resident(), 10_000 * SIZE
    jobs = [job_of(length=20_000, alternatives=True) for _ in range(10)]
    assert resident() < before + size
    for job in jobs:
        for _ in range(10_000):
            job.append("a", b"d" * SIZE)
        job.publish()
    full = resident()
    assert before + 9 * size < full < before + 18 * size
    for job in jobs:
        job.finish("cancelled")
        job.discard()
    assert resident() < full - 9 * size


@pytest.mark.parametrize("reason", ["stop", "cancelled"])
def test_a_job_that_has_ended_ignores_further_text(job_of, reason):
    job = job_of(length=1000, alternatives=True, stop=["b"])
    for character in "a" * 100 + "b" * (reason == "stop"):
        job.append(character, b"d" * SIZE)
    job.publish()
    job.finish("cancelled")
    ended = job.news(0)
    assert (ended.reason, len(ended.text), len(ended.details)) == (reason, 100, 100)
    job.append("a", b"d" * SIZE)  # the scheduler has not noticed yet
    job.publish()
    assert job.news(0) == ended


def test_a_document_in_progress_takes_little_more_memory_than_its_text(memory):
    def updates():
        for end in range(10, 10_001, 10):
            yield Update("a" * 10, Details(bytes(10 * SIZE)), end)
        used.append(memory())
        yield None

    used = []
    whole = merge(updates())
    assert (len(whole.text), len(whole.details), whole.end) == (10_000, 10_000, 10_000)
    assert used[0] < 1.5 * 10_000 * SIZE


@pytest.mark.parametrize("form", ["document", "event"])
def test_a_slow_reader_takes_little_memory(form, memory):
    """Encoded, these alternatives take up about 9 KB."""
    rows = pack(np.random.default_rng(0).random((9, PIECE)), np.zeros(PIECE, int), np.arange(97, 106))
    update = Update("a" * PIECE, Details(b"".join(rows)), PIECE)
    request = Request.from_json({"alternatives": True})
    before = memory()
    if form == "document":
        parts = encode(document(request, update))
        next(parts)
    else:
        parts = events(None, "", request, update, 0)
    assert len(next(parts)) > 8_000
    assert memory() < before + 24_000


@pytest.mark.parametrize(("alternatives", "ends"), [(True, [100, 200, 230]), (False, [230])])
def test_a_reader_holds_part_of_a_text_with_alternatives(job_of, alternatives, ends):
    """Otherwise, each slow reader of a finished text would hold a copy of its alternatives."""
    job = job_of(length=230, alternatives=alternatives)
    for k in range(230):
        job.append("abc"[k % 3], bytes([k % 256]) * SIZE)
    job.publish()
    job.finish("error", "no memory")
    updates = list(job.follow(0))
    assert [update.end for update in updates] == ends
    assert [update.reason for update in updates] == [None] * (len(ends) - 1) + ["error"]
    assert [update.error for update in updates] == [""] * (len(ends) - 1) + ["no memory"]
    whole = job.news(0)
    assert merge(updates) == whole
    assert (len(whole.text), len(whole.details)) == (230, 230 * alternatives)


def test_alternatives_are_unpacked_in_pieces(send):
    """Otherwise, 16 readers of one long text would need 400 MB."""
    data = {"length": 250, "alternatives": True, "stop": [], "seed": 5}
    whole = events_of(send("POST", "/api/generate", data))
    path = f"/api/generate/{whole.all[0][2]['job']}"
    again = events_of(send("GET", path, route="/api/generate/{job}", headers={"Last-Event-ID": "20"}))
    assert (again.text, again.details) == (whole.text[20:], whole.details[20:])
    assert [(name, end) for name, end, _ in again.all[1:]] == [
        ("text", 120),
        ("text", 220),
        ("text", 250),
        ("end", 250),
    ]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/api/generate", {"length": 230, "alternatives": True, "stream": False}),
        ("/v1/completions", {"max_tokens": 230, "logprobs": 5}),
    ],
)
def test_alternatives_are_unpacked_while_the_document_is_sent(client, monkeypatch, path, data):
    unpacked, unpack = [], Details.__iter__
    monkeypatch.setattr(Details, "__iter__", lambda self: unpacked.append(len(self)) or unpack(self))
    with client.post(path, json=data) as sent:
        assert unpacked == []
        parts = iter(sent.response)
        while not unpacked:
            next(parts)
        assert unpacked == [100]
        assert b"".join(parts).rstrip().endswith(b"}")
    assert set(unpacked) == {100, 30}
