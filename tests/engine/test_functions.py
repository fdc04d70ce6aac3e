import numpy as np

from minichar.engine.functions import sigmoid


def test_the_sigmoid_is_its_textbook_formula(backend, host):
    a = np.linspace(-6, 6, 25)
    np.testing.assert_allclose(
        host(sigmoid(backend.xp, backend.to_device(a))), 1 / (1 + np.exp(-a)), rtol=1e-13
    )


@np.errstate(over="ignore")
def test_large_arguments_give_the_limits(backend, host):
    a = backend.to_device(np.array([-1000.0, 0.0, 1000.0]))
    np.testing.assert_array_equal(host(sigmoid(backend.xp, a)), [0.0, 0.5, 1.0])


def test_a_tuple_of_gates_and_a_block_give_the_same_result(generator):
    """Fused cell functions receive the gates as a tuple of arrays instead of one block."""
    block = generator.normal(size=(3, 4, 2))
    gates = sigmoid(np, tuple(block))
    assert isinstance(gates, tuple)
    np.testing.assert_array_equal(gates, sigmoid(np, block))


def test_the_argument_is_not_changed(generator):
    a = generator.normal(size=(3, 4, 2))
    kept = a.copy()
    sigmoid(np, a)
    np.testing.assert_array_equal(a, kept)
