"""Tests that a model generates the same text on every device as on the CPU, with few host-device copies."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from toys import generation

from minichar.checkpoints.checkpoint import load, save
from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import generate
from minichar.text.vocabulary import Vocabulary
from minichar.training.transfer import copy_weights

VOCABULARY = Vocabulary(" abcdes")


@pytest.fixture
def models(device, generator, tmp_path):
    """Return two copies of a model with large weights, one on the CPU and one on the device."""
    config = Config(len(VOCABULARY), rnn_size=6, num_layers=2, dropout=0.4)
    here = CharRNN.new(config, VOCABULARY, 1, "float64")
    here.parameters.flat[...] = generator.uniform(-1, 1, here.parameters.size)
    save(tmp_path / "model.npz", here)
    return here, load(tmp_path / "model.npz", device)


@pytest.mark.parametrize("choice", [Choice(), Choice(0.7, top_k=3, top_p=0.9)])
def test_it_generates_the_same_text_on_every_device(models, choice):
    here, there = ("".join(generate(model, generation(20, "bad", choice, seed=5))) for model in models)
    assert len(here) == 20
    assert there == here


def test_each_character_needs_one_copy_in_each_direction_if_the_host_samples(models, device, count_copies):
    if device.kind == "gpu":
        pytest.skip("a GPU samples in blocks (tests/sampling/test_blocks.py)")
    pieces = generate(models[1], generation(10))
    list(islice(pieces, 4))
    copies = count_copies(device)
    next(pieces)
    assert copies == {"to_device": 1, "to_host": 1}


def test_weights_are_matched_to_a_new_vocabulary_on_the_device(models, device):
    found = []
    for old, backend in zip(models, (CPU, device), strict=True):
        new = CharRNN.new(replace(old.config, vocab_size=4), Vocabulary("bcdx"), 2, "float64", backend)
        copy_weights(old, new)
        found.append(backend.to_host(new.parameters.flat))
    np.testing.assert_array_equal(*found)
