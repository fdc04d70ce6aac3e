"""Test how long texts are kept, and how much memory they take."""

import asyncio
import gc
import re
import tracemalloc
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace

import pytest
from web_helpers import InstantQueue, client_of, events_of, wait_for

from minichar.web import texts as module
from minichar.web.details import SIZE, Details
from minichar.web.errors import Busy
from minichar.web.request import Request
from minichar.web.texts import OVERHEAD, Text, Texts, cost
from minichar.web.update import PIECE, Update, merge

pytestmark = pytest.mark.anyio


def text(**fields):
    return Text(Request.from_json(fields))


def fill(one, n, reason=None, error=""):
    """Append `n` characters to a text."""
    packed = b"".join(bytes([k % 256]) * SIZE for k in range(n)) if one.request.alternatives else b""
    new = "".join("abc"[k % 3] for k in range(n))
    one.add(Update(new, Details(packed), one.end + n, reason, error))


def add(texts, one):
    job_id = token_hex()
    texts.add(job_id, one)
    return job_id


async def read(one, after=0):
    return [update async for update in one.follow(after)]


def test_ended_texts_with_alternatives_expire_without_further_requests(queue, monkeypatch):
    monkeypatch.setattr("minichar.web.queue.CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(module, "KEEP_ALTERNATIVES", 0.05)
    returned = []
    monkeypatch.setattr("minichar.web.queue.return_memory", lambda: returned.append(True))
    with client_of(queue) as client:
        sent = [{"length": 5, "alternatives": wanted} for wanted in (True, False)]
        responses = [client.post("/api/generate", json=data) for data in sent]
        large, small = (events_of(response).all[0][2]["job"] for response in responses)
        wait_for(lambda: returned)
        assert client.get(f"/api/generate/{large}").status_code == 404
        assert client.get(f"/api/generate/{small}").status_code == 200


def test_a_server_is_ready_only_while_a_new_text_fits_into_its_memory(queue):
    with client_of(queue) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        queue.texts.memory = OVERHEAD - 1
        refused = client.get("/readyz")
        assert refused.status_code == 503
        assert "long texts" in refused.json["error"]
        queue.texts.memory = OVERHEAD
        assert client.get("/readyz").status_code == 200


async def test_finished_texts_without_a_reader_make_room_the_least_recently_used_first():
    kind = {"alternatives": True}
    texts = Texts(cost(Request.from_json(kind), 900) + 3 * OVERHEAD)
    one, two, three = (text(length=300, **kind) for _ in range(3))
    first, second, third = (add(texts, each) for each in (one, two, three))
    with pytest.raises(Busy, match="long texts"):
        add(texts, text(length=300, **kind))
    for each in (two, one, three):
        fill(each, 300, "length")
    reader = two.follow(0)
    await anext(reader)
    with pytest.raises(Busy):
        add(texts, text(length=20_000))
    assert texts.keys() == {first, second, third}
    fourth = add(texts, text(length=100))
    assert texts.keys() == {second, third, fourth}
    await reader.aclose()
    fifth = add(texts, text(length=300, **kind))
    assert texts.keys() == {second, fourth, fifth}


async def test_a_text_is_kept_for_its_readers_but_not_for_long(monkeypatch):
    now, kind = [100.0], {"alternatives": True}
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    texts = Texts(cost(Request.from_json(kind), 600) + OVERHEAD)
    one, other = (text(length=300, **kind) for _ in range(2))
    first, _ = add(texts, one), add(texts, other)
    for each in (one, other):
        fill(each, 300, "error", "no memory")
    reader = one.follow(0)
    assert (await anext(reader)).end == PIECE
    now[0] += 9.9
    assert await read(one) == await read(other)
    with pytest.raises(Busy):
        add(texts, text(length=600, **kind))
    now[0] += 0.2
    third = add(texts, text(length=300, **kind))
    assert texts.keys() == {first, third}
    fourth = add(texts, text(length=300, **kind))
    assert texts.keys() == {third, fourth}
    assert [update async for update in reader] == [Update("", Details(), PIECE, "closing")]


async def test_readers_wait_for_updates_and_are_told_of_restarts(monkeypatch):
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.01)
    one = text(length=20, **{"from": 5})
    reader = one.follow(7)
    assert await anext(reader) is None
    waiting = asyncio.create_task(anext(reader))
    await asyncio.sleep(0)
    fill(one, 4)
    assert await waiting == Update("ca", Details(), 9)
    one.add(Update("", Details(), 9, restarted=True))
    fill(one, 1, "stop")
    assert [update async for update in reader] == [
        Update("", Details(), 9, restarted=True),
        Update("a", Details(), 10, "stop"),
    ]
    assert await read(one, 5) == [Update("abcaa", Details(), 10, "stop")]
    for after in (10, 19):
        assert await read(one, after) == [Update("", Details(), after, "stop")]


async def test_a_job_is_abandoned_after_ten_seconds_without_a_reader(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    texts, one, other = Texts(10**6), text(), text()
    first, second = add(texts, one), add(texts, other)
    reader = one.follow(0)
    fill(one, 1)
    await anext(reader)
    now[0] += 9.9
    assert texts.abandoned() == {}
    now[0] += 5
    assert texts.abandoned().keys() == {second}
    await reader.aclose()
    assert first not in texts.abandoned()
    now[0] += 11
    assert first in texts.abandoned()
    one.finish("cancelled")
    assert first not in texts.abandoned()
    now[0] += module.KEEP - 1
    assert (texts.expire(), first in texts) == (False, True)
    now[0] += 2
    assert (texts.expire(), [*texts]) == (True, [second])


def test_no_job_is_abandoned_because_the_server_was_suspended(model, monkeypatch):
    """The time until the second check counts as a second, and as none for a client that has just left."""
    now, pauses, abandoned = [100.0], iter([1.0, 14.0, *15 * [1.0]]), {}
    queue = InstantQueue(model)

    async def sleep(seconds):
        now[0] += next(pauses)
        if now[0] == 115:
            queue.texts[second].last_used = 114.9

    async def abandon(job_id, text):
        abandoned[job_id] = now[0]
        queue.texts.lose(job_id)

    for name in ("queue", "texts"):
        monkeypatch.setattr(f"minichar.web.{name}.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("minichar.web.queue.asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(queue, "_abandon", abandon)
    first, second = (add(queue.texts, text()) for _ in range(2))
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(queue._check_regularly())
    assert abandoned == {first: 124.0, second: 126.0}


STATUS = Path("/proc/self/status")


def resident():
    """Return the resident size of this process's mapped memory, such as that of details, in bytes."""
    gc.collect()
    return 1024 * int(re.search(r"^RssShmem:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)[1])


@pytest.mark.skipif(not STATUS.exists(), reason="requires /proc")
async def test_the_memory_of_alternatives_is_used_when_needed_and_returned():
    before, size = resident(), 10_000 * SIZE
    texts = [text(length=20_000, alternatives=True) for _ in range(10)]
    assert resident() < before + size
    for each in texts:
        for _ in range(100):
            each.add(Update("a" * 100, Details(b"d" * 100 * SIZE), each.end + 100))
    full = resident()
    assert before + 9 * size < full < before + 18 * size
    texts.clear()
    del each
    assert resident() < full - 9 * size


async def test_characters_that_two_workers_have_generated_are_added_once():
    one = text(length=20, alternatives=True)
    for new, end in (("abc", 3), ("bcd", 4), ("ab", 2), ("", 0), ("ef", 6)):
        packed = b"".join(character.encode() * SIZE for character in new)
        one.add(Update(new, Details(packed), end))
    one.finish("cancelled")
    fill(one, 1, "length")
    (whole,) = await read(one)
    assert (whole.text, whole.end, whole.reason) == ("abcdef", 6, "cancelled")
    assert whole.details.packed == b"".join(character.encode() * SIZE for character in "abcdef")


async def test_a_document_in_progress_takes_little_more_memory_than_its_text():
    async def updates():
        for end in range(10, 10_001, 10):
            yield Update("a" * 10, Details(bytes(10 * SIZE)), end)
        gc.collect()  # also clears Python's free lists
        used.append(tracemalloc.get_traced_memory()[0])
        yield None

    used = []
    tracemalloc.start()
    whole = await merge(updates())
    tracemalloc.stop()
    assert (len(whole.text), len(whole.details), whole.end) == (10_000, 10_000, 10_000)
    assert used[0] < 1.5 * 10_000 * SIZE


@pytest.mark.parametrize(("alternatives", "ends"), [(True, [100, 200, 230]), (False, [230])])
async def test_a_reader_holds_part_of_a_text_with_alternatives(alternatives, ends):
    """Otherwise, each slow reader of a finished text would hold a copy of its alternatives."""
    one = text(length=230, alternatives=alternatives)
    fill(one, 230, "error", "no memory")
    updates = await read(one)
    assert [update.end for update in updates] == ends
    assert [update.reason for update in updates] == [None] * (len(ends) - 1) + ["error"]
    assert [update.error for update in updates] == [""] * (len(ends) - 1) + ["no memory"]
    whole = await merge(one.follow(0))
    assert whole.text == "".join("abc"[k % 3] for k in range(230))
    assert whole.details.packed == b"".join(bytes([k]) * SIZE for k in range(230 * alternatives))
