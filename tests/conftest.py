import gc
import os
import signal
from functools import partial
from tempfile import TemporaryDirectory

import devices
import numpy as np
import pytest
from click.testing import CliRunner
from clock import Clock
from devices import DEVICES, open_device
from hypothesis import settings
from optional import chromium

from minichar.cli import main
from minichar.engine.cells import CELLS

# No deadline, so that Hypothesis does not fail tests on slow machines.
settings.register_profile("minichar", deadline=None)
settings.load_profile("minichar")

DEVICE_CELL = "lstm"
LONGEST = "test_other_commands_and_python_blocks_run"


def pytest_configure(config):
    """Set up the processes that run the tests.

    Background jobs and processes under nohup ignore some signals, and child processes inherit this setting,
    so the default handlers are restored. Nothing is written to minichar's cache in the user's cache
    directory. Compiled OpenCL kernels are cached between test runs. Parallel test processes use one BLAS
    thread each, since more threads than cores would wait for each other, and no run chooses another number.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(number, default)
    folder = TemporaryDirectory(prefix="minichar-cache-")
    config.add_cleanup(folder.cleanup)
    os.environ["MINICHAR_CACHE"] = folder.name
    if cache := getattr(config, "cache", None):
        os.environ.setdefault("SYCL_CACHE_PERSISTENT", "1")
        os.environ.setdefault("SYCL_CACHE_DIR", str(cache.mkdir("opencl")))


def pytest_collection_finish():
    """Exempt the thousands of collected tests from garbage collection, which would visit them repeatedly."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Select and sort the tests.

    Tests that take a cell and a device run with every cell on the CPU but only with `DEVICE_CELL` elsewhere.
    The longest test starts first, so that parallel processes finish at about the same time.
    """
    items[:] = [item for item in items if not redundant(getattr(item, "callspec", None))]
    items.sort(key=lambda item: item.name != LONGEST)


def redundant(callspec):
    """Return whether a test runs a cell other than `DEVICE_CELL` on a device other than the CPU."""
    params = callspec.params if callspec else {}
    device = params.get("backend", params.get("device", "cpu"))
    return device != "cpu" and params.get("cell", DEVICE_CELL) != DEVICE_CELL


@pytest.fixture
def text_cache(tmp_path, monkeypatch):
    """Cache texts of any size; return the path of the cache, which does not exist yet."""
    monkeypatch.setenv("MINICHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("minichar.text.cache.SMALLEST", 0)
    return tmp_path / "cache" / "texts"


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def clock(monkeypatch):
    """Fake clock that training runs advance."""
    return Clock(monkeypatch)


@pytest.fixture
def generator():
    """Random number generator with a fixed seed."""
    return np.random.default_rng(123)


@pytest.fixture(params=CELLS)
def cell(request):
    """Name of a registered cell. Tests using this fixture run once per cell."""
    return request.param


@pytest.fixture(params=DEVICES)
def backend(request):
    """Device backend. Tests using this fixture run once per device."""
    return open_device(request.param)


@pytest.fixture(params=DEVICES[1:])
def device(request):
    """Device backend. Tests using this fixture run once per device other than the CPU."""
    return open_device(request.param)


@pytest.fixture
def host(backend):
    """Return a function that copies an array to the host."""
    return backend.to_host


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs minichar in a directory with a short text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text("a sad cab bade a bad dad" * 6)

    def run(*arguments, status=0):
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == status, result.output
        return result

    return run


@pytest.fixture
def count_copies(monkeypatch):
    """Return `devices.count_copies`, whose effect ends with the test."""
    return partial(devices.count_copies, replace=monkeypatch.setattr)
