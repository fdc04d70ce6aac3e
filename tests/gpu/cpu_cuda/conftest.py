"""Run the tests of this folder with a CUDA emulator that runs on the CPU (see README.md)."""

import os
from pathlib import Path

import pytest

import cpu_cuda

CUDA = cpu_cuda.install()
HERE = Path(__file__).parent
DEFAULTS = {"devices": 2, "memory": 16 << 30, "early": 0, "driver": 12080, "backwards": 0}


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder, so that they run together with the other tests that need a GPU."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("gpu")


@pytest.fixture(autouse=True)
def cuda():
    """Return the object that controls the replaced CUDA, with its default settings."""
    CUDA.set(**DEFAULTS)
    CUDA.operations()
    yield CUDA
    CUDA.set(**DEFAULTS)


@pytest.fixture(params=["late", "early"])
def order(request, cuda):
    """Run streams as late or as early as their events allow."""
    cuda.set(early=int(request.param == "early"))


@pytest.fixture(params=["first", "last"])
def first_thread(request, cuda):
    """Run the first or the last thread of a block first."""
    cuda.set(backwards=int(request.param == "last"))


@pytest.fixture
def gpu():
    """Return a backend for the GPU."""
    from minichar.devices.choose import open_backend

    return open_backend("gpu")


@pytest.fixture
def new_processes(tmp_path, monkeypatch):
    """Replace CUDA in new Python processes, too."""
    (tmp_path / "sitecustomize.py").write_text("import cpu_cuda\n\ncpu_cuda.install()\n")
    folders = str(tmp_path), str(HERE.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
