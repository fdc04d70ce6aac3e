"""Test that `minichar train` prints the best checkpoint, or the newest of several with the same loss."""

import re


def test_prints_the_newest_of_checkpoints_with_equal_loss(train, home):
    """The learning rate is too small to change the first four decimals of the loss."""
    path = train("--learning-rate", "1e-12", "--dropout", "0", "--eval-val-every", "20")
    losses = {re.search(r"_(\d+\.\d+)\.npz", file.name)[1] for file in (home / "cv").glob("*.npz")}
    assert len(losses) == 1
    assert len(list((home / "cv").glob("*.npz"))) > 1
    assert "epoch2.00" in path
