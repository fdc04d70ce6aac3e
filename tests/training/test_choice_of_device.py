"""Tests for ``--device auto``, which selects the device that trains fastest on a few chunks."""

import numpy as np
import pytest
from toys import TEXT, take, toy_settings

from minichar.devices.cpu import CPU, NumPyBackend
from minichar.engine.config import Config
from minichar.text.batches import split_text
from minichar.text.vocabulary import Vocabulary
from minichar.training import device as choosing
from minichar.training import timings
from minichar.training.device import fastest, fastest_known, same_kind, time_step
from minichar.training.settings import Settings
from minichar.training.start import begin
from minichar.training.step import TrainingStep

LETTERS = Vocabulary("".join(sorted(set(TEXT))))
SETTINGS = Settings(rnn_size=4, dropout=0.0, embedding=0, batch_size=3, seq_length=4, weight_decay=0.0)
CONFIG = Config(len(LETTERS), rnn_size=4)
SPLIT = split_text(LETTERS.encode(TEXT), 3, 4, 0.95, 0.05, "columns")


class Other(NumPyBackend):
    """A second device, called ``gpu:0``."""

    def __init__(self):
        super().__init__()
        self.name = "gpu:0"

    def platform(self):
        return "another device"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Use an empty cache of timings, and return its path."""
    monkeypatch.setenv("MINICHAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "timings.json"


@pytest.fixture
def timed(monkeypatch):
    """Patch `time_step`; return ``(times, calls)``: the time of each device, and the devices timed so far.

    Tests may replace a time with an exception for `time_step` to raise.
    """
    times, calls = {"cpu": 12.3, "gpu:0": 18.0}, []

    def measured(device, *size):
        calls.append(device.name)
        if isinstance(times[device.name], Exception):
            raise times[device.name]
        return times[device.name]

    monkeypatch.setattr(choosing, "time_step", measured)
    return times, calls


def choose(devices, config=CONFIG, settings=SETTINGS, split=SPLIT):
    return fastest(devices, config, LETTERS, settings, split)


def test_a_single_device_costs_nothing(cache, timed, monkeypatch):
    monkeypatch.delattr(choosing, "timings")
    other = Other()
    assert choose([other]) == (other, [])
    assert fastest_known([other], CONFIG, SETTINGS, SPLIT) == (other, [])
    assert same_kind([other], "opencl") == (other, [])
    assert timed[1] == []


@pytest.mark.usefixtures("cache")
def test_the_faster_device_is_chosen(timed):
    other = Other()
    assert choose([CPU, other]) == (CPU, ["device auto: cpu, 12.3 ms per step; gpu:0 takes 18.0 ms"])


@pytest.mark.usefixtures("cache")
def test_the_first_device_is_chosen_if_both_are_equally_fast(timed):
    timed[0]["gpu:0"] = timed[0]["cpu"]
    assert choose([CPU, Other()])[0] is CPU


def test_devices_are_timed_once(cache, timed):
    other = Other()
    first = choose([CPU, other])
    timed[0]["gpu:0"] = 1.0
    assert choose([CPU, other]) == first
    assert timed[1] == ["cpu", "gpu:0"]
    cache.unlink()
    assert choose([CPU, other]) == (other, ["device auto: gpu:0, 1.0 ms per step; cpu takes 12.3 ms"])


def test_a_device_that_fails_is_not_chosen_and_is_timed_again(cache, timed):
    timed[0]["gpu:0"] = RuntimeError("out of memory\nallocated so far: ...")
    other = Other()
    note = "device auto: cpu, 12.3 ms per step; gpu:0 failed (RuntimeError: out of memory)"
    assert choose([CPU, other]) == (CPU, [note])
    assert not cache.exists()
    timed[0]["gpu:0"] = 1.0
    assert choose([CPU, other])[0] is other


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "fault",
    [
        ("minichar.devices.cupy.load_library", "cuBLAS cannot be used"),
        ("cupy_double.cuda.Stream.begin_capture", "cannot be captured"),
    ],
)
def test_a_gpu_that_cannot_capture_steps_is_timed_again_when_it_can(fault, monkeypatch):
    double = pytest.importorskip("cupy_double")

    def fail(*arguments):
        raise RuntimeError("a fault of the driver")

    def open_and_choose():
        devices = CPU, double.open_double()
        choose(devices)
        return devices

    with monkeypatch.context() as patch:
        patch.setattr(fault[0], fail)
        with pytest.warns(RuntimeWarning, match=fault[1]):
            devices = open_and_choose()
        assert fastest_known(devices, CONFIG, SETTINGS, SPLIT)[1][0].endswith("(in training)")
    (slow,) = timings.load()
    assert "gpu:0 (no CUDA graphs)" in str(slow)
    assert fastest_known((CPU, double.open_double()), CONFIG, SETTINGS, SPLIT)[1] == [
        f"device auto: {slow} (in training)"
    ]
    devices = open_and_choose()
    assert timings.load() == [slow, timings.find(slow.size, devices)]


@pytest.mark.usefixtures("cache")
def test_an_error_on_the_cpu_is_raised(timed):
    timed[0]["cpu"] = MemoryError()
    with pytest.raises(MemoryError):
        choose([CPU, Other()])


@pytest.mark.usefixtures("cache")
def test_evaluation_uses_the_choice_of_training(timed):
    other = Other()
    note = "device auto: cpu; no times are stored for training steps of this size"
    assert fastest_known([CPU, other], CONFIG, SETTINGS, SPLIT) == (CPU, [note])
    timed[0]["gpu:0"] = 1.0
    choose([CPU, other])
    note = "device auto: gpu:0, 1.0 ms per step; cpu takes 12.3 ms (in training)"
    assert fastest_known([CPU, other], CONFIG, SETTINGS, SPLIT) == (other, [note])
    assert timed[1] == ["cpu", "gpu:0"]


def test_a_resumed_run_uses_the_same_kind_of_device():
    other = Other()
    assert same_kind([CPU, other], "gpu")[0] is other
    assert same_kind([CPU, other], "cpu")[0] is CPU
    assert same_kind([CPU, other], "opencl") == (CPU, [])


class TestTime:
    @pytest.fixture
    def learned(self, monkeypatch):
        """Return the arguments of all calls to `TrainingStep.learn` and the teacher-forcing ratio of each."""
        calls, learn = [], TrainingStep.learn

        def record(step, *chunk):
            calls.append((step.teacher_forcing_ratio, *chunk[:2]))
            learn(step, *chunk)

        monkeypatch.setattr(TrainingStep, "learn", record)
        return calls

    @pytest.fixture
    def clock(self, monkeypatch):
        """Return a function that sets the durations of successive steps, in seconds."""

        def set_durations(durations):
            ticks = (tick for k, duration in enumerate(durations) for tick in (100 * k, 100 * k + duration))
            monkeypatch.setattr(choosing, "perf_counter", lambda: next(ticks))

        return set_durations

    def time(self, **changes):
        return time_step(CPU, CONFIG, LETTERS, Settings(**(vars(SETTINGS) | changes)), SPLIT)

    def test_is_the_median_without_the_first_step(self, clock, learned):
        clock([50, *[0.004] * 5, *[0.002] * 5])
        assert self.time() == pytest.approx(3)
        assert len(learned) == 1 + choosing.STEPS

    def test_steps_use_the_chunks_of_the_text(self, learned):
        assert self.time() > 0
        for k, (ratio, inputs, targets) in enumerate(learned):
            assert ratio == 1
            np.testing.assert_array_equal((inputs, targets), SPLIT.train[k % len(SPLIT.train)])

    def test_few_steps_are_enough_if_they_are_slow(self, clock, learned):
        clock([3, 1.5, 1.5, *[9] * 20])
        assert self.time() == 1500
        assert len(learned) == 3

    def test_on_a_gpu_only_replays_are_timed(self, clock, monkeypatch):
        double, replayed, learn = pytest.importorskip("cupy_double"), [], TrainingStep.learn

        def record(step, *chunk):
            replayed.append(step.parts[0].graph is not None)
            learn(step, *chunk)

        monkeypatch.setattr(TrainingStep, "learn", record)
        clock([50, 1.5, 1.5, *[0.04] * 5, *[0.06] * 5])
        assert time_step(double.open_double(), CONFIG, LETTERS, SETTINGS, SPLIT) == pytest.approx(50)
        assert replayed == [False] * 3 + [True] * choosing.STEPS

    def test_includes_scheduled_sampling(self, learned):
        self.time(use_ss=True, min_ss=0.25)
        assert {ratio for ratio, *_ in learned} == {0.25}

    def test_waits_for_the_device_before_the_clock_is_read(self, monkeypatch):
        device, happened = Other(), []
        monkeypatch.setattr(choosing, "perf_counter", lambda: happened.append("clock") or 0)
        monkeypatch.setattr(device, "to_host", lambda loss: happened.append("wait"))
        time_step(device, CONFIG, LETTERS, SETTINGS, SPLIT)
        assert happened == ["clock", "wait", "clock"] * (1 + choosing.STEPS)


@pytest.mark.usefixtures("cache")
def test_timing_does_not_change_the_run(tmp_path):
    settings = toy_settings(tmp_path, dropout=0.5)
    alone, chosen = begin(settings).trainer, begin(settings, CPU, Other()).trainer
    take(alone, 5)
    take(chosen, 5)
    np.testing.assert_array_equal(alone.model.parameters.flat, chosen.model.parameters.flat)


@pytest.mark.usefixtures("cache")
def test_real_times_are_positive_and_reported(tmp_path):
    run = begin(toy_settings(tmp_path), CPU, Other())
    (timing,) = timings.load()
    assert all(milliseconds > 0 for milliseconds in timing.milliseconds.values())
    assert run.notes[-1] == f"device auto: {timing}"
    assert run.trainer.backend.name == timing.fastest
