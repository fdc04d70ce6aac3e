"""The chunk kernel computes what the functions of the cells compute, in both orders of the threads."""

import re
from itertools import pairwise

import cupy
import numpy as np
import pytest

from cpu_cuda import compiler
from minichar.devices import chunk_kernel
from minichar.devices.chunk_kernel import CLUSTERS, KERNELS, ChunkKernel, shape_of
from minichar.engine.registry import CELLS

LAYER = (chunk_kernel.FOLDER / "layer.cu").read_text()
SYNCHRONISATION = re.compile(r"^ +(sync_cluster|__syncthreads)\(\);\n", re.MULTILINE)
SYNCHRONISATIONS = [found.span() for found in SYNCHRONISATION.finditer(LAYER)]
"""Where the kernels synchronise threads."""
LIMIT = 2e-6


class Chunk:
    """Random weights and data for one layer, and the results of the cell's functions.

    Attributes
    ----------
    W (gates · H, H+1), a (T, gates · H, B), states (T+1, S, H, B), du, da (T, gates · H, B), dstate (H, B)
        See `ChunkKernel`. The last element of `dstate` is the gradient before the first step.
    """

    def __init__(self, name, H, T, B, generator):
        def normal(*shape):
            return generator.normal(size=shape).astype("float32")

        self.name, self.H, self.T, self.B, self.cell = name, H, T, B, CELLS[name]
        G = KERNELS[name].gates * H
        self.W = normal(G, H + 1) / np.float32(np.sqrt(H))
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

    def differences(self, cuts=()):
        """Return the differences to the results of the kernel. It is called once between successive cuts."""
        there = {name: cupy.asarray(getattr(self, name)) for name in ("W", "a", "dh_above")}
        kernel = ChunkKernel(cupy, 0, self.name, shape_of(self.name, self.H), self.T, self.B)
        kernel.states[...], kernel.states[0] = np.nan, cupy.asarray(self.states[0])
        kernel.dstate[...] = cupy.asarray(self.dstate[0])
        du, da = (cupy.full(self.a.shape, np.nan, "float32") for _ in range(2))
        ends = [0, *cuts, self.T]
        calls = [slice(*pair) for pair in pairwise(ends)]
        for steps in calls:
            kernel.forward(steps, there["W"], self.H + 1, there["a"][steps])
        for steps in reversed(calls):
            if steps.stop < self.T:
                there["dh_above"][steps.stop - 1] += there["W"][:, :-1].T @ du[steps.stop]
            kernel.backward(steps, there["W"], there["dh_above"][steps], du[steps], da[steps])
        pairs = [(kernel.states, self.states), (du, self.du), (kernel.dstate, self.dstate[-1])]
        if KERNELS[self.name].products == 2:
            pairs.append((da, self.da))
        return [np.abs(cupy.asnumpy(found) - np.array(wanted)).max() for found, wanted in pairs]


def agree(differences):
    return all(difference < LIMIT for difference in differences)  # false for NaN


@pytest.mark.usefixtures("first_thread")
@pytest.mark.parametrize(("T", "B"), [(1, 1), (5, 3), (4, 7)])
@pytest.mark.parametrize("H", CLUSTERS)
@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_computes_what_the_functions_of_the_cell_compute(name, H, T, B, generator):
    differences = Chunk(name, H, T, B, generator).differences()
    assert agree(differences), differences


@pytest.mark.parametrize("name", KERNELS)
def test_steps_can_be_divided_among_several_calls(name, generator):
    assert agree(Chunk(name, 64, 6, 3, generator).differences(cuts=(1, 4)))


def test_the_bias_is_used_only_if_it_is_not_in_the_other_product(generator):
    chunk = Chunk("lstm", 64, 3, 2, generator)
    kernel = ChunkKernel(cupy, 0, "lstm", shape_of("lstm", 64), 3, 2)
    kernel.states[0] = cupy.asarray(chunk.states[0])
    kernel.forward(slice(0, 3), cupy.asarray(chunk.W), 64, cupy.asarray(chunk.a + chunk.W[:, -1:]))
    np.testing.assert_allclose(cupy.asnumpy(kernel.states), chunk.states, atol=LIMIT)


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


def test_the_kernels_synchronise_threads_three_times_each():
    assert len(SYNCHRONISATIONS) == 6


@pytest.mark.parametrize("span", SYNCHRONISATIONS)
def test_a_missing_synchronisation_is_found(span, generator, cuda, monkeypatch):
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
