"""The number of operations in a training step on a GPU.

The time of a small step on a GPU is the number of operations times their overhead, so each has a budget.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from minichar.devices.cupy import ONEHOT
from minichar.devices.random import ColumnsOf
from minichar.engine.config import Config
from minichar.engine.linear import as_columns
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

T, H, B, V = 50, 8, 5, 65
"""The counts depend on T, but not on H and B, which are small to save time."""


FUSED = ("lstm_", "gru_", "rnn_", "dropout_", "philox_")
"""How the names of fused kernels begin."""
APART = ("event", "wait", "copy pinned to device")
"""What the counts leave out: the order of streams, and copies from the host."""


def kinds(launched):
    """Return the number of products, fused kernels, other kernels and copies."""
    counts = Counter()
    for kind, n in launched.items():
        name = kind.removeprefix("kernel ")
        if name.startswith(FUSED):
            kind = "fused kernel"
        elif name.startswith("cupy_copy__") or kind == "copy device to device":
            kind = "copy"
        elif name != kind:
            kind = "kernel"
        if kind not in APART:
            counts[kind] += n
    return counts


@pytest.fixture
def operations_of(gpu, cuda, generator):
    """Return a function that counts, by kind, the operations of a two-layer network for one chunk."""

    def count(model, keep=None, settings=None, **changes):
        config = Config(V, model, H, 2, **changes)
        char_rnn = CharRNN.new(config, Vocabulary("".join(map(chr, range(33, 33 + V)))), 1, backend=gpu)
        step = TrainingStep(
            char_rnn, T, B, replace(settings or Settings(), learning_rate=8e-3, weight_decay=0.0)
        )
        inputs, targets = generator.integers(V, size=(2, T, B))
        step.learn(inputs, targets, gpu.uniform(1), keep)
        cuda.operations()
        step.learn(inputs, targets, gpu.uniform(1), keep)
        return kinds(cuda.operations())

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


def test_only_the_inputs_and_da_are_copied_for_a_product_once_per_chunk(operations_of, cuda, monkeypatch):
    """A product over all steps of a chunk needs them in one matrix. Other operands are used in place."""
    copied = []

    def counted(run):
        cuda.operations()
        columns = as_columns(run)
        copied.append((columns.shape, sum(cuda.operations().values())))
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
def test_with_several_processes_a_mask_takes_one_more_copy(B, copies, gpu, cuda):
    """Each process draws a mask for all B sequences. A multiple of four numbers needs no further copy."""
    alone, shared = gpu.uniform(1), ColumnsOf(gpu.uniform(1), slice(1, 2), B, gpu.zeros)

    def operations(draw, *arguments):
        draw(*arguments)  # also creates the counters
        cuda.operations()
        draw(*arguments)
        return sum(kinds(cuda.operations()).values())

    for generator, n, taken in ((alone, B, 1), (shared, 1, 2)):
        assert operations(generator.drop, 0.5, 2.0, gpu.zeros((1, n), "float32")) == taken + copies
        assert operations(generator.bernoulli, 0.5, gpu.zeros((1, n), "bool")) == taken + copies
        assert operations(generator.fill, gpu.zeros((1, n), "float32")) == taken + copies


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_products_that_sum_columns_depends_on_the_sizes_only(dtype, gpu, cuda):
    """With the sizes of a chunk of Chinese text."""
    N = 2500
    columns, ids = gpu.zeros((2, N), dtype), gpu.to_device(np.zeros(N, "int64"))
    width = ONEHOT // (N * {"float32": 5, "float64": 9}[dtype])
    for V, blocks in ((65, 1), (width, 1), (width + 1, 2), (3 * width, 3)):
        out = gpu.zeros((2, V), dtype)
        cuda.operations()
        gpu.sum_columns(columns, ids, out)
        assert kinds(cuda.operations()) == {"product": blocks, "kernel": 2 * blocks, "copy": blocks}
