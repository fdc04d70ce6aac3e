import threading

import numpy as np
import pytest
import visiting
from toys import toy_model

from minichar import Choice, generate
from minichar.web import scheduler as module
from minichar.web.request import Request
from minichar.web.scheduler import Busy, Scheduler, Writing


@pytest.fixture
def scheduler(model):
    made = []

    def scheduler(columns=8, queue=0, pace=0.0):
        made.append(Scheduler(model, columns, queue, pace))
        return made[-1]

    yield scheduler
    for one in made:
        one.close()


def writing_of(model, **data):
    request = Request.of({"seed": 1, "stop": []} | data)
    return Writing(request, request.stream(model.vocabulary))


def text_of(writing, after=0):
    pieces = [piece for piece in writing.follow(after) if piece is not None]
    assert [piece.reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    return "".join(piece.text for piece in pieces), pieces[-1].reason


def sampled(model, n, prime="", seed=1, stop=(), **choice):
    return "".join(generate(model.exact(), n, prime, seed, stop, choice=Choice(**choice)))


def test_many_at_once_are_each_what_sample_writes():
    """In float32 and at this size, products of other widths would turn a draw now and then."""
    model = toy_model(visiting.CHARACTERS, dtype="float32", rnn_size=96, scale=10.0)
    one = Scheduler(model, columns=24, queue=100, pace=0.0)
    settings = [
        {"seed": i, "length": 200 + 17 * (i % 7), "temperature": 0.5 + 0.1 * (i % 3), "prime": "ab"[: i % 3]}
        for i in range(50)
    ]
    writings = [writing_of(model, **setting) for setting in settings]
    for writing in writings:
        one.begin(writing)
    for writing, setting in zip(writings, settings, strict=True):
        n, temperature = setting.pop("length"), setting.pop("temperature")
        assert text_of(writing) == (sampled(model, n, **setting, temperature=temperature), "length")
    one.close()


def test_a_reader_gets_what_comes_after_what_he_has(model, scheduler):
    one = scheduler()
    writing = writing_of(model, length=300)
    one.begin(writing)
    whole, _ = text_of(writing)
    assert text_of(writing, 123) == (whole[123:], "length")
    assert text_of(writing, 300) == ("", "length")
    assert text_of(writing, 900) == ("", "length")


def test_a_stop_string_ends_it(model, scheduler):
    one = scheduler()
    writing = writing_of(model, length=2000, stop=["a", "中"], alternatives=True)
    one.begin(writing)
    text, reason = text_of(writing)
    assert (text, reason) == (sampled(model, 2000, stop=["a", "中"]), "stop")
    assert len(writing.details) == len(text)


def test_details_are_the_models_own_probabilities(model, scheduler):
    one = scheduler()
    for options in ({}, {"temperature": 0.3, "top_k": 2}):
        writing = writing_of(model, length=40, prime="ab", alternatives=True, **options)
        one.begin(writing)
        text, _ = text_of(writing)
        network = model.network(1, 1)
        for c in "ab" + text[:-1]:
            logits = network.step(0, model.vocabulary.encode(c).astype(int))[:, 0]
            network.carry()
        p = np.exp(logits) / np.exp(logits).sum()
        k = model.vocabulary.encode(text[-1])[0]
        probability, likeliest = writing.details[-1]
        assert probability == pytest.approx(p[k], abs=2e-5)
        assert [q for _, q in likeliest] == pytest.approx(sorted(p, reverse=True)[:5], abs=2e-5)
        assert likeliest[0][0] == model.vocabulary.characters[p.argmax()]
        assert len(writing.details) == 40


def test_a_branch_changes_what_follows_and_nothing_before(model, scheduler):
    one = scheduler()
    plain = sampled(model, 60)
    character = next(c for c in "abc" if c != plain[20])
    writing = writing_of(model, length=60, branches=[[20, character]])
    one.begin(writing)
    text, _ = text_of(writing)
    assert text[:21] == plain[:20] + character
    assert text[21:] != plain[21:]


def test_the_queue_has_an_end(model, scheduler):
    one = scheduler(columns=2, queue=1)
    writings = [writing_of(model, length=20000, seed=i) for i in range(3)]
    for writing in writings:
        one.begin(writing)
    with pytest.raises(Busy, match="try again"):
        one.begin(writing_of(model))
    for writing in writings:
        writing.end("cancelled")
        assert text_of(writing)[1] == "cancelled"


def test_what_was_stopped_makes_room_for_what_waits(model, scheduler):
    one = scheduler(columns=1, queue=5)
    first, stopped, last = (writing_of(model, length=n, seed=n) for n in (20000, 19999, 30))
    for writing in (first, stopped, last):
        one.begin(writing)
    stopped.end("cancelled")
    first.end("cancelled")
    assert text_of(last) == (sampled(model, 30, seed=30), "length")
    assert text_of(stopped)[1] == "cancelled"


def test_what_nobody_reads_is_given_up(model, scheduler, monkeypatch):
    monkeypatch.setattr(module, "ABANDONED", 0.2)
    one = scheduler(columns=1, queue=1, pace=500)
    read, left, waiting = (writing_of(model, length=n) for n in (400, 20000, 20000))
    one.begin(left)
    one.begin(waiting)
    visiting.patiently(lambda: left.reason and waiting.reason)
    one.begin(read)
    assert text_of(read) == (sampled(model, 400), "length")
    assert left.reason == waiting.reason == "cancelled"
    assert 0 < len(left.text) < 20000


def test_the_pace_is_kept_but_not_for_what_is_read(model, scheduler, monkeypatch):
    slept = []
    monkeypatch.setattr(module.time, "sleep", lambda seconds: slept.append(seconds))
    one = scheduler(pace=1e-3)
    writing = writing_of(model, prime="ab" * 100, length=3)
    one.begin(writing)
    assert text_of(writing)[1] == "length"
    assert len(slept) == 2  # after each character but the last


def test_closing_ends_all(model, scheduler):
    one = scheduler(columns=1, queue=1, pace=100)
    writings = [writing_of(model, length=20000) for _ in range(2)]
    for writing in writings:
        one.begin(writing)
    readers = [threading.Thread(target=text_of, args=(writing,)) for writing in writings]
    for reader in readers:
        reader.start()
    one.close()
    for reader in readers:
        reader.join(5)
    assert [writing.reason for writing in writings] == ["closing", "closing"]
    with pytest.raises(Busy):
        one.begin(writing_of(model))


def test_damaged_weights_end_the_text_with_the_reason(model, scheduler):
    damaged = type(model)(model.config, model.vocabulary, model.parameters.twin())
    damaged.parameters.flat[...] = 1e308
    one = Scheduler(damaged, 2, 0, 0.0)
    writing = writing_of(damaged)
    one.begin(writing)
    assert text_of(writing) == ("", "error")
    assert "not finite" in writing.error
    again = writing_of(damaged)
    one.begin(again)
    assert text_of(again) == ("", "error")
    one.close()


def test_a_fault_of_the_program_ends_the_text_and_not_the_server(model, scheduler, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("boom")

    one = scheduler()
    with monkeypatch.context() as patch:
        patch.setattr(module, "probabilities", fail)
        writing = writing_of(model, alternatives=True)
        one.begin(writing)
        assert text_of(writing) == ("", "error")
    assert "boom" not in writing.error
    assert "boom" in caplog.text
    after = writing_of(model, length=20)
    one.begin(after)
    assert text_of(after) == (sampled(model, 20), "length")
