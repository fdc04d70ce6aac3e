"""Networks that use the chunk kernel have the losses and gradients of the CPU, in both orders of threads."""

import re
from dataclasses import replace

import cupy
import gpu_checks
import numpy as np
import pytest
from bench_minichar import vocabulary
from bench_work import Work

from cpu_cuda import compiler
from minichar.devices import chunk_kernel
from minichar.devices.chunk_kernel import CLUSTERS, KERNELS, ChunkKernel, Shape
from minichar.devices.cpu import CPU
from minichar.devices.philox import Philox, PhiloxUniform
from minichar.model import CharRNN

LAYER = (chunk_kernel.FOLDER / "layer.cu").read_text()
SYNCHRONISATION = re.compile(r"^ +(sync_cluster|__syncthreads)\(\);\n", re.MULTILINE)
SYNCHRONISATIONS = [found.span() for found in SYNCHRONISATION.finditer(LAYER)]
"""Where the kernels synchronise threads."""


def test_the_steps_of_a_row_must_be_adjacent(gpu):
    kernel = ChunkKernel(cupy, 0, Shape("rnn", 64), 3, 2)
    W, a = gpu.zeros((64, 65), "float32"), gpu.zeros((3, 64, 2), "float32")
    with pytest.raises(ValueError, match="not adjacent"):
        kernel.forward(W, 65, a)


@pytest.fixture
def gpu(gpu):
    gpu.uses_chunk_kernel = True
    return gpu


WORK = Work(rnn_size=64, seq_length=7, batch_size=5, device="gpu", vocab_size=20)
OPTIONS = {
    "ids": {},
    "embedding": {"embedding": 6},
    "tied": {"tied": True, "embedding": 64},
    "masks": {"dropout": 0.4, "weight_drop": 0.4},
    "masks of an embedding": {"dropout": 0.4, "weight_drop": 0.4, "embedding": 6},
}


class OneByOne:
    """A feed whose characters become known one at a time."""

    def __init__(self, ids):
        self.ids = ids

    def __call__(self, t, look):
        return self.ids[t]


def new_network(backend, work, dtype="float32", **options):
    """Return a new network with random weights, large enough for every gate to matter."""
    config = replace(work.config(), **options)
    model = CharRNN.new(config, vocabulary(work.vocab_size), 1, dtype, backend)
    model.parameters.flat[...] *= 2.0
    return model.network(work.seq_length, work.batch_size)


def results(backend, work, feed=lambda ids: ids, state_mask=None, **options):
    """Return the losses of two chunks, the gradient of the second one, the state after it, and the layers."""
    network, generator = new_network(backend, work, **options), PhiloxUniform((1,), Philox(backend))
    ids, losses = backend.to_device(work.ids()), []  # (T+1, B)
    for _ in range(2):
        network.set_state_mask(state_mask)
        network.draw_masks(generator)
        losses.append(float(backend.to_host(network.loss_and_gradient(feed(ids[:-1]), ids[1:]))))
        network.carry()
    parts = network.wavefront.parts if network.wavefront else []
    return losses, backend.to_host(network.gradient.flat), backend.to_host(network.state), parts


def compare(gpu, work, **changes):
    """Compare a network that uses the kernel with one on the CPU in float64, and return its layers."""
    wanted, found = results(CPU, work, dtype="float64", **changes), results(gpu, work, **changes)
    for one, other in zip(found[:3], wanted[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    return found[3]


@pytest.mark.usefixtures("first_thread")
@pytest.mark.parametrize(("H", "T", "B"), [(64, 5, 3), (128, 4, 7), (256, 5, 3)])
@pytest.mark.parametrize("model", KERNELS)
def test_each_cell_and_size_in_both_orders_of_the_threads(model, H, T, B, gpu):
    assert H in CLUSTERS
    layers = compare(gpu, Work("train", "minichar", model, H, 1, 20, T, B, device="gpu"))
    assert layers[0].in_kernel


@pytest.mark.parametrize("span", SYNCHRONISATIONS)
def test_a_missing_synchronisation_is_found_in_one_order_of_the_threads(span, gpu, cuda, monkeypatch):
    assert len(SYNCHRONISATIONS) == 6
    right, wrong = chunk_kernel.source("lstm"), LAYER[: span[0]] + LAYER[span[1] :]
    monkeypatch.setattr(chunk_kernel, "source", lambda name: right.replace(LAYER, wrong))
    monkeypatch.setattr(chunk_kernel, "compiled", chunk_kernel.compiled.__wrapped__)
    monkeypatch.setattr(compiler, "keep", lambda *args: None)  # NVRTC need not compile it
    work, found = Work("train", "minichar", "lstm", 256, 1, 20, 4, 3, device="gpu"), []
    for backwards in (0, 1):
        cuda.set(backwards=backwards)
        try:
            compare(gpu, work)
        except AssertionError as error:
            found.append("Not equal to tolerance" in str(error))
    assert any(found)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("model", KERNELS)
def test_a_network_has_the_losses_and_gradients_of_the_cpu(model, options, gpu):
    layers = compare(gpu, replace(WORK, model=model), **OPTIONS[options])
    assert [layer.in_kernel for layer in layers] == [True, True]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("H", CLUSTERS)
def test_a_captured_step_has_the_losses_of_the_cpu(H, gpu):
    work = replace(WORK, rnn_size=H)
    wanted, _ = gpu_checks.training_losses(CPU, work, 4)
    found, step = gpu_checks.training_losses(gpu, work, 4)  # the third step is captured
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert gpu_checks.is_captured(step.parts[0])
    assert [layer.in_kernel for layer in step.network.wavefront.parts] == [True, True]


def test_steps_with_resets_or_given_one_at_a_time_run_without_the_kernel(gpu, generator):
    state_mask = generator.random((WORK.seq_length, WORK.batch_size)) < 0.7
    for changes in ({"state_mask": state_mask}, {"feed": OneByOne}):
        assert [layer.in_kernel for layer in compare(gpu, WORK, **changes)] == [False, False]


def test_evaluation_uses_the_kernel(gpu):
    losses = []
    for backend in (CPU, gpu):
        network, ids = new_network(backend, WORK), backend.to_device(WORK.ids())
        losses.append(float(backend.to_host(network.measure(ids[:-1], ids[1:]))))
    assert network.wavefront.parts[0].in_kernel
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"rnn_size": 96}, {}),
        ({"model": "gru-reset-before"}, {}),
        ({"seq_length": 1}, {}),
        ({}, {"layer_norm": True}),
        ({}, {"dtype": "float64"}),
    ],
    ids=str,
)
def test_other_layers_have_no_kernel(change, options, gpu):
    assert not new_network(gpu, replace(WORK, **change), **options).uses_kernel
    gpu.uses_chunk_kernel = False  # as by default
    assert not new_network(gpu, WORK).uses_kernel


@pytest.mark.parametrize(
    ("major", "shared", "sizes"),
    [(7, 96, [64, 128]), (7, 64, [64]), (8, 99, [64, 128]), (12, 99, [64, 128, 256])],
)
def test_a_gpu_needs_shared_memory_and_clusters(major, shared, sizes, gpu, monkeypatch):
    """The sizes of shared memory, in KiB, are those of Volta, Turing, Ada and Blackwell."""
    known = {chunk_kernel.MAJOR_CAPABILITY: major, chunk_kernel.SHARED_LIMIT: shared << 10}
    monkeypatch.setattr(cupy.cuda.runtime, "deviceGetAttribute", lambda attribute, index: known[attribute])
    used = [new_network(gpu, replace(WORK, rnn_size=H)).uses_kernel for H in CLUSTERS]
    assert [H for H, uses in zip(CLUSTERS, used, strict=True) if uses] == sizes
