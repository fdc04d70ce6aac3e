import pytest
from toys import TEXT, take, toy_settings

from minichar.training.start import begin


@pytest.fixture
def trainer_of(tmp_path):
    """Return a function that creates a trainer for a toy run with the given settings."""
    return lambda text=TEXT, **changes: begin(toy_settings(tmp_path, text, **changes)).trainer


@pytest.fixture
def stopped(tmp_path):
    """Return the path of a checkpoint from a two-epoch run that was stopped after 10 chunks."""
    trainer = begin(toy_settings(tmp_path)).trainer
    take(trainer, 10)
    return trainer.saver.saved[-1]
