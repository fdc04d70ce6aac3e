import threading

import numpy as np
import pytest
from toys import toy_model
from web_helpers import CHARACTERS, TIMEOUT, text_of, wait_for

from minichar.web import job as job_module
from minichar.web import scheduler as module
from minichar.web.details import Details, pack
from minichar.web.job import Busy, Job
from minichar.web.request import Request
from minichar.web.scheduler import Scheduler
from minichar.web.snapshots import LocalSnapshots


def test_output_of_concurrent_jobs_equals_minichar_sample(job_of, sampled):
    """Without exact arithmetic, the batch size would affect the output of a float32 model of this size."""
    model = toy_model(CHARACTERS, dtype="float32", rnn_size=96, scale=10.0)
    one = Scheduler(model, 16, 100, 0.0, LocalSnapshots())
    settings = [
        {"seed": i, "length": 150 + 17 * (i % 7), "temperature": 0.5 + 0.1 * (i % 3), "prime": "ab"[: i % 3]}
        for i in range(24)
    ]
    jobs = [job_of(model, **setting) for setting in settings]
    for job in jobs:
        one.submit(job)
    for job, setting in zip(jobs, settings, strict=True):
        n = setting.pop("length")
        assert text_of(job) == (sampled(n, stop=(), model=model, **setting), "length")
    one.close()


def test_follow_skips_the_characters_already_read(job_of, scheduler):
    job = job_of(length=300)
    scheduler().submit(job)
    whole, _ = text_of(job)
    for n in (123, 300, 900):
        assert text_of(job, n) == (whole[n:], "length")


def test_stop_string_ends_the_job(job_of, scheduler, sampled):
    job = job_of(length=2000, stop=["a", "中"], alternatives=True)
    scheduler().submit(job)
    text, reason = text_of(job)
    assert (text, reason) == (sampled(2000, stop=["a", "中"]), "stop")
    assert len(job.news(0).details) == len(text)


def test_details_are_buffered_with_a_possible_stop_string(job_of):
    job = job_of(stop=["ab"], alternatives=True)
    first, second, third = pack(np.array([[0.1, 0.2, 0.3]]), np.zeros(3, int), np.array([97]))
    job.append("x", first)
    job.append("a", second)
    job.publish()
    assert (job.text, list(job.news(0).details)) == ("x", [(0.1, [("a", 0.1)])])
    job.append("c", third)
    job.publish()
    assert (job.text, [p for p, _ in job.news(0).details]) == ("xac", [0.1, 0.2, 0.3])


def test_first_character_is_published_immediately(job_of, scheduler, monkeypatch):
    monkeypatch.setattr(module, "PUBLISH_INTERVAL", 1e9)
    job = job_of(length=20000)
    scheduler(pace=50).submit(job)
    wait_for(lambda: job.text)
    assert len(job.text) == 1


def test_updates_are_less_frequent_with_more_jobs(job_of, scheduler, monkeypatch):
    intervals = {1: [], 8: []}

    class Recording(Scheduler):
        def _publish(self, streams, elapsed):
            if len(self.running) in intervals:
                intervals[len(self.running)].append(elapsed)
            super()._publish(streams, elapsed)

    monkeypatch.setattr(module, "PUBLISH_INTERVAL", 0.002)
    monkeypatch.setattr(module, "MAX_UPDATES", 100)
    one = Recording(scheduler().model, 8, 0, 1e4, LocalSnapshots())
    for n in (8, 1):
        jobs = [job_of(length=2000, seed=i) for i in range(n)]
        for job in jobs:
            one.submit(job)
        for job in jobs:
            text_of(job)
    one.close()
    assert min(intervals[8]) >= 8 / 100
    assert 1 / 100 <= min(intervals[1]) < 8 / 100


def test_details_are_the_model_probabilities(model, job_of, scheduler):
    """Temperature and top-k do not affect the details."""
    one = scheduler()
    for options in ({}, {"temperature": 0.3, "top_k": 2}):
        job = job_of(length=40, prime="ab", alternatives=True, **options)
        one.submit(job)
        text, _ = text_of(job)
        network = model.network(1, 1)
        for c in "ab" + text[:-1]:
            logits = network.step(0, model.vocabulary.encode(c).astype(int))[:, 0]
            network.carry()
        p = np.exp(logits) / np.exp(logits).sum()
        k = model.vocabulary.encode(text[-1])[0]
        *_, (probability, most_likely) = job.news(0).details
        assert probability == pytest.approx(p[k], abs=2e-5)
        assert [q for _, q in most_likely] == pytest.approx(sorted(p, reverse=True)[:5], abs=2e-5)
        assert most_likely[0][0] == model.vocabulary.characters[p.argmax()]
        assert len(job.news(0).details) == 40


def test_branch_changes_only_the_text_after_it(job_of, scheduler, sampled):
    plain = sampled(60, stop=())
    character = next(c for c in "abc" if c != plain[20])
    job = job_of(length=60, branches=[[20, character]])
    scheduler().submit(job)
    text, _ = text_of(job)
    assert text[:21] == plain[:20] + character
    assert text[21:] != plain[21:]


def test_full_queue_rejects_jobs_until_others_are_cancelled(job_of, scheduler, sampled):
    one = scheduler(columns=1, queue=1)
    running, waiting = job_of(length=20000), job_of(length=19999)
    one.submit(running)
    one.submit(waiting)
    with pytest.raises(Busy, match="try again"):
        one.submit(job_of())
    for job in (waiting, running):
        job.finish("cancelled")
        assert text_of(job)[1] == "cancelled"
    wait_for(lambda: not one.running and not one.waiting)
    next_job = job_of(length=30)
    one.submit(next_job)
    assert text_of(next_job) == (sampled(30, stop=()), "length")


def test_job_without_a_reader_is_cancelled(job_of, scheduler, sampled, monkeypatch):
    one = scheduler(columns=1, queue=1, pace=1000)
    read, running, waiting = (job_of(length=n) for n in (400, 20000, 20000))
    with monkeypatch.context() as patch:
        patch.setattr(job_module, "ABANDONED_AFTER", 0.15)
        one.submit(running)
        one.submit(waiting)
        wait_for(lambda: running.reason and waiting.reason)
    assert running.reason == waiting.reason == "cancelled"
    assert 0 < len(running.text) < 20000
    one.submit(read)
    assert text_of(read) == (sampled(400, stop=()), "length")


def test_pace_limits_generation_but_not_reading_the_prompt(job_of, scheduler, monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    job = job_of(prime="ab" * 100, length=3)
    scheduler(pace=1e-3).submit(job)
    assert text_of(job)[1] == "length"
    assert len(slept) == 2  # after each character except the last


def test_text_that_readers_already_have_is_generated_without_a_pace(job_of, scheduler, sampled, monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    monkeypatch.setattr(module, "PUBLISH_INTERVAL", 1e9)
    one = scheduler(pace=1e-3)
    job = job_of(length=303, **{"from": 300})
    one.submit(job)
    wait_for(lambda: len(job.text) >= 301)  # the first new character is published immediately
    assert text_of(job, 300) == (sampled(303, stop=())[300:], "length")
    assert len([seconds for seconds in slept if seconds > 1]) == 2
    request = Request.from_json({"seed": 5, "stop": [], "length": 303})
    published = sampled(300, stop=())  # by another worker
    continued = Job(request, request.stream(one.model.vocabulary), published)
    one.submit(continued)
    assert text_of(continued, 300)[1] == "length"
    assert len([seconds for seconds in slept if seconds > 1]) == 4
    assert max(slept) < 1001  # the time saved while catching up is not made up for


def test_text_that_readers_already_have_needs_no_details(job_of, scheduler, sampled, monkeypatch):
    packed = []

    def counted(p, ids, points):
        packed.extend(ids)
        return pack(p, ids, points)

    monkeypatch.setattr(module, "pack", counted)
    one, whole, known = scheduler(), job_of(length=400, alternatives=True), 350
    one.submit(whole)
    text, _ = text_of(whole)
    assert len(packed) == 400
    job = job_of(length=400, alternatives=True, **{"from": known})
    one.submit(job)
    updates = [update for update in job.follow(known) if update]
    assert "".join(update.text for update in updates) == text[known:]
    assert Details(b"".join(update.details.packed for update in updates)) == whole.news(known).details
    assert len(packed) == 450


def test_a_full_or_closed_scheduler_rejects_jobs_before_it_looks_for_snapshots(
    job_of, scheduler, monkeypatch
):
    one = scheduler(columns=1, pace=100)
    one.submit(job_of(length=20000))
    monkeypatch.setattr(one.snapshots, "resume", None)
    with pytest.raises(Busy):
        one.submit(job_of())
    one.close()
    with pytest.raises(Busy):
        one.submit(job_of())


def test_closing_ends_all_jobs(job_of, scheduler):
    one = scheduler(columns=1, queue=1, pace=100)
    jobs = [job_of(length=20000) for _ in range(2)]
    for job in jobs:
        one.submit(job)
    readers = [threading.Thread(target=text_of, args=(job,)) for job in jobs]
    for reader in readers:
        reader.start()
    one.close()
    for reader in readers:
        reader.join(TIMEOUT)
    assert [job.reason for job in jobs] == ["closing", "closing"]
    with pytest.raises(Busy):
        one.submit(job_of())


def test_model_error_ends_the_job(model, job_of):
    corrupted = type(model)(model.config, model.vocabulary, model.parameters.twin())
    corrupted.parameters.flat[...] = 1e308
    one = Scheduler(corrupted, 2, 0, 0.0, LocalSnapshots())
    for _ in range(2):  # the scheduler is still running after the first error
        job = job_of(corrupted)
        one.submit(job)
        assert text_of(job) == ("", "error")
        assert "not finite" in job.error
    one.close()


def test_unexpected_exception_ends_the_job_but_not_the_scheduler(
    job_of, scheduler, sampled, monkeypatch, caplog
):
    def fail(*arguments):
        raise RuntimeError("boom")

    one = scheduler()
    with monkeypatch.context() as patch:
        patch.setattr(module, "probabilities", fail)
        job = job_of(alternatives=True)
        one.submit(job)
        assert text_of(job) == ("", "error")
    assert "boom" not in job.error
    assert "boom" in caplog.text
    after = job_of(length=20)
    one.submit(after)
    assert text_of(after) == (sampled(20, stop=()), "length")
