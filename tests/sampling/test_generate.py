from itertools import accumulate, islice

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from toys import scripted, toy_model, toy_settings

from minichar import Choice, MinicharError, Vocabulary, generate, generate_many
from minichar.engine.network import teacher_forcing
from minichar.model import CharRNN
from minichar.sampling.generate import STREAM, StopFilter, prime_ids, sample_ids
from minichar.sampling.streams import BLOCK
from minichar.training.start import begin


@pytest.fixture
def model(cell):
    return toy_model(**cell)


@pytest.fixture
def lstm():
    return toy_model()


def text_of(*arguments, **options):
    return "".join(generate(*arguments, **options))


# The choice of a character


def naive_probabilities(logits, temperature=1.0, top_k=0, top_p=1.0):
    """Of each character of one column of logits, by sorting and adding up."""
    weights = np.exp((logits - logits.max()) / temperature)
    likeliest_first = sorted(range(len(logits)), key=lambda k: -weights[k])
    kept = likeliest_first[: top_k or None]
    total = sum(weights[k] for k in kept)
    before = list(accumulate([weights[k] for k in kept], initial=0.0))
    kept = [k for k, so_far in zip(kept, before, strict=False) if so_far < top_p * total]
    p = np.zeros(len(logits))
    p[kept] = weights[kept]
    return p / p.sum()


def frequencies(choice, logits, n=4000):
    """How often each character is chosen over evenly spaced uniform numbers: right to 1/n."""
    u = (np.arange(n) + 0.5) / n
    ids = choice.ids(np.repeat(logits[:, None], n, axis=1), u)
    return np.bincount(ids, minlength=len(logits)) / n


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 1},
        {"top_k": 3},
        {"top_k": 7},
        {"top_k": 100},
        {"top_p": 0.9},
        {"top_p": 0.5},
        {"top_p": 1e-9},
        {"top_p": 1 - 1e-12},
        {"top_k": 4, "top_p": 0.7},
        {"temperature": 2.0, "top_k": 5, "top_p": 0.8},
    ],
    ids=str,
)
def test_characters_are_drawn_by_their_probability(options, generator):
    for _ in range(5):
        logits = generator.normal(0, 2, size=7)
        expected = naive_probabilities(logits, **options)
        found = frequencies(Choice(**options), logits)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert not found[expected == 0].any()


def test_every_column_is_chosen_from_by_itself(generator):
    logits, u = generator.normal(0, 2, size=(7, 50)), generator.random(50)
    for choice in (Choice(), Choice(top_k=2), Choice(top_p=0.6), Choice(argmax=True)):
        together = choice.ids(logits.copy(), u)
        alone = [choice.ids(logits[:, [b]], u[[b]])[0] for b in range(50)]
        assert together.tolist() == alone


def test_top_p_keeps_the_fewest_that_reach_the_share():
    logits = np.log(np.array([0.1, 0.4, 0.2, 0.3]))
    assert np.flatnonzero(frequencies(Choice(top_p=0.39), logits)).tolist() == [1]
    assert np.flatnonzero(frequencies(Choice(top_p=0.41), logits)).tolist() == [1, 3]
    assert np.flatnonzero(frequencies(Choice(top_p=0.71), logits)).tolist() == [1, 2, 3]
    np.testing.assert_allclose(frequencies(Choice(top_p=0.5), logits), [0, 4 / 7, 0, 3 / 7], atol=1e-3)


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 5e-324])
def test_a_tiny_temperature_takes_the_likeliest(temperature, generator):
    logits = generator.normal(size=(7, 100))
    ids = Choice(temperature).ids(logits, generator.random(100))
    assert ids.tolist() == logits.argmax(axis=0).tolist()


@pytest.mark.parametrize("temperature", [1e6, 1e300, 1.7e308])
def test_a_huge_temperature_draws_evenly(temperature, generator):
    found = frequencies(Choice(temperature), generator.normal(size=8))
    np.testing.assert_allclose(found, 1 / 8, atol=1e-3)


@pytest.mark.parametrize("u", [0.0, 0.5, np.nextafter(1, 0)])
@pytest.mark.parametrize("temperature", [1e-300, 1.0, 1.7e308])
def test_what_is_masked_is_never_chosen(u, temperature, generator):
    logits = generator.normal(size=(6, 40))
    logits[[0, 3, 5]] = -np.inf
    for choice in (Choice(temperature), Choice(temperature, top_k=5), Choice(temperature, top_p=1 - 1e-16)):
        assert set(choice.ids(logits.copy(), np.full(40, u))) <= {1, 2, 4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(
            ({"temperature": t}, "temperature is .*must be above 0")
            for t in (0, -1, float("nan"), float("inf"))
        ),
        ({"top_k": -1}, "top-k is -1"),
        *(({"top_p": p}, "top-p is .*above 0 and at most 1") for p in (0, -0.1, 1.1, float("nan"))),
    ],
    ids=str,
)
def test_a_choice_out_of_range(options, words):
    with pytest.raises(MinicharError, match=words):
        Choice(**options)


# The stream


def naive_text(model, prime, seed, n, temperature=1.0):
    """Read all there is from the beginning for every new character."""
    numbers = np.random.default_rng((seed, STREAM, 0)).random(BLOCK)
    text = prime
    for u in numbers[:n]:
        ids = model.vocabulary.encode(text).astype(int)[:, None]  # (T, 1)
        logits = model.network(len(ids), 1).forward(teacher_forcing(ids))[-1, :, 0]
        p = naive_probabilities(logits.astype(float), temperature)
        text += model.vocabulary.characters[int((np.cumsum(p) <= u).sum())]
    return text[len(prime) :]


def test_the_stream_is_what_reading_all_again_would_give(model):
    expected = naive_text(model, "ab\n", seed=5, n=40, temperature=0.8)
    assert text_of(model, 40, "ab\n", seed=5, choice=Choice(0.8)) == expected


def test_the_same_seed_gives_the_same_text(model):
    text = text_of(model, 200, seed=7)
    assert text == text_of(model, 200, seed=7)
    assert text != text_of(model, 200, seed=8)
    assert len(text) == 200
    assert set(text) <= set(model.vocabulary.characters)


def test_a_shorter_text_is_the_beginning_of_a_longer_one(lstm):
    assert text_of(lstm, 700).startswith(text_of(lstm, BLOCK + 44))


def test_argmax_takes_the_likeliest_whatever_the_seed(lstm):
    texts = {text_of(lstm, 50, "ab", seed=seed, choice=Choice(argmax=True)) for seed in (1, 2)}
    assert texts == {naive_text(lstm, "ab", 1, 50, temperature=1e-300)}


def test_what_was_written_may_as_well_have_been_given(lstm):
    choice = Choice(argmax=True)
    text = text_of(lstm, 20, "ab", choice=choice)
    assert text_of(lstm, 13, "ab" + text[:7], choice=choice) == text[7:]


def test_length_0_has_no_end(lstm):
    endless = generate(lstm, 0)
    pieces = list(islice(endless, 3 * BLOCK))
    assert len(pieces) == 3 * BLOCK
    assert "".join(pieces) == text_of(lstm, 3 * BLOCK)


def test_text_is_made_when_it_is_asked_for(lstm, monkeypatch):
    steps = []
    network = lstm.network(1, 1)
    step = network.step
    monkeypatch.setattr(network, "step", lambda t, ids: (steps.append(1), step(t, ids))[1])
    monkeypatch.setattr(CharRNN, "network", lambda self, T, B: network)
    pieces = generate(lstm, 0, "ab")
    assert steps == []
    next(pieces)
    assert len(steps) == 2  # the prime
    next(pieces)
    assert len(steps) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": -1}, "length is -1"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        (
            {"prime": "aXbX☃"},
            r"not in the vocabulary: 'X' \(U\+0058\) at positions 1, 3, '☃' \(U\+2603\) at position 4",
        ),
        ({"unknown": "guess"}, "unknown is 'guess'"),
        ({"prime": "☃", "unknown": "unk"}, "no id for unknown characters"),
    ],
)
def test_a_mistake_shows_before_the_first_character(lstm, options, words):
    with pytest.raises(MinicharError, match=words):
        next(generate(lstm, **options))
    with pytest.raises(MinicharError, match=words):
        next(generate_many(lstm, 2, **options))


def test_no_samples(lstm):
    with pytest.raises(MinicharError, match="num-samples is 0"):
        next(generate_many(lstm, 0))


# The beginning


@pytest.mark.parametrize("prime", ["", "☃☃"])
def test_nothing_to_begin_with_is_a_line_break(lstm, prime):
    assert prime_ids(lstm.vocabulary, prime, "skip").tolist() == [lstm.vocabulary.characters.index("\n")]
    assert text_of(lstm, 50, prime, unknown="skip") == text_of(lstm, 50, "\n")


def test_without_a_line_break_the_first_character_is_drawn_evenly():
    model = toy_model("abcde", unknown=True)
    assert len(prime_ids(model.vocabulary, "")) == 0
    first = [text_of(model, 1, seed=seed) for seed in range(500)]
    assert set(first) == set("abcde")
    assert min(first.count(c) for c in "abcde") > 60


@pytest.mark.parametrize("unknown", ["skip", "unk"])
def test_characters_that_the_model_never_saw(unknown):
    model = toy_model("\n abcd", unknown=True)
    ids = prime_ids(model.vocabulary, "a☃b☃", unknown)
    assert ids.tolist() == ([2, 3] if unknown == "skip" else [2, 6, 3, 6])
    text = text_of(model, 30, "a☃b☃", unknown=unknown)
    assert (text == text_of(model, 30, "ab")) == (unknown == "skip")


# The unknown id


@pytest.mark.parametrize(
    "choice", [Choice(), Choice(1e300), Choice(1e-300), Choice(argmax=True), Choice(top_k=1)]
)
def test_the_unknown_id_is_never_written(choice):
    """Not even where it is by far the likeliest."""
    model = toy_model("\nab", unknown=True)
    model.parameters["readout.W"][3, -1] = 1000
    assert set(text_of(model, 400, choice=choice)) <= set("\nab")
    ids = islice(sample_ids(model, np.array([3]), choice, [np.random.default_rng(1)] * 3), 50)
    assert np.max(list(ids)) < 3


def test_masking_leaves_the_odds_of_the_others():
    plain, model = toy_model("\nab", num_layers=1), toy_model("\nab", unknown=True, num_layers=1)
    for name, view in model.parameters.items():
        view[...] = 0
        shape = plain.parameters[name].shape
        view[tuple(slice(n) for n in shape)] = plain.parameters[name]
    model.parameters["readout.W"][3, -1] = 50
    assert text_of(model, 300) == text_of(plain, 300)


def test_a_model_of_a_rare_character_never_writes_one(tmp_path):
    trainer = begin(
        toy_settings(tmp_path, "abc☃abc\n" * 2 + "abcabc\n" * 60, min_freq=3, max_epochs=1)
    ).trainer
    list(trainer.run())
    assert trainer.model.vocabulary == Vocabulary("\nabc", unknown=True)
    assert set(text_of(trainer.model, 500, choice=Choice(5.0))) == set("\nabc")


# Several texts


def test_several_texts_are_one_batch(lstm, monkeypatch):
    made = []
    network = CharRNN.network
    monkeypatch.setattr(CharRNN, "network", lambda self, T, B: (made.append((T, B)), network(self, T, B))[1])
    steps = list(generate_many(lstm, 5, 30))
    assert made == [(1, 5)]
    assert {len(step) for step in steps} == {5}
    texts = ["".join(pieces) for pieces in zip(*steps, strict=True)]
    assert {len(text) for text in texts} == {30}
    assert len(set(texts)) == 5


def test_a_text_does_not_depend_on_its_neighbours(model):
    few = ["".join(pieces) for pieces in zip(*generate_many(model, 2, 60, seed=9), strict=True)]
    many = ["".join(pieces) for pieces in zip(*generate_many(model, 4, 60, seed=9), strict=True)]
    assert many[:2] == few
    assert few[0] == text_of(model, 60, seed=9)


def test_one_of_many_exact_texts_is_the_text_alone():
    model = toy_model(rnn_size=33).exact()
    columns = list(zip(*generate_many(model, 5, length=200, seed=4), strict=True))
    assert "".join(columns[0]) == "".join(generate(model, length=200, seed=4))


def test_one_text_stops_and_the_others_go_on(lstm, monkeypatch):
    script = [lstm.vocabulary.encode(row) for row in ("aa", "bd", "cb", "dc", "aa")]
    with scripted(monkeypatch, script):
        steps = list(generate_many(lstm, 2, 5, stop=["bc"]))
    assert ["".join(pieces) for pieces in zip(*steps, strict=True)] == ["a", "ad"]
    assert len(steps) == 4  # the second text stops with the fourth character, and nobody is left


# Stop strings


def pushed(text, stops):
    """What `StopFilter` lets through of a text given to it character by character."""
    gate, out = StopFilter(stops), ""
    for read, character in enumerate(text, start=1):
        out += gate.push(character)
        if gate.stopped:
            return out
        # All that was read has come out or is held, and what is held may yet become a stop string.
        assert out + gate.held == text[:read]
        assert not gate.held or any(stop.startswith(gate.held) for stop in gate.stops)
    return out + gate.end()


@given(st.text("ab\n", max_size=30), st.text("ab\n", min_size=1, max_size=4))
@example("aab" * 3, "aabaabb")
@example("aaab", "aab")
@example("ababac", "abac")
@example("\n" * 9, "\n" * 5)
def test_a_text_ends_where_the_stop_string_begins(text, stop):
    assert pushed(text, [stop]) == text.split(stop)[0]


@given(st.text("abc", max_size=30), st.lists(st.text("abc", max_size=4), max_size=4))
@example("abc", ["bc", "abc"])
@example("abcd", ["abx", "bc"])
def test_the_first_stop_string_to_be_complete_ends_the_text(text, stops):
    stops = [stop for stop in stops if stop]
    for read in range(1, len(text) + 1):
        ends = [text[:read].removesuffix(stop) for stop in stops if text[:read].endswith(stop)]
        if ends:
            assert pushed(text, stops) in ends
            return
    assert pushed(text, stops) == text


def test_a_stop_string_is_no_pattern():
    assert pushed("abc", ["a.c", ".*", "[a]", "%a"]) == "abc"
    assert pushed("xa.cy", ["a.c"]) == "x"


def test_an_empty_stop_string_stops_nothing():
    assert pushed("abc", [""]) == "abc"


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=3), max_size=2))
def test_generated_text_ends_at_a_stop_string(text, stops):
    model = toy_model("\nab")
    with pytest.MonkeyPatch.context() as patch, scripted(patch, model.vocabulary.encode(text)[:, None]):
        assert text_of(model, len(text) or 1, stop=stops) == pushed(text, stops)


def test_what_was_held_back_comes_out_when_the_length_is_reached(lstm, monkeypatch):
    with scripted(monkeypatch, lstm.vocabulary.encode("abc\n\n\nd")[:, None]):
        assert list(generate(lstm, 6, stop=["\n" * 5])) == ["a", "b", "c", "", "", "", "\n\n\n"]


def test_nothing_is_made_after_the_stop(lstm, monkeypatch):
    def script():
        yield from lstm.vocabulary.encode("abcd")[:, None]
        raise AssertionError("asked for more")

    monkeypatch.setattr("minichar.sampling.generate.sample_ids", lambda *arguments: script())
    assert text_of(lstm, 100, stop=["cd"]) == "ab"
