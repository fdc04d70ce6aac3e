"""Fixtures that simulate machines with different packages and devices."""

import sys
from types import SimpleNamespace

import pytest

from minichar.devices.choose import open_backend
from minichar.devices.opencl import COPYING, VECTOR
from minichar.errors import MinicharError


@pytest.fixture
def error_of():
    """Return a function that tries to open a device and returns the one-line error."""

    def message(name):
        with pytest.raises(MinicharError) as caught:
            open_backend(name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


@pytest.fixture
def nothing_installed(monkeypatch):
    """Make CuPy and dpnp unavailable."""
    for package in ("cupy", "dpctl", "dpnp"):
        monkeypatch.setitem(sys.modules, package, None)


@pytest.fixture
def broken_cupy(monkeypatch, tmp_path):
    """Make ``import cupy`` fail with a two-line error."""
    (tmp_path / "cupy.py").write_text("raise AttributeError('NumPy has no such attribute\\nany more')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)


@pytest.fixture
def fake_cupy(monkeypatch):
    """Return a function that installs and returns the CuPy test double."""

    def install(**options):
        from cupy_double import DoubleOfCuPy

        monkeypatch.setitem(sys.modules, "cupy", DoubleOfCuPy(**options))
        return sys.modules["cupy"]

    return install


@pytest.fixture
def fake_opencl(monkeypatch):
    """Return a function that installs a fake dpctl with `n` OpenCL devices."""

    def install(n):
        devices = [SimpleNamespace(name=f"device {i}") for i in range(n)]
        dpctl = SimpleNamespace(
            get_devices=lambda backend: devices if backend == "opencl" else [],
            SyclQueue=lambda device, property: SimpleNamespace(sycl_device=device),
        )
        monkeypatch.setitem(sys.modules, "dpctl", dpctl)
        monkeypatch.setitem(sys.modules, "dpnp", SimpleNamespace(__version__="0", asarray=None))
        vector = SimpleNamespace(_is_available=lambda: True)
        monkeypatch.setitem(sys.modules, VECTOR, vector)
        copying = SimpleNamespace(_copy_from_numpy_into=lambda there, array: None)
        monkeypatch.setitem(sys.modules, COPYING, copying)

    return install
