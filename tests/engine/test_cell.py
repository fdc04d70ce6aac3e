"""Every registered cell alone: its pairs of functions, and what it declares."""

from dataclasses import replace

import numpy as np
import pytest
from cells import ARGUMENTS, ODD, B, H, arguments_of

from minichar.engine.cell import CELLS, Cell, Product, models, register
from minichar.engine.config import Config
from minichar.errors import MinicharError


@pytest.fixture(params=[*CELLS.values(), ODD], ids=lambda cell: cell.name)
def cell(request):
    return request.param


def slopes(function, arguments, h=1e-30):
    """Return the derivative of a function with respect to each element of each argument, by complex step."""
    moved = [argument.astype("complex128") for argument in arguments]
    found = [np.empty_like(argument) for argument in arguments]
    for argument, gradient in zip(moved, found, strict=True):
        for place in np.ndindex(argument.shape):
            argument[place] += 1j * h
            gradient[place] = function(*moved).imag / h
            argument[place] = argument[place].real
    return found


STAGES = [(cell, number) for cell in (*CELLS.values(), ODD) for number in range(len(cell.stages))]


@pytest.mark.parametrize(("cell", "number"), STAGES, ids=lambda part: getattr(part, "name", str(part)))
def test_the_gradient_of_every_result_by_every_argument(cell, number, generator):
    stage, arguments = cell.stages[number], arguments_of(cell, number, generator)
    *results, cache = stage.forward(np, *arguments)
    weights = generator.normal(size=(len(results), H, B))  # (results, H, B)

    def weighted(*arguments):
        *results, _ = stage.forward(np, *arguments)
        return sum((w * result).sum() for w, result in zip(weights, results, strict=True))

    kept = [array.copy() for array in (*arguments, *cache, *weights)]
    gradients = stage.backward(np, *weights, cache)
    for array, before in zip((*arguments, *cache, *weights), kept, strict=True):
        np.testing.assert_array_equal(array, before)  # neither function writes into its arguments

    for gradient, reference in zip(gradients, slopes(weighted, arguments), strict=True):
        np.testing.assert_allclose(np.array(gradient), reference, rtol=1e-12, atol=1e-15)
    for gradient, product in zip(gradients, stage.products, strict=False):
        assert len(gradient) == len(product.gates)


def test_gates_in_a_tuple_give_the_same_as_in_a_block(cell, generator):
    """As a fused cell gets them."""
    for number, stage in enumerate(cell.stages):
        arguments = arguments_of(cell, number, generator)
        there = [tuple(argument) if argument.ndim == 3 else argument for argument in arguments]
        *results, cache = stage.forward(np, *arguments)
        *others, other_cache = stage.forward(np, *there)
        np.testing.assert_array_equal([*results, *cache], [*others, *other_cache])


def test_the_stages_fit_together(cell, generator):
    results = [None] * (len(cell.states) + cell.takes_h_prev)  # the state, then what the first stage takes
    for number, stage in enumerate(cell.stages):
        assert sum(product.reads_state for product in stage.products) == 1
        arguments = arguments_of(cell, number, generator)
        assert len(arguments) == len(stage.products) + len(results) - 1
        *results, cache = stage.forward(np, *arguments)
        assert len(cache) == len(stage.cache.split())
    assert len(results) == len(cell.states)


def test_it_declares_what_it_has(cell):
    gates = "".join(product.gates for product in cell.products)
    cached = {name for stage in cell.stages for name in stage.cache.split()}
    assert cell.unit in {*cell.states, *cached}
    assert set(cell.shown) <= {*cell.states, *cached}
    assert set(cell.biases) <= set(gates)
    assert cell.states[0] == "h"
    for counterpart in filter(None, (cell.torch, cell.onnx)):
        assert set(counterpart.gates) == set(gates)
        assert all(sorted(product.gates) == sorted(set(product.gates)) for product in cell.products)


def test_every_registered_cell_is_chosen_by_some_arguments():
    """So the tests that take a cell run with each."""
    assert {Config(8, **arguments).cell.name for arguments in ARGUMENTS.values()} == set(CELLS)


class TestShapes:
    def test_what_each_product_reads_has_its_columns_and_each_gate_its_rows(self):
        """H = 3 units; D = 5 inputs, or V = 11 characters instead."""
        assert ODD.shapes(3, 5, 11) == {"P": (6, 3 + 1), "R": (6, 5 + 1), "Wn": (3, 3 + 5 + 1)}
        assert ODD.shapes(3, 0, 11) == {"P": (6, 4), "R": (6, 1), "Wn": (3, 4), "Wx": (6 + 3, 11)}

    def test_only_the_products_that_read_x_have_rows_of_Wx(self):
        rows = [(product.name, there.start, there.stop) for product, there in ODD.input_rows(3)]
        assert rows == [("R", 0, 6), ("Wn", 6, 9)]

    def test_rows_of_Wx_are_those_of_its_shape(self, cell):
        rows = [there for _, there in cell.input_rows(H)]
        assert [there.start for there in rows] == [0, *(there.stop for there in rows[:-1])]
        assert rows[-1].stop == cell.shapes(H, 0, 8)["Wx"][0]


class TestRegistry:
    @pytest.fixture(autouse=True)
    def _restored(self, monkeypatch):
        monkeypatch.setitem(CELLS, ODD.name, ODD)
        del CELLS[ODD.name]

    def test_a_new_cell_is_a_model_like_any_other(self):
        assert ODD.name not in models()
        assert register(ODD) is ODD
        assert ODD.name in models()
        assert Config(8, ODD.name).cell is ODD

    def test_a_second_cell_of_a_name_is_refused_and_the_first_stays(self):
        first = CELLS["lstm"]
        with pytest.raises(MinicharError, match="a cell called 'lstm' is registered already"):
            register(replace(ODD, name="lstm"))
        assert CELLS["lstm"] is first
        assert register(first) is first

    def test_a_variant_is_not_a_model_of_its_own(self):
        register(replace(ODD, variant=True))
        assert ODD.name not in models()
        with pytest.raises(MinicharError, match="model is 'odd'"):
            Config(8, ODD.name)


def test_a_product_reads_state_and_input_unless_it_says_otherwise():
    product = Product("W", "h")
    assert (product.reads_state, product.reads_x) == (True, True)
    assert Cell("x", "x", "h", ()).products == ()
