"""Two ranks with one GPU each sum their gradients with CuPy's NCCL module."""

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from devices import count_copies
from ranks import Communicator, on_ranks
from toys import losses_of, toy_settings

import minichar
from minichar.devices.choose import open_backend
from minichar.devices.graph import WARM_UP, CudaGraph
from minichar.devices.nccl import load_nccl, open_nccl
from minichar.errors import MinicharError
from minichar.training.start import begin

STEPS = 8


@pytest.fixture
def nccl():
    """Return CuPy's module."""
    return load_nccl()


@pytest.fixture
def settings(tmp_path):
    return toy_settings(tmp_path, use_ss=False, dtype="float64", batch_size=5, ema=0.9)


def train(settings, steps=STEPS):
    """Train on two ranks; return each rank's losses and copies, except the copies made by reading losses."""

    def run(team):
        backend = open_backend(f"gpu:{team.rank}")
        trainer = begin(settings, backend, team=team).trainer
        copies = count_copies(backend)
        losses = losses_on(trainer, steps)
        return losses, copies

    return on_ranks(2, run)


def losses_on(trainer, steps):
    losses = []
    for _ in range(steps):
        trainer.set_rates()
        losses.append(trainer.learn())
    return [float(loss) for loss in losses]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-9), ("float32", 1e-5)])
def test_gradients_are_summed_without_copies_to_the_host(settings, dtype, close, monkeypatch):
    def refuse(*arrays):
        raise AssertionError("an array was summed on the host")

    monkeypatch.setattr(Communicator, "Allreduce", refuse)
    settings = replace(settings, dtype=dtype)
    alone = losses_of(begin(settings).trainer, STEPS)
    for losses, copies in train(settings):
        assert losses == pytest.approx(alone, abs=close)
        assert copies == {"to_device": STEPS, "to_host": 0}, "one copy of each chunk"


def test_the_sum_is_part_of_each_captured_step(cuda, settings):
    """Scheduled sampling, which starts here in the second epoch, is captured separately."""
    settings = replace(settings, seq_length=20, use_ss=True, start_ss=1.0, decay_ss=0.5, min_ss=0.5)
    alone = losses_on(begin(settings, open_backend("gpu")).trainer, 2 * STEPS)
    for losses, _ in train(settings, 2 * STEPS):
        assert losses == pytest.approx(alone, abs=1e-9)
    # On each of two ranks, for each of two steps, in the warm-up and once more to capture it.
    assert cuda.operations()["all-reduce"] == 2 * 2 * (WARM_UP + 1)


def test_a_graph_is_used_by_all_ranks_or_by_none(settings, monkeypatch):
    right = CudaGraph._captured

    def captured(graph):
        found = right(graph)
        return (None, "an error of the driver") if graph.xp.cuda.Device().id == 1 else found

    monkeypatch.setattr(CudaGraph, "_captured", captured)
    alone = losses_of(begin(settings).trainer, STEPS)
    with pytest.warns(RuntimeWarning, match="cannot be captured") as warned:
        results = train(settings)
    for losses, _ in results:
        assert losses == pytest.approx(alone, abs=1e-9)
    causes = sorted(str(warning.message).partition("separately ")[2] for warning in warned)
    assert causes == ["(an error of the driver)", "(the capture failed in another process)"]


ONE_RANK = """
import sys
from types import SimpleNamespace
from minichar.devices.nccl import open_nccl

class Communicator:
    def __init__(self, *arguments):
        print("created")

    def __del__(self):
        print("destroyed")

sys.modules["cupy.cuda.nccl"] = SimpleNamespace(
    available=True, get_unique_id=lambda: "key", NcclCommunicator=Communicator
)
cupy = SimpleNamespace(cuda=SimpleNamespace(Device=lambda index: SimpleNamespace(pci_bus_id="a")))
comm = SimpleNamespace(allgather=lambda value: [value], bcast=lambda value: value, Get_rank=lambda: 0)
open_nccl(cupy, 0, comm)
"""


def test_a_communicator_is_not_destroyed_even_when_python_exits():
    """NCCL would wait for graphs that use the communicator, and Python may delete them in any order."""
    environment = os.environ | {"PYTHONPATH": str(Path(minichar.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", ONE_RANK], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "created\n"


def test_cupy_does_not_warn_of_a_missing_nccl(monkeypatch):
    """`open_nccl` issues its own warning, on one rank."""

    def import_module(name):
        warnings.warn(f"{name} is not available", RuntimeWarning, stacklevel=2)
        return SimpleNamespace(available=False)

    monkeypatch.setattr("minichar.devices.nccl.import_module", import_module)
    assert not load_nccl().available


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("no NCCL", r"NCCL is missing on at least one rank \(pip install nvidia-nccl-cu12\)$"),
        (
            "one GPU",
            r"multiple ranks use the same GPU \(set CUDA_VISIBLE_DEVICES to a different GPU for each\)$",
        ),
    ],
)
def test_if_nccl_cannot_be_used_gradients_are_copied_to_the_host_and_rank_0_says_why(
    nccl, settings, monkeypatch, fault, why
):
    if fault == "no NCCL":  # on one rank; the other one would wait for it forever
        modules = iter([nccl, SimpleNamespace(available=False)])
        monkeypatch.setattr("minichar.devices.nccl.load_nccl", lambda: next(modules))
    if fault == "one GPU":
        monkeypatch.setattr(
            "minichar.devices.cupy.open_nccl", lambda cupy, index, *rest: open_nccl(cupy, 0, *rest)
        )
    alone = losses_of(begin(settings).trainer, STEPS)
    with pytest.warns(RuntimeWarning, match=f"^gradients are averaged on the host because {why}") as warned:
        results = train(settings)
    assert len(warned) == 1
    for losses, copies in results:
        assert losses == pytest.approx(alone, abs=1e-9)
        assert copies == {"to_device": 2 * STEPS, "to_host": STEPS}


def test_an_error_of_nccl_is_one_line(nccl, settings, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("NCCL_ERROR_SYSTEM_ERROR\nunhandled system error")

    monkeypatch.setattr(nccl, "NcclCommunicator", fail)
    with pytest.raises(MinicharError, match=r"^device gpu:0: NCCL cannot connect the GPUs \(.*NCCL_DEBUG"):
        train(settings)
