"""One kernel draws random numbers, or a mask, and they are the same as on the CPU."""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.devices.philox import Philox, PhiloxUniform

SHAPES = ((4, 6), (3, 5))
"""With a multiple of four numbers, and another number, which takes one more copy."""


@pytest.fixture
def both(gpu):
    """Return generators for the GPU and the CPU with the same seed."""
    return gpu.uniform(7), PhiloxUniform((7,), Philox(CPU))


@pytest.fixture
def draw(gpu, cuda, both):
    """Return a function that draws on both devices and returns the results and the names of the kernels."""

    def draw(name, shape, dtype, *arguments):
        results = []
        for generator, device in zip(both, (gpu, CPU), strict=True):
            out = device.zeros(shape, dtype)
            cuda.operations()
            getattr(generator, name)(*arguments, out)
            results.append((device.to_host(out), cuda.operations()))
        (found, launched), (wanted, _) = results
        return found, wanted, [kind for kind in launched if kind.startswith("kernel philox")]

    return draw


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "arguments"), [("fill", ()), ("drop", (0.4, 1 / 0.6)), ("drop", (0.0, 1.0))]
)
def test_numbers_and_dropout_masks(name, arguments, dtype, shape, draw):
    for _ in range(2):
        found, wanted, kernels = draw(name, shape, dtype, *arguments)
        np.testing.assert_array_equal(found, wanted)
        assert len(kernels) == 1
        assert len(np.unique(found)) > (1 if arguments[:1] != (0.0,) else 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_bernoulli_masks(p, shape, draw):
    found, wanted, kernels = draw("bernoulli", shape, "bool", p)
    np.testing.assert_array_equal(found, wanted)
    assert len(kernels) == 1
