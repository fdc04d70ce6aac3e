"""Tests that each document starts from a zero state in the streams of a model trained with ``reset_on``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import generation, toy_model

from minichar import MinicharError
from minichar.api.model import Model
from minichar.sampling.choice import Choice
from minichar.sampling.generate import generate, generate_many
from minichar.sampling.streams import Stream, Streams


def model_of(separator, **config):
    model = toy_model("\nab", scale=40.0, **config)
    model.details["settings"] = {"reset_on": separator}
    return model


def scores_of(model, text):
    """Return the scores after each character of `text`, which may be part of the prime or generated."""
    ids = model.vocabulary.encode(text)
    streams, found = Streams(model), []
    streams.join(Stream(ids[:1], Choice(), np.random.default_rng(1), dict(enumerate(ids[1:].tolist()))))
    for _ in ids:
        found.append(streams.step()[2][:, 0])
    streams = Streams(model)
    streams.join(Stream(ids, Choice(), np.random.default_rng(1)))
    *rest, primed = (streams.step()[2] for _ in ids)
    assert not any(scores.size for scores in rest)
    np.testing.assert_array_equal(primed[:, 0], found[-1])
    return np.array(found)  # (N, V)


@pytest.mark.parametrize("separator", ["\n", "aba"])
def test_the_second_document_has_the_distributions_of_a_fresh_stream(separator, cell):
    model = model_of(separator, model=cell)
    document = "aa\nbaa"
    start = separator[-1] + document
    scores = scores_of(model, "ab" + separator + document)
    fresh = scores_of(model, start)
    np.testing.assert_array_equal(scores[-len(start) :], fresh)
    plain = scores_of(toy_model("\nab", scale=40.0, model=cell), "ab" + separator + document)
    assert (plain[-len(document) :] != fresh[-len(document) :]).any()


@settings(max_examples=30)
@given(st.text("\nab", min_size=2, max_size=12), st.sampled_from(["a", "ab", "aba", "bb"]))
def test_streams_reset_exactly_where_training_does(text, separator):
    """Compare with `surprisal`, which finds separators as training does. Occurrences can overlap."""
    model = model_of(separator)
    scores = scores_of(model, text)  # (N, V)
    log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    targets = model.vocabulary.encode(text)[1:].astype(int)
    surprisal = Model(**vars(model)).surprisal(text)
    np.testing.assert_allclose(surprisal[1:], -log_p[np.arange(len(targets)), targets], rtol=1e-9)


@pytest.mark.parametrize("separator", ["a", "ab\n"])
def test_without_a_prime_generation_starts_at_the_beginning_of_a_document(separator):
    model = model_of(separator)
    text = "".join(generate(model, generation(50)))
    assert text == "".join(generate(model, generation(50, "bba" + separator)))
    assert text == "".join(generate(model, generation(50, separator[-1])))
    assert text == "".join(pieces[0] for pieces in generate_many(model, 2, generation(50)))


def test_a_corrupted_or_missing_setting():
    model = toy_model("\nab", scale=40.0)
    text = "".join(generate(model, generation(50)))
    for separator in (5, None, "☃", "\ud800"):
        model.details["settings"] = {"reset_on": separator}
        with pytest.raises(MinicharError, match=r"^reset_on is [^\n]*$"):
            next(generate(model, generation()))
    for missing in ({}, [], None, "reset_on"):
        model.details["settings"] = missing
        assert "".join(generate(model, generation(50))) == text
