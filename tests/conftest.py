import numpy as np
import pytest
from hypothesis import settings

# A slow machine is no failure.
settings.register_profile("minichar", deadline=None)
settings.load_profile("minichar")

CELLS = {
    "rnn": {"model": "rnn"},
    "lstm": {"model": "lstm"},
    "gru-after": {"model": "gru", "gru_reset": "after"},
    "gru-before": {"model": "gru", "gru_reset": "before"},
}


@pytest.fixture
def generator():
    """Random numbers, the same for every test."""
    return np.random.default_rng(123)


@pytest.fixture(params=CELLS.values(), ids=CELLS.keys())
def cell(request):
    """The arguments of `Config` that choose a cell; a test that takes it runs once for each of the four."""
    return request.param
