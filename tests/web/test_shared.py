"""Servers and workers over a real Redis."""

import signal
import threading
import time
from contextlib import suppress

import pytest
from visiting import Events, asked, free_port, patiently, redis_server

from minichar import MinicharError, generate
from minichar.web import shared, worker
from minichar.web.desk import Unavailable
from minichar.web.request import BadRequest, Request
from minichar.web.scheduler import Busy, Piece
from minichar.web.shared import SharedDesk, Store
from minichar.web.worker import Worker

LONG = {"length": 20000, "seed": 5}


@pytest.fixture
def shared_desk(redis_url):
    desk = SharedDesk(redis_url, queue=1)
    yield desk
    desk.close()


@pytest.fixture
def working(redis_url, model):
    """Run a worker in a thread of this process."""
    running = []

    def working(columns=2, pace=3000.0):
        one, ready = Worker(redis_url, {"toy": model}, columns, pace), threading.Event()
        thread = threading.Thread(target=one.run, args=(ready.set,))
        thread.start()
        running.append((one, thread))
        assert ready.wait(10)
        return one

    yield working
    for one, thread in running:
        one.stopping.set()
        thread.join(20)
        assert not thread.is_alive()


def sampled(model, n, seed=5):
    return "".join(generate(model.exact(), n, seed=seed, stop=["\n" * 5]))


def text_of(desk, job, after=0):
    pieces = [piece for piece in desk.follow(job, after) if piece]
    return "".join(piece.text for piece in pieces), pieces[-1].reason


# In one process


def test_a_text_is_the_one_that_sample_writes(model, shared_desk, working):
    working()
    job = shared_desk.submit(Request.of({"length": 900, "seed": 5, "alternatives": True}))
    whole = sampled(model, 900)
    assert text_of(shared_desk, job) == (whole, "length")
    assert text_of(shared_desk, job, 123) == (whole[123:], "length")
    assert text_of(shared_desk, job, 900) == ("", "length")
    assert sum(len(piece.details) for piece in shared_desk.follow(job, 0) if piece) == 900
    assert shared_desk.request(job).seed == 5
    patiently(lambda: shared_desk.loads() == {"unfinished": 0})


def test_what_was_stopped_ends(shared_desk, working):
    working()
    job = shared_desk.submit(Request.of(LONG))
    assert any(shared_desk.follow(job, 0))
    shared_desk.cancel(job)
    text, reason = text_of(shared_desk, job)
    assert reason == "cancelled"
    assert len(text) < 20000


def test_a_visitor_who_leaves_has_his_text_given_up(shared_desk, working, monkeypatch):
    monkeypatch.setattr(shared, "ABANDONED", 0.3)
    one = working()
    job = shared_desk.submit(Request.of(LONG))
    next(shared_desk.follow(job, 0))
    patiently(lambda: any(piece.reason == "cancelled" for _, piece in one.store.pieces(job)))
    waiting = shared_desk.submit(Request.of(LONG))
    time.sleep(0.5)
    assert one.store.unwanted(waiting)


def test_a_full_queue(shared_desk, working):
    working(columns=1)
    jobs = [shared_desk.submit(Request.of(LONG)) for _ in range(2)]
    with pytest.raises(Busy, match="too many"):
        shared_desk.submit(Request.of(LONG))
    for job in jobs:
        shared_desk.cancel(job)
    patiently(lambda: shared_desk.loads() == {"unfinished": 0})
    assert shared_desk.submit(Request.of({"length": 5}))


def test_nobody_to_write(shared_desk, working):
    with pytest.raises(Unavailable, match="no worker"):
        shared_desk.submit(Request.of({}))
    assert shared_desk.models() == []
    working()
    assert [model.name for model in shared_desk.models()] == ["toy"]
    for wrong in ({"model": "other"}, {"prime": "☃"}):
        with pytest.raises(BadRequest):
            shared_desk.submit(Request.of(wrong))
    with pytest.raises(KeyError):
        shared_desk.request("none")


def test_everything_expires(shared_desk, working):
    one = working()
    job = shared_desk.submit(Request.of({"length": 50}))
    text_of(shared_desk, job)
    patiently(lambda: shared_desk.loads() == {"unfinished": 0})
    keys = [key for key in one.store.client.scan_iter("minichar:*") if key.count(":") == 2]
    ours = [key for key in keys if "__" not in key]
    assert {key.split(":")[1] for key in ours} >= {"request", "text", "seen", "attempts", "worker"}
    for key in ours:
        assert 0 < one.store.client.pttl(key) <= 600_000


def test_two_who_write_the_same_are_read_once(shared_desk, working):
    """A worker that was only slow goes on beside the one that took over."""
    store = working().store
    store.put("request", "job", Request.of({"model": "toy"}).dump(), 60)
    for text, end in (("abc", 3), ("de", 5), ("bcd", 4), ("defg", 7), ("h", 8)):
        store.add("job", Piece(text, [], end))
    store.add("job", Piece("", [], 8, "length"))
    store.add("job", Piece("x", [], 9))
    assert text_of(shared_desk, "job") == ("abcdefgh", "length")
    assert text_of(shared_desk, "job", 4) == ("efgh", "length")


def test_a_text_is_taken_up_where_it_was_left(shared_desk, working):
    """Even where this machine would have written another character: what was read stands."""
    one = working()
    plain, _ = text_of(shared_desk, shared_desk.submit(Request.of({"length": 300, "seed": 5})))
    other = next(c for c in "abc" if c != plain[89])
    branched = Request.of({"length": 300, "seed": 5, "branches": [[89, other]]})
    whole, _ = text_of(shared_desk, shared_desk.submit(branched))
    store = one.store
    store.put("request", "left", Request.of({"model": "toy", "length": 300, "seed": 5}).dump(), 60)
    store.put("seen", "left", "", 60)
    store.count("attempts", "left")
    for start, end in ((0, 50), (40, 90)):  # two have written it already
        store.add("left", Piece(whole[start:end], [], end))
    one.write("toy", "left")
    pieces = [piece for piece in shared_desk.follow("left", 0) if piece]
    assert "".join(piece.text for piece in pieces) == whole
    assert [piece.end for piece in pieces if piece.restarted] == [90]
    before = list(store.pieces("left"))
    one.write("toy", "left")  # it had ended
    assert list(store.pieces("left")) == before


def test_a_text_that_kills_its_workers_is_given_up(shared_desk, working):
    one = working()
    one.store.put("request", "job", Request.of({"model": "toy"}).dump(), 60)
    for _ in range(worker.ATTEMPTS):
        one.store.count("attempts", "job")
    one.write("toy", "job")
    (piece,) = (piece for piece in shared_desk.follow("job", 0) if piece)
    assert (piece.reason, piece.error) == ("error", "the workers that began this text all died")
    one.store.put("request", "other", Request.of({"model": "toy", "prime": "☃"}).dump(), 60)
    one.write("toy", "other")  # of a server that knew another model of this name
    (piece,) = (piece for piece in shared_desk.follow("other", 0) if piece)
    assert "not in the vocabulary" in piece.error
    one.write("toy", "expired")
    assert list(one.store.pieces("expired")) == []


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://127.0.0.1:99999/0", "http://x", "x"])
def test_no_redis(url):
    with pytest.raises(MinicharError, match="no Redis answers at"):
        Store(url, patience=0)


def test_a_redis_that_goes_and_comes_back(tmp_path, model):
    port = free_port()
    with redis_server(port, tmp_path):
        desk = SharedDesk(f"redis://127.0.0.1:{port}/0", queue=1)
        desk._store.put("request", "job", Request.of({"model": "toy"}).dump(), 60)
        following = desk.follow("job", 7)
        assert next(following) is None
    assert [piece for piece in following if piece] == [Piece("", [], 7, "closing")]
    for ask in (desk.models, lambda: desk.request("job"), desk.loads):
        with pytest.raises(Unavailable, match="Redis does not answer"):
            ask()
    desk.close()


def test_a_worker_outlives_a_redis_that_goes_away(tmp_path, model):
    port, ready = free_port(), threading.Event()
    with redis_server(port, tmp_path):
        one = Worker(f"redis://127.0.0.1:{port}/0", {"toy": model}, 1, 0.0)
        thread = threading.Thread(target=one.run, args=(ready.set,))
        thread.start()
        assert ready.wait(10)
    time.sleep(1)
    with redis_server(port, tmp_path):
        desk = SharedDesk(f"redis://127.0.0.1:{port}/0", queue=1)
        patiently(desk.models)
        job = desk.submit(Request.of({"length": 50, "seed": 5}))
        assert text_of(desk, job) == (sampled(model, 50), "length")
        one.stopping.set()
        thread.join(20)
        assert not thread.is_alive()
        desk.close()


# Processes


def test_a_worker_that_is_killed(model, redis_url, serve, work, folder):
    """Another takes its texts up; a visitor is told, and gets every character once."""
    first = work("--pace", 4000, folder / "lm_lstm_epoch1.00_1.2345.npz")
    port = serve("--redis", redis_url).found[1]
    with asked(port, "POST", "/api/generate", LONG) as response:
        events = Events(response)
        events.until("text")
        work("--pace", 4000, folder)
        first.kill()
        at = events.until("notice")[1]
        assert 0 < at < 20000
        events.rest()
        assert events.text == sampled(model, 20000)
        assert events.all[-1][2] == {"reason": "length"}
        assert [number for name, number, _ in events.all if name == "text"][-1] == 20000


def test_a_worker_that_is_stopped_finishes_what_it_writes(redis_url, serve, work, folder):
    only = work(folder)
    port = serve("--redis", redis_url).found[1]
    with asked(port, "POST", "/api/generate", LONG | {"length": 3000}) as response:
        events = Events(response)
        events.until("text")
        only.send_signal(signal.SIGINT)
        assert events.rest().all[-1][1:] == (3000, {"reason": "length"})
    assert only.wait(20) == 0
    assert "finishing what is being written" in only.said
    with asked(port, "GET", "/healthz") as response:
        assert response.status == 503


def test_a_server_that_is_restarted(redis_url, serve, work, folder, model):
    """The text goes on meanwhile, and a visitor reads on with the new one."""
    work(folder)
    port = free_port()
    server = serve("--redis", redis_url, port=port)
    with asked(port, "POST", "/api/generate", LONG | {"length": 4000}) as response:
        events = Events(response)
        job = events.until("begin")[2]["job"]
        events.until("text")
        server.kill()
        with suppress(OSError):
            events.rest()
    serve("--redis", redis_url, port=port)
    with asked(port, "GET", f"/api/generate/{job}", Last_Event_ID=str(len(events.text))) as response:
        rest = Events(response).rest()
    assert events.text + rest.text == sampled(model, 4000)
