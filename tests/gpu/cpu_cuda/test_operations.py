"""The number of operations in a training step on a GPU.

The time of a small step on a GPU is at least the longest chain of operations that need each other, times
their overhead, so each has a budget.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from gpu_verdict import CHAIN

from minichar.devices.backend import as_columns
from minichar.devices.cupy import ONEHOT
from minichar.devices.graph import WARM_UP
from minichar.devices.random import ColumnsOf
from minichar.devices.wavefront import BLOCK
from minichar.engine.config import Config
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

T, H, B, V = 50, 8, 5, 65
"""The counts depend on T, but not on H and B, which are small to save time."""


FUSED = ("lstm_", "gru_", "rnn_", "layer_", "philox_")
"""How the names of fused kernels and of the chunk kernel begin."""
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
def step_of(gpu, cuda, generator):
    """Return a function that trains a two-layer network.

    It returns the operations of a step, counted by kind, and the length of the longest chain in its graph.
    """

    def step_of(model, state_mask=None, settings=None, **changes):
        config = replace(Config(V, model, H, 2), **changes)
        char_rnn = CharRNN.new(config, Vocabulary("".join(map(chr, range(33, 33 + V)))), 1, backend=gpu)
        settings = replace(settings or Settings(), learning_rate=8e-3, weight_decay=0.0)
        step = TrainingStep(char_rnn, T, B, settings)
        step.set_rates(8e-3, settings.start_ss if settings.use_ss else 1.0)
        inputs, targets = generator.integers(V, size=(2, T, B))
        for _ in range(WARM_UP):
            cuda.operations()
            step.learn(inputs, targets, gpu.uniform(1), state_mask)
        counts = kinds(cuda.operations())
        step.learn(inputs, targets, gpu.uniform(1), state_mask)  # is captured
        return counts, cuda.last_graph()[1]

    return step_of


@pytest.mark.parametrize(
    ("model", "budget", "fused", "chain"),
    [
        ("lstm", 496, 4 * T, CHAIN),
        ("gru", 521, 4 * T, 256),
        ("rnn", 494, 4 * T, 253),
        ("gru-reset-before", 975, 8 * T, 470),  # has two stages
    ],
)
def test_a_training_step_stays_within_its_budget(model, budget, fused, chain, step_of):
    """A layer takes four operations per step: a product and a kernel forward, and the same backward.

    Layers run at the same time, so the chain contains those of one layer only.
    """
    counts, longest = step_of(model)
    assert (counts.total(), counts["fused kernel"], longest) == (budget, fused, chain)


def test_a_third_layer_makes_the_chain_longer_by_one_block_in_each_direction(step_of):
    block = 2 * BLOCK + 1  # a product and a kernel per step, and the product with x or the one that gives dx
    ends = 5  # the states at the end of the chunk are copied layer by layer
    assert step_of("lstm", num_layers=3)[1] == CHAIN + 2 * block + ends


@pytest.mark.parametrize(("model", "budget", "chain"), [("lstm", 58, 57), ("gru", 59, 58), ("rnn", 56, 55)])
def test_with_the_chunk_kernel_a_layer_takes_two_kernels_per_chunk(model, budget, chain, step_of, gpu):
    gpu.uses_chunk_kernel = True
    counts, longest = step_of(model, rnn_size=64)
    assert (counts.total(), counts["fused kernel"], longest) == (budget, 2 * 2, chain)


@pytest.mark.parametrize(
    ("model", "options", "budget", "chain"),
    [
        ("lstm", {"dropout": 0.5}, 698, 263),
        ("lstm", {"state_mask": np.ones((T, B), bool)}, 1091, 563),
        ("lstm", {"settings": Settings(use_ss=True, start_ss=0.9)}, 1160, 1037),
        ("lstm", {"layer_norm": True}, 696, 359),
        ("gru", {"layer_norm": True}, 721, 360),
        ("gru", {"layer_norm": True, "embedding": H, "tied": True}, 748, 363),  # for a short Chinese text
    ],
    ids=["dropout", "resets", "scheduled sampling", "normalisation", "two products", "tied"],
)
def test_options_add_operations(model, options, budget, chain, step_of):
    counts, longest = step_of(model, **options)
    assert (counts.total(), longest) == (budget, chain)


def test_dropconnect_adds_one_kernel_per_mask_and_five_operations_to_apply_it(step_of):
    """A layer copies its weights, and replaces the recurrent weights and their gradient with products."""
    added = step_of("lstm", weight_drop=0.5)[0] - step_of("lstm")[0]
    assert added == {"fused kernel": 2, "kernel": 2 * 2, "copy": 2 * 3}


def test_operands_are_not_copied(gpu, cuda):
    """A product over several steps needs them in one matrix."""
    steps = gpu.zeros_of_steps((T, H, B), "float32")
    cuda.operations()
    for run in (steps, steps[4:6], steps[:, 1:-1], steps[4:6, 2:]):
        assert as_columns(run).data.ptr == run.data.ptr
    assert not cuda.operations()


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


def test_sums_over_a_large_vocabulary_take_little_memory(gpu, cuda, generator):
    """With the sizes of a chunk of Chinese text, and a layer of 2 units."""
    N, V = 2500, 6934
    a, k = generator.normal(size=(2, N)).astype("float32"), generator.integers(V, size=N)
    k[:2] = V - 1, 0
    columns, ids, out = gpu.to_device(a), gpu.to_device(k), gpu.zeros((4, V), "float32") + 7.0
    gpu.xp.get_default_memory_pool().free_all_blocks()
    cuda.set(memory=cuda.used() + ONEHOT * 11 // 10)
    gpu.sum_columns(columns, ids, out[1:3])
    wanted = np.full((4, V), 7.0)
    wanted[1:3] = 0.0
    np.add.at(wanted[1:3].T, k, a.T)
    np.testing.assert_allclose(gpu.to_host(out), wanted, rtol=0, atol=1e-5)


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
        assert kinds(cuda.operations()) == {"product": blocks, "kernel": 2 * blocks}
