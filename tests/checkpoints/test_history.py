import numpy as np
import pytest
from toys import history_with, toy_model, toy_training

from minichar.checkpoints.checkpoint import is_resumable, load_history, load_training, save
from minichar.errors import MinicharError, Refused
from minichar.history import COLUMNS, LARGEST, OPTIONAL, History

ROW = {name: 0.5 + k for k, name in enumerate(COLUMNS)} | {"iteration": 7}
UNMEASURED = ROW | dict.fromkeys(OPTIONAL) | {"iteration": 9}


def read(values):
    return History.from_array(np.array(values, "float64"))


def test_rows_round_trip():
    rows = [ROW, UNMEASURED]
    written = History(rows)
    assert (list(written), len(written)) == (rows, 2)
    assert type(next(iter(written))["iteration"]) is int
    assert list(read(written.to_array())) == rows
    assert list(read(History().to_array())) == []


def test_a_history_is_a_sequence_of_rows_and_a_table_of_columns():
    table = History([ROW, UNMEASURED, ROW | {"iteration": 11}])
    assert (table[1], table[-1]["iteration"]) == (UNMEASURED, 11)
    assert table[:2] == History([ROW, UNMEASURED]) != table
    np.testing.assert_array_equal(table["val_loss"], [ROW["val_loss"], np.nan, ROW["val_loss"]])
    assert table["iteration"].tolist() == [7, 9, 11]
    assert table != [*table]
    assert repr(table[:1]) == "<History: 1 evaluation>"
    with pytest.raises(KeyError, match="'loss' is not one of iteration, epoch, train_loss, val_loss"):
        table["loss"]
    with pytest.raises(IndexError):
        table[3]


def test_the_best_evaluation_is_the_first_one_with_the_lowest_validation_loss():
    losses = (2.0, None, 1.5, 1.5, 3.0)
    assert history_with(val_loss=losses).best["iteration"] == 3
    assert history_with(val_loss=[None]).best is None
    assert History().best is None


def test_a_part_of_a_history_is_independent_of_the_whole():
    whole = read(History([ROW, UNMEASURED]).to_array())
    part, losses = whole[:1], whole["val_loss"]
    part.append(ROW | {"iteration": 20})
    whole.append(ROW | {"iteration": 30})
    assert (part["iteration"].tolist(), whole["iteration"].tolist()) == ([7, 20], [7, 9, 30])
    assert len(losses) == 2


@pytest.mark.parametrize("name", COLUMNS)
def test_values_that_no_run_has_are_rejected(name):
    for value in (-1.0, np.inf, 1e308, np.nan, LARGEST):
        values = History([ROW]).to_array()
        values[0, COLUMNS.index(name)] = value
        if value == LARGEST or (np.isnan(value) and name in OPTIONAL) or (value == 1e308 and "rate" in name):
            assert len(read(values)) == 1
        else:
            with pytest.raises(Refused, match="values that are not numbers from 0 to 1e"):
                read(values)


@pytest.mark.parametrize("iterations", [[2, 2], [3, 1], [1.5, 2], [0, 1]])
def test_iterations_that_do_not_increase_are_rejected(iterations):
    values = History([ROW, ROW]).to_array()
    values[:, 0] = iterations
    with pytest.raises(Refused, match="not increasing integers"):
        read(values)


@pytest.mark.parametrize("values", [np.zeros(11), np.zeros((1, 10)), np.zeros((1, 11), "float32")])
def test_arrays_of_another_shape_or_dtype_are_rejected(values):
    with pytest.raises(Refused, match=r"its history has shape .* and dtype"):
        History.from_array(values)


def test_a_history_without_training_state(tmp_path):
    model, path = toy_model(), tmp_path / "toy.npz"
    save(path, model)
    assert load_history(path) is None
    model.history = History([ROW, UNMEASURED])
    save(path, model)
    assert load_history(path) == model.history
    assert not is_resumable(path)
    with pytest.raises(MinicharError, match="no training state to resume from"):
        load_training(path)


def test_the_history_of_a_run_is_stored_with_its_training_state(tmp_path):
    model, path = toy_model(), tmp_path / "toy.npz"
    model.history = History([ROW])
    save(path, model, toy_training(model, [UNMEASURED]))
    assert list(load_history(path)) == [UNMEASURED]
    assert is_resumable(path)
