"""Test that `minichar train` prints the best checkpoint, or the newest of several with the same loss."""

import re
from pathlib import Path


def test_prints_the_newest_of_checkpoints_with_equal_loss(train, home):
    """The learning rate is too small to change the first four decimals of the loss."""
    path = train("--learning-rate", "1e-12", "--dropout", "0", "--eval-val-every", "20")
    losses = {re.search(r"_(\d+\.\d+)\.npz", file.name)[1] for file in (home / "cv").glob("*.npz")}
    assert len(losses) == 1
    assert len(list((home / "cv").glob("*.npz"))) > 1
    assert "epoch2.00" in path


def test_best_checkpoint_may_precede_the_resumed_run(cli, train, measure):
    best = train("--max-epochs", 1)
    measure(3.9)
    result = cli("train", "--resume", best, "--max-epochs", 2)
    assert sorted(map(str, Path("cv").iterdir())) == [best, "cv/lm_lstm_epoch2.00_3.9000.npz"]
    assert result.stdout.strip() == best
    assert "(best so far)" not in result.stderr


def test_prints_the_best_checkpoint_instead_of_the_last(train, measure):
    measure(2.50001, 2.50002, 3.5)  # the first two are equal in file names
    assert train("--eval-val-every", 25) == "cv/lm_lstm_epoch1.52_2.5000.npz"
    assert len(list(Path("cv").iterdir())) == 3
