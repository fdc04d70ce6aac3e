"""Unit tests for every registered cell."""

import re
from dataclasses import replace

import numpy as np
import pytest
from cells import ODD

from minichar.engine.cell import Product
from minichar.engine.config import Config
from minichar.engine.registry import CELLS, register
from minichar.errors import MinicharError

H, B = 3, 2
STAGES = [(cell, number) for cell in (*CELLS.values(), ODD) for number in range(len(cell.stages))]


def arguments_of(cell, number, generator):
    """Return random arguments for a stage: one ``(G, H, B)`` block per matrix product, then the others."""
    passed = len(cell.states) - 1 + cell.takes_h_prev
    for stage in cell.stages[: number + 1]:
        blocks = [generator.normal(size=(len(product.gates), H, B)) for product in stage.products]
        arguments = [*blocks, *generator.uniform(-0.9, 0.9, (passed, H, B))]
        passed = len(stage.forward(np, *arguments)) - 2  # excluding the next product's input and the cache
    return arguments


@pytest.fixture(params=[*CELLS.values(), ODD], ids=lambda cell: cell.name)
def cell(request):
    return request.param


def slopes(function, arguments, h=1e-30):
    """Return a function's complex-step derivatives with respect to every element of its arguments."""
    moved = [argument.astype("complex128") for argument in arguments]
    found = [np.empty_like(argument) for argument in arguments]
    for argument, gradient in zip(moved, found, strict=True):
        for place in np.ndindex(argument.shape):
            argument[place] += 1j * h
            gradient[place] = function(*moved).imag / h
            argument[place] = argument[place].real
    return found


@pytest.mark.parametrize(("cell", "number"), STAGES, ids=lambda part: getattr(part, "name", str(part)))
def test_the_gradient_of_every_result_with_respect_to_every_argument(cell, number, generator):
    stage, arguments = cell.stages[number], arguments_of(cell, number, generator)
    *results, cache = stage.forward(np, *arguments)
    weights = generator.normal(size=(len(results), H, B))  # (results, H, B)

    def weighted(*arguments):
        *results, _ = stage.forward(np, *arguments)
        return sum((w * result).sum() for w, result in zip(weights, results, strict=True))

    kept = [array.copy() for array in (*arguments, *cache, *weights)]
    gradients = stage.backward(np, *weights, cache)
    for array, before in zip((*arguments, *cache, *weights), kept, strict=True):
        np.testing.assert_array_equal(array, before)  # neither function may modify its arguments

    for gradient, reference in zip(gradients, slopes(weighted, arguments), strict=True):
        np.testing.assert_allclose(np.array(gradient), reference, rtol=1e-12, atol=1e-15)
    for gradient, product in zip(gradients, stage.products, strict=False):
        assert len(gradient) == len(product.gates)


def test_a_tuple_of_gates_and_a_block_give_the_same_results(cell, generator):
    """Fused cell functions receive the gates as a tuple of arrays instead of one block."""
    for number, stage in enumerate(cell.stages):
        arguments = arguments_of(cell, number, generator)
        there = [tuple(argument) if argument.ndim == 3 else argument for argument in arguments]
        *results, cache = stage.forward(np, *arguments)
        *others, other_cache = stage.forward(np, *there)
        np.testing.assert_array_equal([*results, *cache], [*others, *other_cache])


def test_shapes_of_the_weights():
    """The layer has H = 3, and its input is either a vector of size D = 5 or one of V = 11 characters."""
    assert ODD.shapes(3, 5, 11) == {"P": (6, 3 + 1), "R": (6, 5 + 1), "Wn": (3, 3 + 5 + 1)}
    assert ODD.shapes(3, 0, 11) == {"P": (6, 4), "R": (6, 1), "Wn": (3, 4), "Wx": (6 + 3, 11)}
    rows = [(product.name, there.start, there.stop) for product, there in ODD.input_rows(3)]
    assert rows == [("R", 0, 6), ("Wn", 6, 9)]  # P does not read x


def with_stage(**changes):
    """Return changes to a cell that replace attributes of the LSTM's only stage."""
    return {"stages": (replace(CELLS["lstm"].stages[0], **changes),)}


def too_many_states(xp, a, c_prev):
    h, c, cache = CELLS["lstm"].stages[0].forward(xp, a, c_prev)
    return h, c, c, cache


CACHED = "stage 1 of the cell 'odd' caches 6 arrays, but `cache` contains {} names"
NO_CACHE = "must return a tuple that ends with a tuple of cached arrays"
INVALID = [
    ({"biases": {"q": 1.0}}, "biases of the cell 'odd' contains 'q'"),
    ({"states": ""}, "states of the cell 'odd': '' must contain at least one letter and no duplicates"),
    ({"name": "a/b"}, "invalid cell name 'a/b': use only letters, digits, '-' and '_'"),
    ({"name": "auto"}, "invalid cell name 'auto'"),
    (with_stage(forward=too_many_states), "the cell 'odd' returns 3 states, but `states` has 2"),
    (with_stage(forward=lambda xp, a, c_prev: a[0]), NO_CACHE),
    (with_stage(forward=lambda xp, a, c_prev: ((a[0],),)), NO_CACHE),
    (with_stage(forward=lambda xp, a, c_prev: (a[0], c_prev, None)), NO_CACHE),
    (with_stage(cache="i f o g c_prev"), CACHED.format(5)),
    (with_stage(cache="i f o g c_prev tanh_c more"), CACHED.format(7)),
    (with_stage(products=(Product("W", "ifog", reads_state=False),)), "'odd' has 0 products with"),
    (with_stage(products=(Product("W", "if"), Product("U", "og"))), "'odd' has 2 products with"),
    (
        with_stage(products=(Product("W", "if"), Product("W", "og", reads_state=False))),
        "the cell 'odd' has multiple parameters named 'W'",
    ),
    (with_stage(products=(Product("W", ""),)), "gates of the product 'W' of the cell 'odd': '' must contain"),
    (with_stage(products=(Product("W", "ifoo"),)), "product 'W' of the cell 'odd': 'ifoo' must contain"),
    (with_stage(products=(Product("Wx", "ifog"),)), "the cell 'odd' has multiple parameters named 'Wx'"),
]


class TestRegistry:
    @pytest.fixture(autouse=True)
    def _restored(self, monkeypatch):
        monkeypatch.setitem(CELLS, ODD.name, ODD)
        del CELLS[ODD.name]

    def test_a_registered_cell_is_a_model(self):
        assert ODD.name not in CELLS
        assert register(ODD) is ODD
        assert ODD.name in CELLS
        assert Config(8, ODD.name).cell is ODD

    def test_a_second_cell_with_the_same_name_is_rejected(self):
        first = CELLS["lstm"]
        with pytest.raises(MinicharError, match="a cell named 'lstm' is already registered"):
            register(replace(ODD, name="lstm"))
        assert CELLS["lstm"] is first
        assert register(first) is first

    @pytest.mark.parametrize(("changes", "words"), INVALID)
    def test_an_invalid_cell_is_rejected(self, changes, words):
        """Otherwise, training would succeed and ``convert`` or ``inspect --html`` would fail afterwards."""
        with pytest.raises(MinicharError, match=re.escape(words)):
            register(replace(CELLS["lstm"], **{"name": "odd", **changes}))
        assert {"odd", "a/b", "auto"}.isdisjoint(CELLS)
