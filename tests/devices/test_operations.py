"""The number of operations in a training step on a GPU, counted by the test double of CuPy.

The time of a small step on a GPU is the number of operations times their overhead, so each has a budget.
"""

import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from minichar.devices.choose import open_backend
from minichar.devices.random import ColumnsOf
from minichar.engine.config import Config
from minichar.engine.linear import as_columns
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

T, H, B, V = 50, 8, 5, 65
"""The counts depend on T, but not on H and B, which are small to save time."""


@pytest.fixture
def operations_of(fake_cupy, generator):
    """Return a function that counts, by kind, the operations of a two-layer network for one chunk."""
    fake_cupy()
    gpu = open_backend("gpu")

    def count(model, keep=None, settings=None, **changes):
        config = Config(V, model, H, 2, **changes)
        char_rnn = CharRNN.new(config, Vocabulary("".join(map(chr, range(33, 33 + V)))), 1, backend=gpu)
        step = TrainingStep(
            char_rnn, T, B, replace(settings or Settings(), learning_rate=8e-3, weight_decay=0.0)
        )
        inputs, targets = generator.integers(V, size=(2, T, B))
        step.learn(inputs, targets, gpu.uniform(1), keep)
        gpu.xp.device_.operations.clear()
        step.learn(inputs, targets, gpu.uniform(1), keep)
        return Counter(gpu.xp.device_.operations)

    return count


def test_a_gru_that_resets_before_the_product_has_two_stages(operations_of):
    assert sum(operations_of("gru-reset-before").values()) == 888


@pytest.mark.parametrize(("model", "budget"), [("lstm", 476), ("gru", 579), ("rnn", 474)])
def test_a_training_step_stays_within_its_budget(model, budget, operations_of):
    """A layer takes four operations per step: a product and a kernel forward, and the same backward.

    A GRU layer also needs a separate product for its input.
    """
    counts = operations_of(model)
    assert sum(counts.values()) == budget
    assert counts["fused kernel"] == 2 * 2 * T


def test_only_the_inputs_and_da_are_copied_for_a_product_once_per_chunk(operations_of, monkeypatch):
    """A product over all steps of a chunk needs them in one matrix. Other operands are used in place."""
    copied, operations = [], sys.modules["cupy"].device_.operations

    def counted(run):
        before = operations["copy"]
        columns = as_columns(run)
        copied.append((columns.shape, operations["copy"] - before))
        return columns

    monkeypatch.setattr("minichar.engine.linear.as_columns", counted)
    monkeypatch.setattr("minichar.engine.readout.as_columns", counted)
    operations_of("lstm")
    rows = [H + 1, 4 * H, 2 * H + 1, 4 * H, H + 1]  # s of the readout, da and s of layer 2, then of layer 1
    assert copied == 2 * [((G, T * B), 1) for G in rows], "for each of two chunks"


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        ({"dropout": 0.5}, 580),
        ({"keep": np.ones((T, B), bool)}, 1071),
        ({"settings": Settings(use_ss=True, start_ss=0.9)}, 1165),
        ({"layer_norm": True}, 2476),
    ],
    ids=["dropout", "resets", "scheduled sampling", "layer normalisation"],
)
def test_options_add_operations(options, budget, operations_of):
    assert sum(operations_of("lstm", **options).values()) == budget


def test_dropout_adds_one_kernel_per_layer_and_step_and_one_per_mask(operations_of):
    """The backward pass multiplies by the masks of all steps at once."""
    added = operations_of("lstm", dropout=0.5) - operations_of("lstm")
    assert added == {"fused kernel": 2 * T + 2, "kernel": 2}


def test_dropconnect_adds_one_kernel_per_mask_and_five_operations_to_apply_it(operations_of):
    """A layer copies its weights, and replaces the recurrent weights and their gradient with products."""
    added = operations_of("lstm", weight_drop=0.5) - operations_of("lstm")
    assert added == {"fused kernel": 2, "kernel": 2 * 2, "copy": 2 * 3}


def test_scheduled_sampling_draws_the_mask_and_the_random_numbers_with_one_kernel_each(operations_of):
    added = operations_of("lstm", settings=Settings(use_ss=True, start_ss=0.9)) - operations_of("lstm")
    assert added["fused kernel"] == 2


@pytest.mark.parametrize(("B", "copies"), [(4, 0), (3, 1)])
def test_with_several_processes_a_mask_takes_one_more_copy(B, copies, fake_cupy):
    """Each process draws a mask for all B sequences. A multiple of four numbers needs no further copy."""
    fake_cupy()
    gpu = open_backend("gpu")
    alone, shared = gpu.uniform(1), ColumnsOf(gpu.uniform(1), slice(1, 2), B, gpu.zeros)

    def operations(draw, *arguments):
        draw(*arguments)  # also creates the counters
        gpu.xp.device_.operations.clear()
        draw(*arguments)
        return sum(gpu.xp.device_.operations.values())

    for generator, n, taken in ((alone, B, 1), (shared, 1, 2)):
        assert operations(generator.drop, 0.5, 2.0, gpu.zeros((1, n), "float32")) == taken + copies
        assert operations(generator.bernoulli, 0.5, gpu.zeros((1, n), "bool")) == taken + copies
        assert operations(generator.fill, gpu.zeros((1, n), "float32")) == taken + copies
