"""One kernel draws random numbers, or a mask, and they are the same as on the CPU."""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.devices.philox import Philox, PhiloxUniform


@pytest.mark.parametrize("shape", [(4, 6), (3, 5)], ids=["a multiple of four", "one more copy"])
@pytest.mark.parametrize(
    ("name", "dtypes", "arguments"),
    [
        ("fill", ("float32", "float64"), ()),
        ("drop", ("float32", "float64"), (0.4, 1 / 0.6)),
        ("bernoulli", ("bool",), (0.4,)),
        ("bernoulli", ("bool",), (1.0,)),
    ],
)
def test_numbers_and_masks(name, dtypes, arguments, shape, gpu, cuda):
    generators = gpu.uniform(7), PhiloxUniform((7,), Philox(CPU))
    for dtype in (*dtypes, *dtypes):
        results = []
        for generator, device in zip(generators, (gpu, CPU), strict=True):
            out = device.zeros(shape, dtype)
            cuda.operations()
            getattr(generator, name)(*arguments, out)
            results.append((device.to_host(out), cuda.operations()))
        (found, launched), (wanted, _) = results
        np.testing.assert_array_equal(found, wanted)
        assert len([kind for kind in launched if kind.startswith("kernel philox")]) == 1
        assert len(np.unique(found)) > (arguments != (1.0,))
