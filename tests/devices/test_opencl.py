"""Tests for OpenCL device setup and the deadlock workarounds."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from devices import open_device

import minichar
from minichar.devices.backend import DeviceFailure
from minichar.devices.choose import open_backend
from minichar.devices.opencl import COPYING, VECTOR, avoid_deadlocks
from minichar.engine.config import Config
from minichar.extras import install_command
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep


def test_without_a_device_or_with_a_number_out_of_range(fake_opencl, error_of):
    fake_opencl(0)
    message = error_of("opencl")
    assert "no OpenCL driver found" in message
    assert message.endswith(install_command("opencl"))
    fake_opencl(2)
    assert open_backend("opencl").name == "opencl:0"
    assert open_backend("opencl:1").queue.sycl_device.name == "device 1"
    assert error_of("opencl:2") == "device opencl:2: no such device; 2 found, numbered from 0"


def test_a_device_whose_queue_cannot_be_created(fake_opencl, monkeypatch):
    """After a `DeviceFailure`, ``minichar doctor`` goes on with the next device."""
    fake_opencl(1)

    def fail(device, property):
        raise RuntimeError("cannot create a queue:\nno context")

    monkeypatch.setattr(sys.modules["dpctl"], "SyclQueue", fail)
    why = "its queue cannot be created (RuntimeError: cannot create a queue:): update its driver"
    with pytest.raises(DeviceFailure, match=f"^{re.escape(f'device opencl:0: {why}')}$"):
        open_backend("opencl")


def test_the_bundled_driver_is_found():
    """It is in a directory that the OpenCL loader does not search."""
    pytest.importorskip("dpnp", reason="--device opencl requires dpnp")
    environment = {name: value for name, value in os.environ.items() if name != "OCL_ICD_FILENAMES"}
    program = "from minichar.devices.choose import open_backend; print(open_backend('opencl').describe())"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"PYTHONPATH": str(Path(minichar.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )
    assert result.stdout.startswith("dpnp "), result.stderr
    assert " on opencl:0, " in result.stdout


@pytest.mark.parametrize(
    ("name", "exists", "before", "after"),
    [
        ("OCL_ICD_FILENAMES", True, None, "{driver}"),
        ("OCL_ICD_FILENAMES", True, "/mine.so", "/mine.so"),
        ("OCL_ICD_FILENAMES", False, None, None),
        ("SYCL_CACHE_PERSISTENT", True, None, "1"),  # compiled kernels are cached
        ("SYCL_CACHE_PERSISTENT", True, "0", "0"),
    ],
)
def test_environment_variables_of_the_driver(name, exists, before, after, fake_opencl, monkeypatch, tmp_path):
    fake_opencl(1)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("site.getuserbase", lambda: str(tmp_path / "none"))
    driver = tmp_path / "lib" / "libintelocl.so"
    driver.parent.mkdir()
    if exists:
        driver.touch()
    for variable in ("OCL_ICD_FILENAMES", "SYCL_CACHE_PERSISTENT"):
        monkeypatch.setenv(variable, "")  # so that its value is restored
        monkeypatch.delenv(variable)
    if before:
        monkeypatch.setenv(name, before)
    open_backend("opencl")
    assert os.environ.get(name) == (after and after.format(driver=driver))


def test_the_queue_is_in_order():
    """Out-of-order queues can deadlock on CPUs, so minichar creates its own queue."""
    assert open_device("opencl").queue.is_in_order


def test_random_numbers_depend_on_32_bits_of_the_seed(monkeypatch):
    opencl = open_device("opencl")
    uniform, seeds = opencl.uniform(1), iter((5, 5 + (1 << 16), 5 + (1 << 31)))
    monkeypatch.setattr(uniform, "next_seed", lambda: next(seeds))
    first, *others = (opencl.to_host(uniform.random((50,))) for _ in range(3))
    for numbers in others:
        assert (numbers != first).all()


@pytest.mark.parametrize(
    ("cell", "tasks", "kernels"),
    [("lstm", 202, 70), ("gru", 226, 70), ("rnn", 200, 70), ("gru-reset-before", 322, 121)],
)
def test_a_training_step_stays_within_its_budget(cell, tasks, kernels, monkeypatch):
    """On a CPU, each task takes about as long as the product of two small matrices.

    Per time step, a layer has two products, and one copy of the transposed weights. Each of its cell's
    functions and each sum with a product is one kernel. The number of other tasks does not depend on T.
    Only the copy of the characters waits for earlier tasks.
    """
    opencl = open_device("opencl")
    manager = type(pytest.importorskip("dpctl.utils").SequentialOrderManager[opencl.queue])
    copying, counts = sys.modules[COPYING], Counter()
    add, copy, launch = manager.add_event_pair, copying._copy_from_numpy_into, opencl.launch

    def counted_add(self, *events):
        counts["tasks"] += 1
        return add(self, *events)

    def counted_copy(there, array):
        counts["waits"] += array.ndim > 0
        return copy(there, array)

    def counted_launch(*args):
        counts["kernels"] += 1
        return launch(*args)

    vocabulary = Vocabulary("abcde")
    model = CharRNN.new(Config(5, cell, rnn_size=4, num_layers=2), vocabulary, seed=1, backend=opencl)
    step = TrainingStep(model, 10, 3, Settings(learning_rate=0.01, weight_decay=0.0, ema=0.0))
    inputs, targets = np.arange(60).reshape(2, 10, 3) % 5
    step.learn(inputs, targets, opencl.uniform(1))
    monkeypatch.setattr(manager, "add_event_pair", counted_add)
    monkeypatch.setattr(copying, "_copy_from_numpy_into", counted_copy)
    monkeypatch.setattr(opencl, "launch", counted_launch)
    step.learn(inputs, targets, opencl.uniform(1))
    assert counts == {"tasks": tasks, "kernels": kernels, "waits": 1}


class TestDeadlock:
    """Tests that blocking functions release the GIL, which the task that they wait for may need."""

    def test_copies_wait_exactly_once_even_if_the_device_is_opened_several_times(self, fake_opencl):
        fake_opencl(1)
        events, vector, copying = [], sys.modules[VECTOR], sys.modules[COPYING]
        copying._copy_from_numpy_into = lambda there, array: events.append("copy")
        for _ in range(3):
            avoid_deadlocks(lambda there: there)
        there = SimpleNamespace(
            sycl_queue=SimpleNamespace(wait=lambda: events.append("wait")),
            fill=lambda value: events.append(f"fill {value}"),
        )
        copying._copy_from_numpy_into(there, np.ones(1))
        assert events == ["wait", "copy"]
        copying._copy_from_numpy_into(there, np.array(2.5, "float32"))
        assert events == ["wait", "copy", "fill 2.5"]
        assert not vector._is_available()

    @pytest.mark.parametrize(
        ("value", "dtype"),
        [(2.0, "float32"), (np.float64(2), "float64"), (True, "int64"), (2.0, "complex128"), (True, "bool")],
    )
    def test_dpnp_does_not_wait_to_assign_a_scalar(self, value, dtype, monkeypatch):
        opencl = open_device("opencl")
        assert not sys.modules[VECTOR]._is_available()
        copying, calls = sys.modules[COPYING], []
        copy = copying._copy_from_numpy_into
        assert copy.__module__ == "minichar.devices.opencl"
        monkeypatch.setattr(
            copying, "_copy_from_numpy_into", lambda *args: (calls.append(args), copy(*args))[1]
        )
        array = opencl.zeros((3, 4), dtype)
        array[:, 1] = value
        ((_, copied),) = calls
        assert copied.ndim == 0
        expected = np.zeros((3, 4), dtype)
        expected[:, 1] = value
        np.testing.assert_array_equal(opencl.to_host(array), expected)

    @pytest.mark.parametrize(
        ("name", "module"),
        [(VECTOR, None), (COPYING, None), (VECTOR, SimpleNamespace()), (COPYING, SimpleNamespace())],
    )
    def test_a_dpnp_without_these_functions_may_hang(self, name, module, fake_opencl, monkeypatch):
        fake_opencl(1)
        monkeypatch.setitem(sys.modules, name, module)
        with pytest.warns(RuntimeWarning) as caught:
            assert open_backend("opencl").name == "opencl:0"
        (message,) = [str(warning.message) for warning in caught]
        assert message.startswith("device opencl: training can hang with dpnp 0 (")
        assert message.endswith(f": {install_command('opencl')}")
        assert "\n" not in message
