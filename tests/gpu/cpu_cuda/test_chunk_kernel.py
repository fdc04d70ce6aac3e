"""The chunk kernel computes what the functions of the cells compute, in both orders of the threads.

Networks that use it have the losses and gradients of the CPU.
"""

import re
from dataclasses import replace

import cupy
import gpu_checks
import numpy as np
import pytest

from cpu_cuda import compiler
from minichar.bench.ours import vocabulary
from minichar.bench.work import Work
from minichar.devices import chunk_kernel
from minichar.devices.chunk_kernel import CLUSTERS, KERNELS, ChunkKernel, Shape
from minichar.devices.cpu import CPU
from minichar.devices.philox import Philox, PhiloxUniform
from minichar.engine.registry import CELLS
from minichar.model import CharRNN

LAYER = (chunk_kernel.FOLDER / "layer.cu").read_text()
SYNCHRONISATION = re.compile(r"^ +(sync_cluster|__syncthreads)\(\);\n", re.MULTILINE)
SYNCHRONISATIONS = [found.span() for found in SYNCHRONISATION.finditer(LAYER)]
"""Where the kernels synchronise threads."""
LIMIT = 2e-6


class Chunk:
    """Random weights and data for one layer, and the results of the cell's functions in float64.

    All values can be represented in float32, so only the kernel rounds.

    Attributes
    ----------
    W (gates · H, H+1), a (T, gates · H, B), states (T+1, S, H, B), du, da (T, gates · H, B), dstate (H, B)
        See `ChunkKernel`. The last element of `dstate` is the gradient before the first step.
    """

    def __init__(self, name, H, T, B, generator):
        def normal(*shape, scale=1.0):
            return (scale * generator.normal(size=shape)).astype("float32").astype("float64")

        self.name, self.H, self.T, self.B, self.cell = name, H, T, B, CELLS[name]
        G = KERNELS[name].gates * H
        self.W = normal(G, H + 1, scale=H**-0.5)
        self.a, self.dh_above = normal(T, G, B), normal(T, H, B)
        self.dstate = [normal(H, B)]
        self.states = [normal(len(self.cell.states), H, B)]
        self.forward()
        self.backward()

    def forward(self):
        (stage,), self.caches = self.cell.stages, []
        for a_t in self.a:
            h, *others = self.states[-1]
            u = self.W[:, :-1] @ h + self.W[:, -1:]
            products = (u, a_t) if len(stage.products) == 2 else (u + a_t,)
            blocks = [product.reshape(-1, *h.shape) for product in products]
            passed = [h, *others] if self.cell.takes_h_prev else others
            *new, cache = stage.forward(np, *blocks, *passed)
            self.states.append(np.stack(new))
            self.caches.append(cache)

    def backward(self):
        (stage,), self.du, self.da = self.cell.stages, [], []
        dh, number = 0.0, len(stage.products)
        for dh_above, cache in zip(self.dh_above[::-1], self.caches[::-1], strict=True):
            dh = dh + dh_above + (self.dstate[-1] if self.cell.takes_h_prev else 0.0)
            dothers = self.dstate[-1:] if len(self.cell.states) == 2 else []
            gradients = stage.backward(np, dh, *dothers, cache)
            du, da = np.concatenate(gradients[0]), np.concatenate(gradients[number - 1])
            self.du.insert(0, du)
            self.da.insert(0, da)
            self.dstate += gradients[number:]
            dh = self.W[:, :-1].T @ du

    def differences(self):
        """Return the differences to the results of the kernel."""
        W = cupy.asarray(self.W, "float32")
        a, dh_above = of_steps(self.a), of_steps(self.dh_above)
        kernel = ChunkKernel(cupy, 0, Shape(self.name, self.H), self.T, self.B)
        kernel.states[...], kernel.states[0] = np.nan, cupy.asarray(self.states[0])
        kernel.dstate[...] = cupy.asarray(self.dstate[0])
        du, da = (of_steps(np.full(self.a.shape, np.nan, "float32")) for _ in range(2))
        kernel.forward(W, self.H + 1, a)
        kernel.backward(W, dh_above, du, da)
        pairs = [(kernel.states, self.states), (du, self.du), (kernel.dstate, self.dstate[-1])]
        if KERNELS[self.name].products == 2:
            pairs.append((da, self.da))
        return [np.abs(cupy.asnumpy(found) - np.array(wanted)).max() for found, wanted in pairs]


def of_steps(array):
    """Copy an array ``(T, K, B)`` to the GPU in float32, with adjacent steps."""
    return cupy.asarray(np.ascontiguousarray(array.transpose(1, 0, 2), "float32")).transpose(1, 0, 2)


def agree(differences):
    return all(difference < LIMIT for difference in differences)  # false for NaN


@pytest.mark.usefixtures("first_thread")
@pytest.mark.parametrize(("T", "B"), [(1, 1), (5, 3), (4, 7)])
@pytest.mark.parametrize("H", CLUSTERS)
@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_computes_what_the_functions_of_the_cell_compute(name, H, T, B, generator):
    differences = Chunk(name, H, T, B, generator).differences()
    assert agree(differences), differences


def test_the_bias_is_used_only_if_it_is_not_in_the_other_product(generator):
    chunk = Chunk("lstm", 64, 3, 2, generator)
    kernel = ChunkKernel(cupy, 0, Shape("lstm", 64), 3, 2)
    kernel.states[0] = cupy.asarray(chunk.states[0])
    kernel.forward(cupy.asarray(chunk.W, "float32"), 64, of_steps(chunk.a + chunk.W[:, -1:]))
    np.testing.assert_allclose(cupy.asnumpy(kernel.states), chunk.states, atol=LIMIT)


def test_the_steps_of_a_row_must_be_adjacent(gpu):
    kernel = ChunkKernel(cupy, 0, Shape("rnn", 64), 3, 2)
    W, a = gpu.zeros((64, 65), "float32"), gpu.zeros((3, 64, 2), "float32")
    with pytest.raises(ValueError, match="not adjacent"):
        kernel.forward(W, 65, a)
    da, others = (gpu.zeros_of_steps((T, 64, 2), "float32")[:3] for T in (3, 4))
    with pytest.raises(ValueError, match="distances between rows differ"):
        kernel.backward(W, da, da, others)


def broken_differences(source, name, H, generator, cuda, monkeypatch):
    """Return the differences of a changed ``layer.cu`` in both orders of the threads."""
    right = chunk_kernel.source(name)
    monkeypatch.setattr(chunk_kernel, "source", lambda name: right.replace(LAYER, source))
    monkeypatch.setattr(chunk_kernel, "compiled", chunk_kernel.compiled.__wrapped__)
    monkeypatch.setattr(compiler, "keep", lambda *args: None)  # NVRTC need not compile it
    chunk = Chunk(name, H, 4, 3, generator)
    for backwards in (0, 1):
        cuda.set(backwards=backwards)
        yield chunk.differences()


@pytest.mark.parametrize("span", SYNCHRONISATIONS)
def test_a_missing_synchronisation_is_found(span, generator, cuda, monkeypatch):
    assert len(SYNCHRONISATIONS) == 6
    source = LAYER[: span[0]] + LAYER[span[1] :]
    found = broken_differences(source, "lstm", 256, generator, cuda, monkeypatch)
    assert not all(map(agree, found))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    sync_cluster();", "    __syncthreads();"),
        ("v[t % 2]", "v[0]"),
        ("for (int rank = 0; rank < C; rank++) *in_block", "for (int rank = 0; rank < 1; rank++) *in_block"),
    ],
    ids=["blocks do not wait for each other", "one vector for all steps", "only one block is sent to"],
)
def test_an_error_between_the_blocks_of_a_cluster_is_found(right, wrong, generator, cuda, monkeypatch):
    assert right in LAYER
    source = LAYER.replace(right, wrong)
    assert not all(map(agree, broken_differences(source, "lstm", 256, generator, cuda, monkeypatch)))


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
    """Return a new network with random initial weights."""
    config = replace(work.config(), **options)
    model = CharRNN.new(config, vocabulary(work.vocab_size), 1, dtype, backend)
    return model.network(work.seq_length, work.batch_size)


def results(backend, work, feed=lambda ids: ids, keep=None, **options):
    """Return the losses of two chunks, the gradient of the second one, the state after it, and the layers."""
    network, generator = new_network(backend, work, **options), PhiloxUniform((1,), Philox(backend))
    ids, losses = backend.to_device(work.ids()), []  # (T+1, B)
    for _ in range(2):
        network.set_keep(keep)
        network.draw_masks(generator)
        losses.append(float(backend.to_host(network.learn(feed(ids[:-1]), ids[1:]))))
        network.carry()
    parts = network.wavefront.parts if network.wavefront else []
    return losses, backend.to_host(network.gradient.flat), backend.to_host(network.state), parts


def compare(gpu, work, **changes):
    """Compare a network that uses the kernel with one on the CPU, and return its layers."""
    wanted, found = results(CPU, work, **changes), results(gpu, work, **changes)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    for one, other in zip(found[1:3], wanted[1:3], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())
    return found[3]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("model", KERNELS)
def test_a_network_has_the_losses_and_gradients_of_the_cpu(model, options, gpu):
    layers = compare(gpu, replace(WORK, model=model), **OPTIONS[options])
    assert [layer.in_kernel for layer in layers] == [True, True]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("H", CLUSTERS)
def test_a_captured_step_has_the_losses_of_the_cpu(H, gpu):
    work = replace(WORK, rnn_size=H)
    wanted, _ = gpu_checks.training_losses(CPU, work, 8)
    found, step = gpu_checks.training_losses(gpu, work, 8)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert gpu_checks.is_captured(step.parts[0])
    assert [layer.in_kernel for layer in step.network.wavefront.parts] == [True, True]


def test_steps_that_are_given_one_at_a_time_run_without_the_kernel(gpu):
    assert [layer.in_kernel for layer in compare(gpu, WORK, feed=OneByOne)] == [False, False]


def test_steps_with_resets_run_without_the_kernel(gpu, generator):
    keep = generator.random((WORK.seq_length, WORK.batch_size)) < 0.7
    assert [layer.in_kernel for layer in compare(gpu, WORK, keep=keep)] == [False, False]


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
