"""Tests for the number of threads of matrix products on the CPU."""

import os

import pytest
from click.testing import CliRunner
from toys import take, toy_settings

from minichar.api.training import train
from minichar.checkpoints.checkpoint import load_training
from minichar.cli import main
from minichar.devices import cpu, threads
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError
from minichar.training.start import begin, resume
from minichar.training.team import Team


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(CPU, "threads", 0)


@pytest.fixture
def machine(monkeypatch):
    """Replace OpenBLAS, products and the clock; return them, with the times by number of threads."""

    class Machine:
        now, threads, used, most = 0.0, 8, [], 8
        step, gradient = ({8: time, 4: time, 2: time, 1: time} for time in (1.0, 5e-3))

        @staticmethod
        def set(count):
            Machine.threads = count

        @staticmethod
        def product(a, b, out):
            M, K, N = *a.shape, b.shape[1]
            assert (out.shape, len(b)) == ((M, N), K)
            times = Machine.step if (M, K) == (5, 3) else Machine.gradient
            assert (M, K, N) in ((5, 3, 2), (5, 3, 6), (5, 100, 3), (5, 256, 3))  # at most 256 columns
            Machine.used.append(Machine.threads)
            Machine.now += times[Machine.threads]

    Machine.used = []
    monkeypatch.setattr(threads, "openblas", lambda: (Machine.set, Machine.most))
    monkeypatch.setattr(threads, "perf_counter", lambda: Machine.now)
    monkeypatch.setattr(threads, "matmul", Machine.product)
    return Machine


@pytest.mark.parametrize("variable", threads.VARIABLES)
@pytest.mark.parametrize(("value", "words"), [("1", "1 thread"), ("3", "up to 3 threads")])
def test_an_environment_variable_sets_the_number(variable, value, words, machine, monkeypatch):
    monkeypatch.setenv(variable, value)
    CPU.limit_threads(2)
    assert CPU.describe().endswith(f", {words}")
    assert CPU.threads == threads.clearly_faster(5, 3, 2) == 0
    assert (machine.threads, machine.used) == (8, [])


def test_by_default_the_number_is_that_of_the_available_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
    assert CPU.describe().endswith(", up to 3 threads")


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ({8: 1.0, 4: 1.0, 2: 1.0, 1: 1.0}, 0),
        ({8: 1.0, 4: 0.7, 2: 0.8, 1: 2.0}, 0),  # not by a factor of 1.5
        ({8: 1.0, 4: 0.6, 2: 0.8, 1: 2.0}, 4),
        ({8: 9.0, 4: 3.0, 2: 0.8, 1: 2.0}, 2),
        ({8: 9.0, 4: 9.0, 2: 9.0, 1: 0.1}, 1),
        ({8: 0.004, 4: 0.003, 2: 0.002, 1: 0.0004}, 1),  # several products per measurement
        ({8: 0.006, 4: 0.006, 2: 0.006, 1: 0.0049}, 0),
    ],
)
def test_fewer_threads_must_be_clearly_faster(seconds, fastest, machine):
    machine.step = seconds
    assert threads.clearly_faster(5, 3, 2) == fastest
    assert machine.threads == 8
    assert set(machine.used) == {8, 4, 2, 1}


@pytest.mark.parametrize("N", [2, 6])
@pytest.mark.parametrize(("step", "fastest"), [(0.01, 1), (0.05, 0)])
def test_the_gradient_counts_once_per_chunk(step, fastest, N, machine):
    """With one thread, it takes 1 s less. The steps of a chunk take 0.5 s or 2.5 s in any case."""
    machine.step = dict.fromkeys(machine.step, step)
    machine.gradient = {8: 1.1, 4: 1.1, 2: 1.1, 1: 0.1}
    assert threads.clearly_faster(5, 3, N) == fastest


def test_nothing_is_measured_with_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "openblas", lambda: None)
    monkeypatch.setattr(threads, "matmul", None)
    assert threads.clearly_faster(5, 3, 2) == threads.limit(0) == 0


@pytest.mark.parametrize(("products", "fastest"), [(4, 0), (32, 4)])
def test_programs_that_delay_two_of_the_measurements_matter_but_one_does_not(
    products, fastest, machine, monkeypatch
):
    """One or two of the five measurements with all threads take longer."""

    def product(a, b, out):
        machine.product(a, b, out)
        machine.now += 100.0 * (machine.threads == 8 and len(machine.used) <= products)

    monkeypatch.setattr(threads, "matmul", product)
    machine.step = {8: 1.0, 4: 1.0, 2: 1.0, 1: 1.1}
    assert threads.clearly_faster(5, 3, 2) == fastest


def test_openblas_computes_with_the_given_number_of_threads():
    if (found := threads.openblas()) is None:
        pytest.skip("OpenBLAS has one thread, or NumPy uses another library")
    set_, most = found
    pools = pytest.importorskip("threadpoolctl")

    def count():
        return next(pool["num_threads"] for pool in pools.threadpool_info() if pool["user_api"] == "blas")

    try:
        CPU.limit_threads(1)
        assert (count(), CPU.threads) == (1, 1)
        CPU.limit_threads(most + 1)  # for example, in a checkpoint from another machine
        assert (count(), CPU.threads) == (most, 0)
        CPU.fit_threads(64, 32, 8)
        assert count() == (CPU.threads or most)
    finally:
        set_(most)


def test_the_largest_product_of_the_network_is_measured_by_a_single_process(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(CPU, "fit_threads", lambda *sizes: measured.append(sizes))
    settings = toy_settings(tmp_path, rnn_size=9, num_layers=2)
    run = begin(settings)
    assert measured == [(*run.trainer.model.parameters["layer2.W"].shape, run.trainer.split.B)]

    class Two(Team):
        size = 2

    begin(settings, team=Two())
    assert len(measured) == 1


def test_sample_and_eval_measure_the_product_of_their_streams(tmp_path, monkeypatch):
    measured = []
    settings = toy_settings(tmp_path, rnn_size=9, num_layers=2)
    trainer = begin(settings).trainer
    take(trainer, 3)
    monkeypatch.setattr(CPU, "fit_threads", lambda *sizes: measured.append(sizes))
    for words in (["sample", "--num-samples", "3", "--length", "1"], ["eval", "--part", "train", "--quiet"]):
        assert CliRunner().invoke(main, [*words, str(trainer.saver.last)]).exit_code == 0
    shape = trainer.model.parameters["layer2.W"].shape
    assert measured == [(*shape, 3), (*shape, trainer.split.B)]


def test_a_resumed_run_uses_the_same_number_of_threads(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "clearly_faster", lambda M, K, N: 2)
    trainer = begin(toy_settings(tmp_path)).trainer
    take(trainer, 3)
    assert load_training(trainer.saver.last)[1].progress.threads == 2
    CPU.limit_threads(0)
    resume(trainer.saver.last, {})
    assert (CPU.threads, machine.threads) == (2, 2)


def test_training_from_python_does_not_limit_other_code(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "clearly_faster", lambda M, K, N: 2)
    settings = toy_settings(tmp_path)
    used = []
    options = {"checkpoint_dir": settings.checkpoint_dir, "rnn_size": 8, "batch_size": 2, "max_epochs": 0.1}
    train(settings.data, on_event=lambda event: used.append(machine.threads), **options)
    assert (set(used), machine.threads, CPU.threads) == ({2}, 8, 0)
    with pytest.raises(MinicharError):  # the run is complete
        train(resume=settings.checkpoint_dir)
    assert (machine.threads, CPU.threads) == (8, 0)


def test_a_product_is_timed_even_if_another_program_runs_first(monkeypatch):
    """The process may be suspended between two readings of the clock."""
    ticks = iter([0.0, 1.0])
    monkeypatch.setattr(threads, "perf_counter", lambda: next(ticks))
    assert threads.time(2, 3, 4) == 1.0
