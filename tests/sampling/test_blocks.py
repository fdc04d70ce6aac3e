"""Tests that a GPU samples the same ids as the CPU, and copies them to the host in blocks."""

from itertools import islice

import numpy as np
import pytest
from devices import open_device
from toys import generation, toy_model

from minichar import CharRNN, MinicharError
from minichar.devices.backend import Backend
from minichar.devices.cupy import CuPyBackend
from minichar.devices.graph import CudaGraph
from minichar.sampling.blocks import BLOCK, BlockSampler, block_lengths
from minichar.sampling.choice import Choice
from minichar.sampling.generate import generate, generate_many, sample_ids

CHOICES = [
    Choice(argmax=True),
    Choice(0.5),
    Choice(1.7),
    Choice(top_k=2),
    Choice(top_p=0.7),
    Choice(min_p=0.2),
    Choice(1.3, top_k=4, top_p=0.9),
]
LENGTH = 40
"""Long enough for several blocks, the last of which is cut off by the length limit."""


@pytest.fixture(params=["cupy-double", pytest.param("gpu", marks=pytest.mark.gpu)])
def gpu(request):
    return open_device(request.param)


def moved(model, backend):
    """Return a copy of a model on another device."""
    config, vocabulary, parameters = model.config, model.vocabulary, model.parameters
    there = CharRNN.new(config, vocabulary, 1, parameters.dtype, backend)
    there.parameters.flat[...] = backend.to_device(parameters.flat)
    there.details = model.details
    return there


def texts(model, n=3, seed=5, **others):
    """Return the texts of n samples, and the error that ended them, if any."""
    pieces = []
    try:
        for piece in generate_many(model, n, generation(LENGTH, seed=seed, **others)):
            pieces.append(piece)
        error = None
    except MinicharError as raised:
        error = str(raised)
    return ["".join(text) for text in zip(*pieces, strict=True)], error


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_text_is_the_same_as_on_the_cpu(choice, gpu):
    """There is no newline, so an empty prime starts with a uniform draw."""
    model = toy_model("abcde", unknown=True, seed=2)
    model.parameters["readout.W"][model.vocabulary.unknown_id, -1] = 50  # by far the most likely
    for prime in ("", "abcab"):
        here, there = (texts(one, prime=prime, choice=choice) for one in (model, moved(model, gpu)))
        assert there == here
        assert [len(text) for text in here[0]] == [LENGTH] * 3
        assert len(set(here[0][0])) > 1


@pytest.mark.parametrize(
    "config", [{"dtype": "float32"}, {"model": "gru-reset-before"}, {"embedding": 3}], ids=str
)
def test_every_kind_of_network_generates_the_same_text(config, gpu):
    model = toy_model(**config)
    for one in (model, model.exact()):
        assert texts(moved(one, gpu)) == texts(one)


@pytest.mark.parametrize("separator", ["a", "\nab"])
def test_streams_are_reset_at_separators(separator, gpu):
    """The prime "ab" alone does not complete the last separator, although a line break has id 0."""
    model = toy_model("\nab", scale=20.0, seed=2)
    without = texts(model, prime="ab\nab")
    model.details["settings"] = {"reset_on": separator}
    for prime in ("", "ab\nab", "ab"):
        assert texts(moved(model, gpu), prime=prime) == texts(model, prime=prime)
    assert texts(model, prime="ab\nab") != without


def test_an_error_follows_the_same_characters_as_on_the_cpu(gpu):
    """A character is chosen that another stream reaches before the first stream does, within a block."""
    model, choice = toy_model(), CHOICES[-1]
    before, _ = texts(model, choice=choice, seed=7)
    characters = set(model.vocabulary.characters) - {"\n"}  # the prime is a newline
    found = {c: [f"{text}{c}".find(c) for text in before] for c in sorted(characters)}
    last = next(c for c, (first, *others) in found.items() if 0 < min(others) < first)
    model.parameters["layer1.Wx"][:, model.vocabulary.encode(last)] = np.nan
    here = texts(model, choice=choice, seed=7)
    assert here[0] == [text[: min(found[last]) + 1] for text in before]
    assert "not finite" in here[1]
    assert texts(moved(model, gpu), choice=choice, seed=7) == here


@pytest.mark.parametrize("choice", [CHOICES[0], CHOICES[-1]], ids=str)
def test_logits_that_overflow_are_an_error(choice, gpu):
    model = toy_model()
    model.parameters["readout.W"][...] = 1e308
    found, error = texts(moved(model.exact(), gpu), choice=choice)
    assert found == []
    assert "not finite" in error


def test_blocks_double_up_to_the_limit_and_end_at_the_length():
    assert list(block_lengths(1)) == [1]
    assert list(block_lengths(300)) == [1, 2, 4, 8, 16, 32, 64, 64, 64, 45]


def test_without_a_limit_blocks_are_sampled_only_when_they_are_requested(gpu, count_copies):
    model = moved(toy_model(), gpu)
    pieces, copies = generate(model, generation(0)), count_copies(gpu)
    for requested, blocks in ((1, 1), (2, 2), (60, 6), (64, 7), (2, 8)):
        text = list(islice(pieces, requested))
        assert len(text) == requested
        assert copies["to_host"] == blocks


def test_each_block_needs_one_copy_in_each_direction_and_one_entry(gpu, count_copies, monkeypatch):
    model = moved(toy_model(), gpu)
    model.details["settings"] = {"reset_on": "ab"}
    pieces = generate_many(model, 3, generation(0))
    list(islice(pieces, 2 * BLOCK - 1))
    copies, entered, run = count_copies(gpu), [], CudaGraph.__call__
    monkeypatch.setattr(CudaGraph, "__call__", lambda step, n=1: (entered.append(n), run(step, n)))
    list(islice(pieces, 3 * BLOCK))
    assert copies == {"to_device": 3, "to_host": 3}
    assert entered == [BLOCK] * 3


@pytest.mark.parametrize(("choice", "reset_on"), [(CHOICES[0], ""), (CHOICES[-1], "ab")], ids=str)
def test_replayed_steps_sample_the_same_ids_as_unrecorded_steps(choice, reset_on, gpu, monkeypatch):
    model = moved(toy_model(unknown=True), gpu)
    model.details["settings"] = {"reset_on": reset_on}
    prime = model.vocabulary.encode("abcab")

    def ids():
        generators = [np.random.default_rng(i) for i in range(3)]
        return np.array(list(sample_ids(model, prime, choice, generators, LENGTH)))  # (LENGTH, 3)

    samplers, feed_prime = [], BlockSampler.feed_prime
    monkeypatch.setattr(
        BlockSampler, "feed_prime", lambda self, ids: (samplers.append(self), feed_prime(self, ids))
    )
    recorded = ids()
    monkeypatch.setattr(CuPyBackend, "recorded", Backend.recorded)
    np.testing.assert_array_equal(recorded, ids())
    assert None not in (samplers[0].step.graph, samplers[0].feed.graph)
