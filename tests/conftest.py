import os

import numpy as np
import pytest
from cells import ARGUMENTS
from devices import DEVICES, open_device
from hypothesis import settings

# A slow machine is not a failure.
settings.register_profile("minichar", deadline=None)
settings.load_profile("minichar")

DEVICE_CELL = "lstm"


def pytest_configure(config):
    """Keep the kernels that an OpenCL device compiles for the next run of the tests."""
    if cache := getattr(config, "cache", None):
        os.environ.setdefault("SYCL_CACHE_PERSISTENT", "1")
        os.environ.setdefault("SYCL_CACHE_DIR", str(cache.mkdir("opencl")))


def pytest_collection_modifyitems(items):
    """A test that takes both a cell and a device runs with each cell on the CPU, and with one elsewhere."""
    items[:] = [item for item in items if not one_of_many(getattr(item, "callspec", None))]


def one_of_many(callspec):
    """Whether it is about another cell than the one that the devices other than the CPU run."""
    params = callspec.params if callspec else {}
    device = params.get("backend", params.get("device", "cpu"))
    return device != "cpu" and params.get("cell", DEVICE_CELL) != DEVICE_CELL


@pytest.fixture
def generator():
    """Random numbers, the same for every test."""
    return np.random.default_rng(123)


@pytest.fixture(params=ARGUMENTS)
def cell(request):
    """The arguments of `Config` that choose a cell; a test that takes it runs once for each."""
    return ARGUMENTS[request.param]


@pytest.fixture(params=ARGUMENTS)
def every_cell(request):
    """The same, for a test that needs every cell on every device."""
    return ARGUMENTS[request.param]


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
