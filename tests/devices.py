"""Devices on which tests run."""

import os

import pytest
from cupy_double import open_double

from minichar.devices.choose import open_backend
from minichar.devices.cpu import NumPyBackend
from minichar.errors import MinicharError

DEVICES = ("cpu", "opencl", pytest.param("gpu", marks=pytest.mark.gpu))


class Other(NumPyBackend):
    """A second device that computes on the CPU, called ``gpu:0``."""

    def __init__(self):
        super().__init__()
        self.name = "gpu:0"


def open_device(name):
    """Return a new backend, or skip the test if the device is unavailable."""
    if name == "cpu":
        return NumPyBackend()
    if name == "cupy-double":
        return open_double()
    try:
        return open_backend(name)
    except MinicharError as error:
        if name == "opencl" and "CI" in os.environ:
            raise  # in CI, the OpenCL device is required
        pytest.skip(str(error))


def count_copies(backend, replace=setattr):
    """Count the arrays copied to and from a backend's device from now on, in the returned dict."""
    counts = {"to_device": 0, "to_host": 0}

    def counted(name, function):
        def copy(array):
            counts[name] += 1
            return function(array)

        return copy

    for name in counts:
        replace(backend, name, counted(name, getattr(backend, name)))
    return counts
