"""Tests for the number of threads of matrix products on the CPU."""

import sys
from ctypes import CDLL
from pathlib import Path

import pytest
from toys import take, toy_settings

from minichar.api.training import train
from minichar.checkpoints.checkpoint import load_training
from minichar.devices import cpu, threads
from minichar.devices.cpu import CPU
from minichar.training.start import begin, resume


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setattr(CPU, "threads", 0)


@pytest.fixture
def machine(monkeypatch):
    """Replace OpenBLAS and the clock; return them, with the time of a product by number of threads."""

    class Machine:
        now, threads, seconds, used = 0.0, 8, {8: 1.0, 4: 1.0, 2: 1.0, 1: 1.0}, []

        @staticmethod
        def set(count):
            Machine.threads = count

        @staticmethod
        def product(*_, **__):
            Machine.used.append(Machine.threads)
            Machine.now += Machine.seconds[Machine.threads]

    Machine.used = []
    monkeypatch.setattr(threads, "setter", lambda: Machine.set)
    monkeypatch.setattr(threads, "perf_counter", lambda: Machine.now)
    return Machine


@pytest.mark.parametrize("variable", threads.VARIABLES)
@pytest.mark.parametrize(("value", "words"), [("1", "1 thread"), ("3", "up to 3 threads")])
def test_an_environment_variable_sets_the_number(variable, value, words, machine, monkeypatch):
    monkeypatch.setenv(variable, value)
    CPU.limit_threads(2)
    assert CPU.describe().endswith(f", {words}")
    assert CPU.threads == 0
    assert threads.clearly_faster(machine.product) == 0
    assert machine.threads == 8


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ({8: 1.0, 4: 1.0, 2: 1.0, 1: 1.0}, 0),
        ({8: 1.0, 4: 0.7, 2: 0.8, 1: 2.0}, 0),  # not by a factor of 1.5
        ({8: 1.0, 4: 0.6, 2: 0.8, 1: 2.0}, 4),
        ({8: 9.0, 4: 3.0, 2: 0.8, 1: 2.0}, 2),
        ({8: 9.0, 4: 9.0, 2: 9.0, 1: 0.1}, 1),
    ],
)
def test_fewer_threads_must_be_clearly_faster(seconds, fastest, machine):
    machine.seconds = seconds
    assert threads.clearly_faster(machine.product) == fastest
    assert machine.threads == 8
    assert set(machine.used) == {8, 4, 2, 1}


def test_one_slow_product_does_not_matter(machine):
    def product():
        machine.product()
        machine.now += 100.0 * (len(machine.used) == 2)  # the first that is timed, with all threads

    assert threads.clearly_faster(product) == 0


def test_openblas_computes_with_the_given_number_of_threads():
    if sys.platform != "linux" or (setter := threads.setter()) is None:
        pytest.skip("requires Linux, and a NumPy that includes OpenBLAS")
    name = setter.__name__.replace("_set_", "_get_")
    maps = Path("/proc/self/maps").read_text().splitlines()
    (path,) = {line.split()[-1] for line in maps if "openblas" in line}
    count = getattr(CDLL(path), name)
    before = count()
    try:
        for number in (2, 1):
            CPU.limit_threads(number)
            assert (count(), CPU.threads) == (number, number)
        assert CPU.describe().endswith(", 1 thread")
        CPU.limit_threads(10**12)  # from a forged checkpoint
        assert count() <= 8
    finally:
        setter(before)


def test_the_largest_product_of_the_network_is_measured(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(CPU, "fit_threads", lambda *sizes: measured.append(sizes))
    run = begin(toy_settings(tmp_path, rnn_size=9, num_layers=2))
    assert measured == [(*run.trainer.model.parameters["layer2.W"].shape, run.trainer.split.B)]
    monkeypatch.undo()
    M, K, N = measured[0]
    shapes = []
    monkeypatch.setattr(cpu, "clearly_faster", lambda product: shapes.append(product().shape) or 3)
    monkeypatch.setattr(cpu, "limit", lambda threads: True)
    CPU.fit_threads(M, K, N)
    assert (shapes, CPU.threads) == ([(M, N)], 3)


def test_a_resumed_run_uses_the_same_number_of_threads(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "clearly_faster", lambda product: 2)
    trainer = begin(toy_settings(tmp_path)).trainer
    take(trainer, 3)
    assert load_training(trainer.saver.last)[1].progress.threads == 2
    CPU.limit_threads(0)
    resume(trainer.saver.last, {})
    assert (CPU.threads, machine.threads) == (2, 2)


def test_training_from_python_does_not_limit_other_code(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "clearly_faster", lambda product: 2)
    settings = toy_settings(tmp_path)
    used = []
    train(
        settings.data,
        on_event=lambda event: used.append(machine.threads),
        checkpoint_dir=settings.checkpoint_dir,
        rnn_size=8,
        batch_size=2,
        max_epochs=0.1,
    )
    assert (set(used), machine.threads, CPU.threads) == ({2}, 8, 0)
