from fractions import Fraction

import numpy as np
import pytest
from toys import toy_model

from minichar.devices.cpu import NumPyBackend
from minichar.engine.exact import ExactProducts, exact
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters


def rounded(W):
    """Return ``(W, backend)``: `W` rounded for exact products, and a backend with exact products."""
    parameters = Parameters({"layer1.W": W.shape}, str(W.dtype))
    parameters["layer1.W"][...] = W
    copy = exact(parameters)
    return copy["layer1.W"], copy.backend


@pytest.mark.parametrize("scale", [1e-30, 0.3, 1e30])
def test_sums_are_not_rounded(scale, generator):
    """Then they do not depend on the order of the terms, which depends on the number of columns.

    All terms have the same sign, so that the sums are as large as possible.
    """
    W, backend = rounded(np.abs(generator.normal(0, scale, (3, 400))))
    s = generator.uniform(0.9, 1, (400, 2))
    product = backend.matmul(W, s)  # rounds s in place
    for g in range(3):
        for b in range(2):
            terms = (Fraction(w) * Fraction(x) for w, x in zip(W[g].tolist(), s[:, b].tolist(), strict=True))
            assert Fraction(product[g, b]) == sum(terms)


def test_a_product_is_summed_before_it_is_added(generator):
    """`out` is not on the grid, so a sum that starts from `out` would depend on the order of the terms."""

    class Unordered(NumPyBackend):
        def add_matmul(self, A, B, out):
            for k in range(len(B)):
                out += A[:, k : k + 1] @ B[k : k + 1]
            return out

    W, _ = rounded(generator.normal(size=(32, 129)))
    s, out = generator.uniform(-1, 1, (129, 14)), generator.normal(size=(32, 14))
    backend, steps = ExactProducts(Unordered()), np.zeros((2, 32, 7))
    product = backend.matmul(W, s.copy())
    backend.matmul_steps(W, s.copy(), out=steps)
    np.testing.assert_array_equal(np.concatenate(steps, axis=1), product)
    np.testing.assert_array_equal(backend.add_matmul(W, s, out=out.copy()), out + product)


def test_rounding_to_the_grids_is_about_as_accurate_as_float32(generator):
    """The tolerance allows for float32 errors that vary by a factor of up to 1.6 between BLAS libraries."""
    exact_W = generator.normal(0, 0.3, (512, 257))
    s = generator.uniform(-1, 1, (257, 50))
    truth = exact_W @ s
    W, backend = rounded(exact_W)
    error = backend.matmul(W, s.copy()) - truth
    error32 = exact_W.astype("f4") @ s.astype("f4") - truth
    assert np.linalg.norm(error) < 1.8 * np.linalg.norm(error32)


def test_character_weights_and_zeros_are_not_rounded():
    parameters = toy_model(dtype="float32").parameters
    parameters["layer2.W"][...] = 0
    copy = exact(parameters)
    assert copy.dtype == "float64"
    np.testing.assert_array_equal(copy["layer1.Wx"], parameters["layer1.Wx"])
    assert not copy["layer2.W"].any()


@pytest.mark.parametrize("layer_norm", [False, True])
def test_with_exact_parameters_logits_and_state_do_not_depend_on_the_batch(cell, layer_norm, generator):
    model = toy_model(dtype="float32", rnn_size=64, layer_norm=layer_norm, model=cell)
    parameters = exact(model.parameters)
    inputs = generator.integers(6, size=(5, 7))  # (T, B)

    def run(columns):
        network = Network(model.config, parameters, 5, inputs[:, columns].shape[1])
        logits = network.forward(inputs[:, columns])
        network.carry()
        return logits, network.state

    together = run(slice(None))
    for b in range(7):
        for array, whole in zip(run(slice(b, b + 1)), together, strict=True):
            np.testing.assert_array_equal(array[..., 0], whole[..., b])


def test_exact_of_exact_is_the_same():
    model = toy_model().exact()
    again = model.exact()
    np.testing.assert_array_equal(again.parameters.flat, model.parameters.flat)
    assert again.parameters.backend.plain is model.parameters.backend.plain


def test_the_inputs_are_rounded_to_multiples_of_2_to_the_minus_24():
    _, backend = rounded(np.ones((1, 3)))
    s = np.array([[1.0], [3 * 2.0**-25], [2.0**-24]])
    backend.matmul(np.ones((1, 3)), s)
    np.testing.assert_array_equal(s[:, 0], [1.0, 2.0**-23, 2.0**-24])
