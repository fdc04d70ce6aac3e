"""`minichar train` prints the checkpoint with the lowest validation loss; among equals, the newest."""

import re


def test_among_equal_losses_the_newest_checkpoint_is_printed(train, home):
    """With this learning rate no loss changes in its first four digits."""
    path = train("--learning-rate", "1e-12", "--dropout", "0", "--eval-val-every", "20")
    losses = {re.search(r"_(\d+\.\d+)\.npz", file.name)[1] for file in (home / "cv").glob("*.npz")}
    assert len(losses) == 1
    assert len(list((home / "cv").glob("*.npz"))) > 1
    assert "epoch2.00" in path
