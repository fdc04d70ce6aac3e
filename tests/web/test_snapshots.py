import numpy as np
import pytest
from toys import toy_model
from web_helpers import CHARACTERS, text_of

from minichar.sampling.streams import State, Streams
from minichar.web import scheduler as module
from minichar.web import snapshots
from minichar.web.job import Job
from minichar.web.request import Request
from minichar.web.scheduler import Scheduler
from minichar.web.snapshots import LocalSnapshots, Snapshot, keys_of


@pytest.fixture
def steps(monkeypatch):
    """Lengths of the streams before each step of a scheduler, whose states are 100 characters apart."""
    monkeypatch.setattr(module, "INTERVAL", 100)
    monkeypatch.setattr(snapshots, "INTERVAL", 100)
    lengths, step = [], Streams.step

    def counted(self):
        lengths.append([stream.length for stream in self.streams])
        return step(self)

    monkeypatch.setattr(Streams, "step", counted)
    return lengths


@pytest.mark.parametrize(("cell", "reset_on"), [("lstm", ""), ("lstm", "ab"), ("gru", "")])
def test_resuming_recomputes_fewer_characters_than_lie_between_two_states(job_of, steps, cell, reset_on):
    model = toy_model(CHARACTERS, model=cell, rnn_size=12, scale=14.0)
    model.details["settings"] = {"reset_on": reset_on}
    one = Scheduler(model, 8, 0, 0.0, LocalSnapshots())
    fields = {"prime": "山", "length": 700, "temperature": 0.9, "branches": [[150, "b"]]}

    def text(after, **changes):
        """Return the text of a new job after some characters, and the number of steps that it took."""
        job = job_of(model, **fields | {"from": after} | changes)
        steps.clear()
        one.submit(job)
        text, _ = text_of(job, after)
        assert job.state is None  # an ended job keeps only its text
        return text, len(steps)

    whole, taken = text(0)
    assert taken == 700
    assert text(650) == (whole[650:], 100)
    assert text(600, length=650) == (whole[600:650], 50)
    assert text(600, length=600) == text(700, length=600) == ("", 100)
    assert text(650, alternatives=True) == (whole[650:], 100)
    assert text(99) == (whole[99:], 700)  # before the first state
    branches = [[150, "b"], [430, next(c for c in "abc" if c != whole[430])]]
    changed, taken = text(430, branches=branches)
    assert taken == 300
    assert text(650, branches=branches) == (changed[220:], 100)  # a state after the branch
    fresh = Scheduler(model, 8, 0, 0.0, LocalSnapshots())
    job = job_of(model, **fields | {"branches": branches})
    fresh.submit(job)
    assert text_of(job, 430)[0] == changed
    for other in ({"seed": 6}, {"prime": "中"}, {"temperature": 1.0}, {"branches": [[20, "c"]]}):
        assert text(650, **other)[1] == 700
    stop = whole[300:303]
    job = job_of(model, **fields | {"from": 650, "stop": [stop]})
    steps.clear()
    one.submit(job)
    assert job not in [*one.waiting, *one.running.values()]
    assert text_of(job) == (whole[: whole.index(stop)], "stop")
    for scheduler in (one, fresh):
        scheduler.close()
    assert steps == []


def test_a_snapshot_is_identified_by_what_determines_its_text():
    fields = {"prime": "ab", "length": 2000, "seed": 5, "branches": [[999, "b"]]}
    first, second = keys_of(Request.from_json(fields), 2999)
    assert first != second
    same = {"length": 20, "from": 10, "stop": ["b"], "alternatives": True}
    same |= {"branches": [[999, "b"], [1000, "c"]]}
    assert keys_of(Request.from_json(fields | same), 1000) == [first]
    choice = {"temperature": 0.9, "top_k": 2, "top_p": 0.9, "argmax": True}
    other = {"prime": "a", "seed": 6, "model": "x", "unknown": "skip"} | choice
    others = [{name: value} for name, value in other.items()] + [{"branches": []}, {"branches": [[998, "b"]]}]
    found = {key for change in others for key in keys_of(Request.from_json(fields | change), 1000)}
    assert len(found | {first, second}) == len(others) + 2


def test_the_last_snapshot_of_the_least_recently_used_text_is_removed_first(monkeypatch):
    """Without the first snapshot of a text, the others would be useless."""
    kept = LocalSnapshots()
    snapshot = Snapshot("x", State(np.zeros((1, 1, 20)), 1000, (1,), ()))
    monkeypatch.setattr(snapshots, "MEMORY", 5 * snapshot.size)
    for keys in ("a", "b", "aA", "bB", "c"):
        kept.put(keys, snapshot)
    assert set(kept._kept) == set("aAbBc")
    kept.put("d", snapshot)
    assert set(kept._kept) == set("abBcd")
    assert len(kept.get("aA")) == 1
    kept.put("e", snapshot)
    kept.put("e", snapshot)
    assert set(kept._kept) == set("abcde")
    kept.put("aAx", snapshot)  # no job could resume from it
    assert set(kept._kept) == set("abcde")


@pytest.mark.parametrize("first", ["continued", "plain"])
def test_published_text_that_differs_is_continued_but_not_shared(
    first, model, job_of, scheduler, sampled, steps
):
    """The processor of another worker may round differently."""
    one, plain = scheduler(), sampled(400, stop=())
    other = next(c for c in "abc" if c != plain[149])
    branched, alone = job_of(length=400, branches=[[149, other]]), scheduler()
    alone.submit(branched)
    changed, _ = text_of(branched)
    request = Request.from_json({"seed": 5, "stop": [], "length": 400})

    def continued():
        published = changed[:250]
        job = Job(request, request.stream(model.vocabulary, known=published), published)
        one.submit(job)
        return text_of(job, 250)[0]

    def resumed():
        job = job_of(length=400, **{"from": 200})
        one.submit(job)
        return text_of(job, 200)[0]

    if first == "plain":
        assert resumed() == plain[200:]
    assert continued() == changed[250:]
    assert resumed() == plain[200:]
    assert continued() == changed[250:]


def test_a_text_that_ends_with_a_stop_string_leaves_no_incomplete_snapshot(job_of, scheduler, sampled, steps):
    one, whole = scheduler(), sampled(300, stop=())
    ended = job_of(stop=[whole[195:200]])
    one.submit(ended)
    assert text_of(ended) == (whole[:195], "stop")
    job = job_of(length=300, **{"from": 250})
    one.submit(job)
    assert text_of(job, 250) == (whole[250:], "length")


def test_states_take_limited_memory(job_of, scheduler, steps, monkeypatch):
    """The texts that were least recently used are forgotten first."""
    one = scheduler()

    def taken(seed, after=0):
        steps.clear()
        job = job_of(seed=seed, length=390, **{"from": after})
        one.submit(job)
        text_of(job, after)
        return len(steps)

    assert taken(1) == 390
    monkeypatch.setattr(snapshots, "MEMORY", 2 * one.snapshots._size)
    assert taken(2) == 390
    assert taken(1, 300) == 90
    assert taken(3) == 390
    assert one.snapshots._size <= snapshots.MEMORY
    assert taken(1, 300) == 90
    assert taken(2, 300) == 390


def test_a_job_that_has_just_been_cancelled_leaves_no_snapshot(job_of, scheduler, steps, monkeypatch):
    """Its text may have been discarded."""
    one, job, added = scheduler(), job_of(length=1000), []
    append = job.append
    monkeypatch.setattr(one.snapshots, "add", lambda job, state: added.append(state.length))

    def append_or_cancel(*arguments):
        if job.stream.length == 200:
            job.finish("cancelled")
            job.discard()
        return append(*arguments)

    monkeypatch.setattr(job, "append", append_or_cancel)
    one.submit(job)
    assert list(job.follow(0))[-1].reason == "closing"
    one.close()
    assert added == [100]
