import threading
from itertools import pairwise

import numpy as np
import pytest
from toys import toy_model
from web_helpers import CHARACTERS, TIMEOUT, read, run_job, wait_for

from minichar.web import scheduler as module
from minichar.web.details import Details, pack
from minichar.web.scheduler import Scheduler


def test_output_of_concurrent_jobs_equals_minichar_sample(job_of, scheduler, sampled):
    """Without exact arithmetic, the batch size would affect the output of a float32 model of this size."""
    model = toy_model(CHARACTERS, dtype="float32", rnn_size=96, scale=10.0)
    one = scheduler(model=model)
    settings = [
        {"seed": i, "length": 70 + 17 * i, "temperature": 0.5 + 0.1 * (i % 3), "prime": "ab"[: i % 3]}
        for i in range(8)
    ]
    jobs = [job_of(model, **setting, **{"from": 50 * (i % 2)}) for i, setting in enumerate(settings)]
    for job in jobs:
        one.submit(job)
    for i, (job, setting) in enumerate(zip(jobs, settings, strict=True)):
        n = setting.pop("length")
        text, _, end = read(job)
        assert (text, end.reason) == (sampled(n, stop=(), model=model, **setting)[50 * (i % 2) :], "length")


def test_stop_string_ends_the_job(job_of, scheduler, sampled):
    stop = ["a", "中"]
    whole = sampled(2000, stop=stop)
    for start in (0, 1, len(whole), len(whole) + 9):
        job = job_of(length=2000, stop=stop, alternatives=True, **{"from": start})
        text, packed, end = run_job(scheduler(), job)
        assert (text, end.reason, len(Details(packed))) == (whole[start:], "stop", len(text))
        assert end.end == max(start, len(whole))


def test_details_are_buffered_with_a_possible_stop_string(job_of):
    job = job_of(stop=["ab"], alternatives=True)
    first, second, third = pack(np.array([[0.1, 0.2, 0.3]]), np.zeros(3, int), np.array([97]))
    job.append("x", first)
    job.append("a", second)
    job.publish()
    update = job.news()
    assert (update.text, list(update.details)) == ("x", [(0.1, [("a", 0.1)])])
    job.take(update)
    job.append("c", third)
    job.publish()
    update = job.news()
    assert (update.text, update.end, [p for p, _ in update.details]) == ("ac", 3, [0.2, 0.3])


def test_news_is_kept_until_it_is_taken(job_of):
    job = job_of(length=100)
    for text in ("a", "ab"):
        job.append(text[-1])
        job.publish()
        update = job.news()
        assert (update.text, update.end, update.reason) == (text, len(text), None)
    job.append("c")
    job.publish()
    job.take(update)
    assert (job.news().text, job.news().end) == ("c", 3)
    job.append("d")  # not published in time
    job.finish("cancelled")
    job.publish()
    job.finish("error", "too late")
    assert (job.news().text, job.news().reason, job.news().error) == ("c", "cancelled", "")


def test_first_character_is_published_immediately(job_of, scheduler, monkeypatch):
    monkeypatch.setattr(module, "PUBLISH_INTERVAL", 1e9)
    called = threading.Event()
    job = job_of(length=20000)
    scheduler(pace=50, on_news=called.set).submit(job)
    assert called.wait(TIMEOUT)
    assert len(job.news().text) == 1


def test_details_are_the_model_probabilities(model, job_of, scheduler):
    """Temperature and top-k do not affect the details."""
    one = scheduler()
    for options in ({}, {"temperature": 0.3, "top_k": 2}, {"bias": {"b": 3.0}}):
        text, packed, _ = run_job(one, job_of(length=40, prime="ab", alternatives=True, **options))
        network = model.network(1, 1)
        for c in "ab" + text[:-1]:
            logits = network.step(0, model.vocabulary.encode(c).astype(int))[:, 0]
            network.carry()
        p = np.exp(logits) / np.exp(logits).sum()
        k = model.vocabulary.encode(text[-1])[0]
        *_, (probability, most_likely) = Details(packed)
        assert probability == pytest.approx(p[k], abs=2e-5)
        assert [q for _, q in most_likely] == pytest.approx(sorted(p, reverse=True)[:5], abs=2e-5)
        assert most_likely[0][0] == model.vocabulary.characters[p.argmax()]
        assert len(Details(packed)) == 40


def test_branch_changes_only_the_text_after_it(job_of, scheduler, sampled):
    plain = sampled(60, stop=())
    character = next(c for c in "abc" if c != plain[20])
    text, _, _ = run_job(scheduler(), job_of(length=60, branches=[[20, character]]))
    assert text[:21] == plain[:20] + character
    assert text[21:] != plain[21:]


def test_a_cancelled_job_leaves_the_batch(job_of, scheduler, sampled):
    one = scheduler()
    job = job_of(length=20000)
    one.submit(job)
    wait_for(job.news)
    job.finish("cancelled")
    text, _, end = read(job)
    assert (text, end.reason) == (sampled(len(text), stop=()), "cancelled")
    assert len(text) < 20000
    wait_for(lambda: not one._jobs)
    assert run_job(one, job_of(length=30))[0] == sampled(30, stop=())


class Clock:
    """Clock that advances only while a scheduler waits and, by `step`, with each step of a batch."""

    def __init__(self, monkeypatch, step):
        self.now, self.step, self.steps = 0.0, step, []
        monkeypatch.setattr(module, "time", self)
        original = Scheduler._step

        def stepped(scheduler, batch):
            generated = {stream: stream.length for stream in batch.streams}
            original(scheduler, batch)
            self.now += self.step
            self.steps.append((self.now, generated))

        monkeypatch.setattr(Scheduler, "_step", stepped)
        wait = threading.Condition.wait

        def waited(condition, timeout=None):
            if threading.current_thread().name != "scheduler" or timeout is None:
                return wait(condition, timeout)
            self.now += timeout
            return True

        monkeypatch.setattr(threading.Condition, "wait", waited)

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def times(self, job):
        """Return the times of the steps in which a job took part."""
        return [now for now, generated in self.steps if job.stream in generated]


def gaps(times):
    return [round(b - a, 6) for a, b in pairwise(times)]


def test_pace_limits_generation_but_not_the_prompt_or_known_text(job_of, scheduler, sampled, monkeypatch):
    clock = Clock(monkeypatch, step=0.001)
    for job in (job_of(prime="ab" * 100, length=5), job_of(length=305, **{"from": 300})):
        text, _, _ = run_job(scheduler(pace=10), job)
        assert len(text) == 5
        known, new = gaps(clock.times(job))[:-5], gaps(clock.times(job))[-4:]
        assert set(known) == {0.001}
        assert new == [pytest.approx(0.1, abs=0.002)] * 4
    published = sampled(300, stop=())  # by another worker
    continued = job_of(length=305, known=published)
    assert run_job(scheduler(pace=10), continued)[0] == sampled(305, stop=())[300:]
    assert gaps(clock.times(continued))[-4:] == [pytest.approx(0.1, abs=0.002)] * 4


def submit(scheduler, *jobs):
    """Start several jobs at the same time."""
    with scheduler._changed:
        scheduler._new.extend(jobs)
        scheduler._changed.notify()


@pytest.mark.parametrize("n", [8, 1])
def test_updates_are_less_frequent_with_more_jobs(job_of, scheduler, monkeypatch, n):
    monkeypatch.setattr(module, "PUBLISH_INTERVAL", 0.002)
    monkeypatch.setattr(module, "MAX_UPDATES", 100)
    clock, times, jobs = Clock(monkeypatch, step=0.001), [], [job_of(length=1000, seed=i) for i in range(n)]
    submit(scheduler(on_news=lambda: times.append(clock.now)), *jobs)
    for job in jobs:
        read(job)
    assert np.median(gaps(times)) == pytest.approx(n / 100, abs=0.0015)


@pytest.mark.parametrize(("pace", "expected"), [(50, 0.02), (0, 0.001 * (1 + module.SHARE))])
def test_a_job_that_catches_up_neither_speeds_up_nor_holds_up_the_others(
    job_of, scheduler, monkeypatch, pace, expected
):
    """Without a pace, both want to use the whole core."""
    clock = Clock(monkeypatch, step=0.001)
    one, steady = scheduler(pace=pace), job_of(length=20000)
    late = job_of(length=305, seed=6, **{"from": 300})
    submit(one, steady, late)
    read(late)
    end = clock.times(late)[-1]
    steady.finish("cancelled")
    times = [now for now in clock.times(steady) if now <= end]
    assert np.mean(gaps(times)) == pytest.approx(expected, rel=0.1)
    assert max(gaps(times)) <= expected + 0.002


def test_text_that_readers_already_have_needs_no_details(job_of, scheduler, monkeypatch):
    packed = []

    def counted(p, ids, points):
        packed.extend(ids)
        return pack(p, ids, points)

    monkeypatch.setattr(module, "pack", counted)
    one = scheduler()
    text, details, _ = run_job(one, job_of(length=400, alternatives=True))
    assert len(packed) == 400
    rest, late, _ = run_job(one, job_of(length=400, alternatives=True, **{"from": 350}))
    assert (rest, late) == (text[350:], Details(details).after(350).packed)
    assert len(packed) == 450


def test_memory_is_returned_when_all_jobs_have_ended(job_of, scheduler, monkeypatch):
    returned = []
    monkeypatch.setattr(module, "return_memory", lambda: returned.append(True))
    one = scheduler()
    wait_for(lambda: returned)
    run_job(one, job_of(length=5))
    wait_for(lambda: len(returned) == 2)


def test_closing_ends_all_jobs(job_of, scheduler):
    one = scheduler(pace=100)
    jobs = [job_of(length=20000), job_of(length=20000, **{"from": 19000})]
    for job in jobs:
        one.submit(job)
    one.close()
    assert [read(job)[2].reason for job in jobs] == ["closing", "closing"]


def test_model_error_ends_the_job(model, job_of, scheduler):
    corrupted = type(model)(model.config, model.vocabulary, model.parameters.twin())
    corrupted.parameters.flat[...] = 1e308
    one = scheduler(model=corrupted)
    for _ in range(2):  # the scheduler is still running after the first error
        _, _, end = run_job(one, job_of(corrupted))
        assert end.reason == "error"
        assert "not finite" in end.error


def test_unexpected_exception_ends_the_job_but_not_the_scheduler(
    job_of, scheduler, sampled, monkeypatch, caplog
):
    def fail(*arguments):
        raise RuntimeError("boom")

    one = scheduler()
    with monkeypatch.context() as patch:
        patch.setattr(module, "probabilities", fail)
        text, _, end = run_job(one, job_of(alternatives=True))
        assert (text, end.reason) == ("", "error")
    assert "boom" not in end.error
    assert "boom" in caplog.text
    assert run_job(one, job_of(length=20))[0] == sampled(20, stop=())
