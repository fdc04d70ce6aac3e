"""Test the snapshots that workers share."""

from dataclasses import replace

import numpy as np
import pytest
from redis_helpers import run, text_of, worker_in_thread
from web_helpers import wait_for

from minichar.sampling.streams import State, Streams
from minichar.web import shared_snapshots
from minichar.web.details import Details
from minichar.web.job import Update
from minichar.web.request import Request
from minichar.web.shared_snapshots import SharedSnapshots
from minichar.web.snapshots import Snapshot

redis = pytest.importorskip("redis")


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
    assert 1000 < left("d") <= 600_000
    assert 1000 < left("a") <= 600_000
    assert left("c") < 0
    (d, *others) = snapshots.get("d山bc")
    assert [other.text for other in others] == ["山" * 1000]
    np.testing.assert_array_equal(d.state.layers, state.layers)
    assert (d.text, d.state.length, d.state.pending, d.state.recent) == ("d" * 1000, 1000, (2,), (0, 1))
    store.client.pexpire("minichar:snapshot:d", 1000)
    snapshots.get("d")
    assert 1000 < left("d") <= 600_000

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
