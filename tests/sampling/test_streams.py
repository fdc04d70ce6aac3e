from itertools import islice

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from toys import generation, toy_model

from minichar import CharRNN, MinicharError, Vocabulary
from minichar.engine.config import Config
from minichar.sampling.choice import Choice
from minichar.sampling.generate import STREAM, generate, prime_ids
from minichar.sampling.streams import BLOCK, Stream, Streams, choose, uniform_numbers

MODEL = toy_model(dtype="float32", rnn_size=33).exact()
RESET = toy_model("\nab", rnn_size=9, scale=20.0).exact()
RESET.details["settings"] = {"reset_on": "ab"}
CHOICES = [
    Choice(),
    Choice(0.5),
    Choice(2.0, top_k=3),
    Choice(top_p=0.7),
    Choice(min_p=0.2),
    Choice(argmax=True),
]


def stream(model, prime="", seed=1, choice=Choice(), given=None):
    ids = prime_ids(model.vocabulary, prime, reset_on=model.reset_on)
    return Stream(ids, choice, np.random.default_rng((seed, STREAM, 0)), given)


def alone(model, n, prime="", seed=1, choice=Choice()):
    return "".join(generate(model, generation(n, prime, choice, seed=seed))) if n else ""


def test_random_numbers_continue_across_blocks():
    numbers = islice(uniform_numbers(np.random.default_rng(1)), n := 2 * BLOCK + 3)
    assert list(numbers) == np.random.default_rng(1).random(n).tolist()


class Batch:
    """Batch of streams, with the text that each has generated so far."""

    def __init__(self, model):
        self.model, self.streams, self.texts = model, Streams(model), {}

    def join(self, **options):
        one = stream(self.model, **options)
        self.texts[one] = ("", options)
        self.streams.join(one)

    def step(self):
        for one, k in zip(*self.streams.step()[:2], strict=True):
            text, options = self.texts[one]
            self.texts[one] = text + self.model.vocabulary.characters[k], options

    def check(self):
        for text, options in self.texts.values():
            assert text == alone(self.model, len(text), **options)


visit = st.fixed_dictionaries(
    {"prime": st.text("ab\n", max_size=5), "seed": st.integers(0, 9), "choice": st.sampled_from(CHOICES)}
)
FIRST, SECOND = ({"prime": "ba", "seed": seed, "choice": Choice()} for seed in (1, 2))
event = st.one_of(visit, visit, st.integers(0, 40), st.just("steps"), st.just("steps"))


@settings(max_examples=30)
@given(st.sampled_from([MODEL, RESET]), st.lists(event, max_size=40))
@example(MODEL, [FIRST, "steps", SECOND, "steps", 0, *["steps"] * 6])  # SECOND moves to the first column
def test_a_stream_does_not_depend_on_other_streams(model, events):
    batch = Batch(model)
    for happens in events:
        present = batch.streams.streams
        if isinstance(happens, dict):
            batch.join(**happens)
        elif happens == "steps":
            for _ in range(7):
                batch.step()
        elif present:
            batch.streams.leave(present[happens % len(present)])
    batch.check()


def test_each_stream_is_sampled_with_its_own_options(generator):
    """Streams that differ only in temperature are sampled together."""
    limits = ({}, {"top_k": 3}, {"top_p": 0.8}, {"argmax": True})
    choices = [Choice(t, **limit) for t in (0.1, 1.0, 9.0) for limit in limits] * 5
    scores = generator.normal(size=(len(MODEL.vocabulary), len(choices)))  # (V, n)

    def streams():
        return [stream(MODEL, seed=seed, choice=choice) for seed, choice in enumerate(choices)]

    expected = [choose([one], scores[:, [b]])[0] for b, one in enumerate(streams())]
    assert choose(streams(), scores) == expected


def test_streams_in_a_large_batch_equal_single_streams(cell):
    """BLAS uses different kernels for different batch sizes, so the logits of inexact models would differ."""
    vocabulary = Vocabulary("\n " + "".join(map(chr, range(97, 123))))
    model = CharRNN.new(Config(len(vocabulary), rnn_size=128, num_layers=2, model=cell), vocabulary, seed=1)
    model.parameters.flat[...] *= 8
    model, n = model.exact(), 24
    batch = Streams(model)
    for seed in range(n):
        batch.join(stream(model, seed=seed))
        *_, scores = batch.step()  # (V, seed + 1)
    for seed in range(n):
        single = Streams(model)
        single.join(stream(model, seed=seed))
        for _ in range(n - seed):
            *_, expected = single.step()  # (V, 1)
        np.testing.assert_array_equal(scores[:, seed : seed + 1], expected)


def test_streams_in_a_batch_on_a_device_equal_single_streams(device):
    model = CharRNN.new(MODEL.config, MODEL.vocabulary, 1, backend=device)
    model.parameters.flat[...] *= 8
    batch = Batch(model.exact())
    for i in range(5):
        batch.join(seed=i, prime="ab")
    for _ in range(10):
        batch.step()
    batch.check()


def test_a_stream_is_moved_between_the_characters_of_a_separator():
    batches = [Batch(RESET), Batch(RESET)]
    batches[0].join(seed=1, prime="b")
    batches[1].join(seed=2, prime="aba")
    (one,) = batches[0].streams.streams
    for _ in range(200):
        here, there = batches
        here.step()
        here.streams.move(one, there.streams)
        there.texts[one] = here.texts.pop(one)
        batches.reverse()
    for batch in batches:
        batch.check()
    assert batches[0].texts[one][0].count("ab") > 5


def test_the_number_of_columns_grows_and_shrinks():
    streams, many = Streams(MODEL), [stream(MODEL) for _ in range(20)]
    for change, expected in (
        (streams.join, [1, 2, 4, 4] + [8] * 4 + [16] * 8 + [32] * 4),
        (streams.leave, [32] * 11 + [16] * 4 + [8] * 2 + [4] + [2] * 2),
    ):
        assert [(change(one), streams.network.B)[1] for one in many] == expected
    assert streams.streams == []


def test_a_bias_is_added_to_the_logits_of_its_stream_only():
    def generated_with(bias):
        one, other = stream(MODEL, "ab", 1), stream(MODEL, "ab", 2)
        one.bias, streams, text = bias, Streams(MODEL), ""
        for each in (one, other):
            streams.join(each)
        for _ in range(30):
            found, ids, scores = streams.step()
            if len(found) == 2:
                text += MODEL.vocabulary.characters[ids[1]]
                assert (scores < 100).all()
        return text, one

    assert generated_with({0: 1e3})[0] == generated_with({})[0] == alone(MODEL, 29, "ab", seed=2)[:29]


def test_a_given_character_replaces_the_sampled_character():
    """After a given character, generation continues as if it had been sampled."""
    text = alone(MODEL, 30, "ab", seed=3)

    def generated_with(given):
        streams, text = Streams(MODEL), ""
        streams.join(stream(MODEL, "ab", 3, given=given))
        while len(text) < 30:
            text += "".join(MODEL.vocabulary.characters[k] for k in streams.step()[1])
        return text

    assert generated_with({}) == text
    changed = generated_with({10: MODEL.vocabulary.encode("d")[0]})
    assert changed[:11] == text[:10] + "d"
    assert changed != text
    assert generated_with(dict(enumerate(MODEL.vocabulary.encode(changed[:20])))) == changed


def test_without_a_prime_the_first_character_is_drawn_uniformly():
    """Generation continues as if the drawn character had been the prime."""
    model = toy_model("abcde", unknown=True)
    streams = Streams(model)
    for seed in (1, 2):
        streams.join(Stream([], Choice(argmax=seed == 2), np.random.default_rng(seed)))
    _, first, scores = streams.step()
    assert scores.tolist() == [[0, 0]] * 5 + [[-np.inf] * 2]
    _, second, scores = streams.step()
    assert scores[:, 1].argmax() == second[1]
    for b in range(2):
        primed = Streams(model)
        primed.join(Stream(first[b : b + 1], Choice(), np.random.default_rng(1)))
        np.testing.assert_allclose(scores[:, b], primed.step()[2][:, 0], rtol=1e-12)


def test_logits_that_are_not_finite_are_an_error():
    model = toy_model()
    model.parameters["readout.W"][...] = 1e308
    streams = Streams(model.exact())
    streams.join(stream(model))
    with pytest.raises(MinicharError, match="not finite"):
        streams.step()
