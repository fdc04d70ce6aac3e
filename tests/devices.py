"""The devices that tests run on."""

import os

import pytest

from minichar.devices.choose import open_backend
from minichar.devices.cpu import NumPyBackend
from minichar.errors import MinicharError

DEVICES = ("cpu", "opencl", "cupy-double", pytest.param("gpu", marks=pytest.mark.gpu))


def open_device(name):
    """Return a backend nothing has been copied to yet; skip the test if this machine has no such device."""
    if name == "cpu":
        return NumPyBackend()
    if name == "cupy-double":
        # Imported here, so that a missing CuPy skips only the tests on this device.
        from cupy_double import open_double

        return open_double()
    try:
        return open_backend(name)
    except MinicharError as error:
        if name == "opencl" and "CI" in os.environ:
            raise  # there, its absence is a failure
        pytest.skip(str(error))
