import re
from itertools import islice

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from toys import generation, scripted, toy_model

from minichar import MinicharError
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import (
    MAX_SAMPLES,
    STREAM,
    StopFilter,
    generate,
    generate_many,
    prime_ids,
    sample_ids,
)
from minichar.sampling.streams import BLOCK


@pytest.fixture
def model(cell):
    return toy_model(model=cell)


@pytest.fixture
def lstm():
    return toy_model()


def text_of(model, *arguments, **others):
    return "".join(generate(model, generation(*arguments, **others)))


# One sample


def test_generated_text_is_reproducible():
    """The text depends only on the weights, seed and options, not on the version or the machine."""
    model = toy_model("\n abcd", rnn_size=4)
    model.parameters.flat[...] = (7 * np.arange(model.parameters.size) % 31 - 15) / 8
    steps = generate_many(model.exact(), 2, generation(40, "ab", Choice(0.7, 5, 0.95), seed=5))
    assert ["".join(pieces) for pieces in zip(*steps, strict=True)] == [
        "bbcdabbababcbcdbaddbabcbccdcdbdddbbcdbcd",
        "dbbcbabbbb bcbddbbcddbabdbbabadbbcdddbdc",
    ]
    assert text_of(model.exact(), 40, "ab", Choice(1.5, min_p=0.2), seed=5) == (
        "bbcc bababbbbcdb ddb bcbcbdcdadddbacdbbd"
    )


def naive_text(model, prime, seed, n, temperature=1.0):
    """Generate each character by reprocessing the entire text from a zero state."""
    numbers = np.random.default_rng((seed, STREAM, 0)).random(BLOCK)
    text = prime
    for u in numbers[:n]:
        ids = model.vocabulary.encode(text).astype(int)[:, None]  # (T, 1)
        logits = model.network(len(ids), 1).forward(ids)[-1, :, 0]
        weights = np.exp((logits - logits.max()) / temperature)
        text += model.vocabulary.characters[int((np.cumsum(weights) / weights.sum() <= u).sum())]
    return text[len(prime) :]


def test_generated_text_equals_the_output_of_a_naive_sampler(model):
    expected = naive_text(model, "ab\n", seed=5, n=40, temperature=0.8)
    assert text_of(model, 40, "ab\n", seed=5, choice=Choice(0.8)) == expected


def test_generated_text_depends_only_on_the_seed(lstm):
    """A length of 0 means no limit."""
    text = text_of(lstm, BLOCK + 44, seed=7)
    assert len(text) == BLOCK + 44
    assert text == "".join(islice(generate(lstm, generation(0, seed=7)), 700))[: BLOCK + 44]
    assert text != text_of(lstm, BLOCK + 44, seed=8)


def test_argmax_selects_the_most_likely_character_for_every_seed(lstm):
    texts = {text_of(lstm, 50, "ab", Choice(argmax=True), seed=seed) for seed in (1, 2)}
    assert texts == {naive_text(lstm, "ab", 1, 50, temperature=1e-300)}


def test_text_is_generated_only_when_it_is_requested(lstm, monkeypatch):
    steps = []
    network = lstm.network(1, 1)
    step = network.step
    monkeypatch.setattr(network, "step", lambda t, ids: (steps.append(1), step(t, ids))[1])
    monkeypatch.setattr(CharRNN, "network", lambda self, T, B: network)
    pieces = generate(lstm, generation(0, "ab"))
    assert steps == []
    next(pieces)
    assert len(steps) == 2  # the prime
    next(pieces)
    assert len(steps) == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"length": -1}, "length is -1"),
        ({"length": 2.5}, "length is 2.5; it must be an integer"),
        ({"length": 10**30}, "length is 1000000000000000000000000000000; it must be below"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"seed": 1.5}, "seed is 1.5; it must be an integer"),
        ({"stop": ["a", 3]}, r"stop is \['a', 3\]; it must be a list of strings"),
        ({"stop": None}, "stop is None; it must be a list of strings"),
        ({"prime": b"a"}, "prime is b'a'; it must be text"),
        ({"prime": "aXbX☃"}, r"not in the vocabulary: 'X' \(U\+0058\) at positions 2, 4, '☃'"),
        ({"unknown": "guess"}, "unknown is 'guess'; it must be one of error, skip, unk"),
        ({"prime": "☃", "unknown": "unk"}, "no unknown token"),
    ],
)
def test_invalid_options_fail_before_the_first_character(lstm, wrong, words):
    with pytest.raises(MinicharError, match=words):
        generate(lstm, generation(**wrong))


@pytest.mark.parametrize("n", [0, MAX_SAMPLES + 1, ["a", "b"]])
def test_an_invalid_number_of_samples_is_rejected(lstm, n):
    with pytest.raises(MinicharError, match=f"num_samples is {re.escape(str(n))}; it must be"):
        generate_many(lstm, n, generation())


# The prime


def test_an_empty_prime_means_a_line_break_if_the_vocabulary_has_one(lstm):
    assert len(prime_ids(toy_model("abcde", unknown=True).vocabulary, "")) == 0
    for prime in ("", "☃☃"):
        assert text_of(lstm, 50, prime, unknown="skip") == text_of(lstm, 50, "\n")


def test_unknown_characters_in_the_prime_are_skipped_or_encoded_as_unknown():
    model = toy_model("\n abcd", unknown=True)
    for unknown, ids in (("skip", [2, 3]), ("unk", [2, 6, 3, 6])):
        assert prime_ids(model.vocabulary, "a☃b☃", unknown).tolist() == ids
        text = text_of(model, 30, "a☃b☃", unknown=unknown)
        assert (text == text_of(model, 30, "ab")) == (unknown == "skip")


# The unknown token


def test_the_unknown_id_is_never_generated_and_does_not_change_the_other_probabilities():
    """Its logit is by far the largest."""
    plain, model = toy_model("\nab", num_layers=1), toy_model("\nab", unknown=True, num_layers=1)
    for name, view in model.parameters.items():
        view[...] = 0
        shape = plain.parameters[name].shape
        view[tuple(slice(n) for n in shape)] = plain.parameters[name]
    model.parameters["readout.W"][3, -1] = 1000
    for choice in (Choice(), Choice(1e300), Choice(1e-300), Choice(argmax=True), Choice(top_k=1)):
        assert text_of(model, 100, choice=choice) == text_of(plain, 100, choice=choice)
        ids = islice(sample_ids(model, np.array([3]), choice, [np.random.default_rng(1)] * 3), 50)
        assert np.max(list(ids)) < 3


# Several samples


def test_samples_are_generated_in_one_batch_and_do_not_depend_on_their_number(lstm, monkeypatch):
    made, network = [], CharRNN.network
    monkeypatch.setattr(CharRNN, "network", lambda self, T, B: (made.append((T, B)), network(self, T, B))[1])
    few, many = (
        ["".join(pieces) for pieces in zip(*generate_many(lstm, n, generation(60, seed=9)), strict=True)]
        for n in (2, 5)
    )
    assert made == [(1, 2), (1, 5)]
    assert {len(text) for text in many} == {60}
    assert len(set(many)) == 5
    assert [*many[:2], many[0]] == [*few, text_of(lstm, 60, seed=9)]


def test_one_sample_stops_while_the_others_continue(lstm, monkeypatch):
    script = [lstm.vocabulary.encode(row) for row in ("aa", "bd", "cb", "dc", "aa")]
    with scripted(monkeypatch, script):
        steps = list(generate_many(lstm, 2, generation(5, stop=["bc"])))
    assert ["".join(pieces) for pieces in zip(*steps, strict=True)] == ["a", "ad"]
    assert len(steps) == 4  # the second sample stops at the fourth character


# Stop strings


def pushed(text, stops):
    """Return the output of `StopFilter` for `text`, pushed one character at a time."""
    gate, out = StopFilter(stops), ""
    for read, character in enumerate(text, start=1):
        out += gate.push(character)
        if gate.stopped:
            return out
        # Every character was either returned or buffered, and the buffer is a prefix of a stop string.
        assert out + gate.held == text[:read]
        assert not gate.held or any(stop.startswith(gate.held) for stop in gate.stops)
    return out + gate.end()


@given(st.text("abc", max_size=30), st.lists(st.text("abc", max_size=4), max_size=4))
@example("abc", [""])
@example("aab" * 3, ["aabaabb"])
@example("aaab", ["aab"])
@example("ababac", ["abac"])
@example("\n" * 9, ["\n" * 5])
@example("abc", ["bc", "abc"])
@example("bca", ["ca", "bca"])
@example("cab", ["ab", "cab"])
@example("abcd", ["abx", "bc"])
def test_the_first_complete_stop_string_ends_the_text(text, stops):
    for read in range(1, len(text) + 1):
        ends = [text[:read].removesuffix(stop) for stop in stops if stop and text[:read].endswith(stop)]
        if ends:
            assert pushed(text, stops) == min(ends, key=len)
            return
    assert pushed(text, stops) == text


def test_buffered_text_is_returned_when_the_length_is_reached(lstm, monkeypatch):
    with scripted(monkeypatch, lstm.vocabulary.encode("abc\n\n\nd")[:, None]):
        assert list(generate(lstm, generation(6, stop=["\n" * 5]))) == ["a", "b", "c", "", "", "", "\n\n\n"]


def test_nothing_is_generated_after_the_stop(lstm, monkeypatch):
    def script():
        yield from lstm.vocabulary.encode("abcd")[:, None]
        raise AssertionError("generation continued")

    monkeypatch.setattr("minichar.sampling.generate.sample_ids", lambda *arguments: script())
    assert text_of(lstm, 100, stop=["cd"]) == "ab"
