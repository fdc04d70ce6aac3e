import numpy as np
import pytest
from devices import DEVICES, open_device
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


@pytest.fixture(params=DEVICES)
def backend(request):
    """The device to compute on; a test that takes it runs on each."""
    return open_device(request.param)


@pytest.fixture(params=DEVICES[1:])
def device(request):
    """A device that is not the CPU."""
    return open_device(request.param)


@pytest.fixture
def host(backend):
    """Bring an array from the device to look at it."""
    return backend.to_host
