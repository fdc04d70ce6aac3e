import pytest
from toys import TEXT, toy_settings

from minichar.training.start import begin


@pytest.fixture
def trainer_of(tmp_path):
    """Return a function that creates a trainer for a toy run with the given settings."""
    return lambda text=TEXT, **changes: begin(toy_settings(tmp_path, text, **changes)).trainer
