from pathlib import Path

import pytest

from minichar.checkpoints.naming import (
    checkpoint_path,
    is_checkpoint,
    is_latest,
    loss_in_name,
    to_delete,
    unused,
)


@pytest.mark.parametrize(
    ("epoch", "val_loss", "stopped", "name"),
    [
        (0.95, 2.06814, False, "lm_lstm_epoch0.95_2.0681.npz"),
        (50, 1.3, False, "lm_lstm_epoch50.00_1.3000.npz"),
        (0.3149, None, True, "lm_lstm_epoch0.31_interrupted.npz"),
        (2, None, False, "lm_lstm_epoch2.00_unmeasured.npz"),
        (2, 1.5, True, "lm_lstm_epoch2.00_1.5000.npz"),
    ],
)
def test_the_name_contains_the_epoch_and_loss(epoch, val_loss, stopped, name):
    assert checkpoint_path(Path("cv"), "lstm", epoch, val_loss, stopped) == Path("cv", name)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("lm_lstm_epoch0.95_2.0681.npz", 2.0681),
        ("lm_my_own_epoch12.00_10.5000.npz", 10.5),
        ("lm_lstm_epoch0.31_interrupted.npz", float("inf")),
        ("lm_lstm_epoch0.31_unmeasured.npz", float("inf")),
        ("lm_lstm_epoch0.95_2.0681.inference.npz", float("inf")),
        ("notes_1.0000.npz", float("inf")),
    ],
)
def test_the_loss_is_parsed_from_the_name(name, loss):
    assert loss_in_name(Path("cv", name)) == loss


def test_runs_that_stop_at_the_same_epoch_do_not_overwrite_each_other(tmp_path):
    path = checkpoint_path(tmp_path, "lstm", 0.31, None, True)
    assert unused(path) == path
    for n in (1, 2, 3):
        taken = unused(path)
        taken.touch()
        assert taken.name == f"lm_lstm_epoch0.31_interrupted{'' if n == 1 else f'-{n}'}.npz"
    assert loss_in_name(taken) == float("inf")


def run(*losses):
    """Return the checkpoint paths of a run with the given losses, oldest first."""
    return [checkpoint_path(Path("cv"), "lstm", e, loss, True) for e, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "keep", "deleted"),
    [
        ([3.0], 1, []),
        ([3.0, 2.0], 1, [0]),
        ([2.0, 3.0], 1, []),
        ([2.0, 3.0, 4.0], 1, [1]),
        ([4.0, 3.0, 2.0, 1.0], 2, [0, 1]),
        ([1.0, 4.0, 2.0, 3.0], 2, [1]),
        ([None, 2.0, 3.0], 2, [0]),
        ([2.0, 3.0, None], 1, [1]),
        ([2.0, 2.0, 2.0], 1, [0, 1]),
    ],
)
def test_the_best_and_the_newest_are_kept(losses, keep, deleted):
    paths = run(*losses)
    assert sorted(to_delete(paths, keep)) == [paths[i] for i in deleted]


def test_the_checkpoint_between_evaluations_has_no_loss(tmp_path):
    for name in ("lm_my_run_latest.npz", "lm_my_run_latest-2.npz"):
        assert is_latest(tmp_path / name)
        assert is_checkpoint(tmp_path / name)
        assert loss_in_name(tmp_path / name) == float("inf")
    for name in ("lm_latest.npz", "lm_lstm_epoch1.00_2.0000.npz", "lm_lstm_epoch1.00_interrupted.npz"):
        assert not is_latest(tmp_path / name)
