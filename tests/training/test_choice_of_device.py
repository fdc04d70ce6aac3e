"""Tests for ``--device auto``, which selects a device by the size of a step, and for timing a step."""

import re

import numpy as np
import pytest
from cupy_double import open_double
from devices import Other
from toys import TEXT, take, toy_settings

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.text.batches import split_text
from minichar.text.vocabulary import Vocabulary
from minichar.training import device as choosing
from minichar.training import plan as planning
from minichar.training.device import same_kind, suited, time_step
from minichar.training.settings import Settings
from minichar.training.start import begin
from minichar.training.step import TrainingStep

LETTERS = Vocabulary("".join(sorted(set(TEXT))))
SETTINGS = Settings(rnn_size=4, dropout=0.0, embedding=0, batch_size=3, seq_length=4, weight_decay=0.0)
CONFIG = Config(len(LETTERS), rnn_size=4)
LARGE = Config(20, rnn_size=128)
SPLIT = split_text(LETTERS.encode(TEXT), 3, 4, 0.95, 0.05, "columns")


def test_a_gpu_is_used_if_steps_are_large():
    other, found = Other(), []
    for H, layers in ((8, 9), (64, 2), (128, 2), (1024, 1)):
        device, (note,) = suited([CPU, other], Config(65, rnn_size=H, num_layers=layers), 20)
        found.append(device)
        size = "large enough" if device is other else "too small"
        assert note.startswith(f"device auto: {device.name}, because each step is {size} for a GPU")
        assert bool(re.search(r"gpu:0 agrees with the CPU \(checked in \d+\.\d s\)$", note)) == (
            device is other
        )
    assert found == [CPU, CPU, other, other]


def off(name, by):
    """Return a second device, one of whose functions is wrong."""
    device = Other()
    right = getattr(device, name)

    def wrong(*arguments, **options):
        result = right(*arguments, **options)
        out = options.get("out", arguments[-1] if result is None else result)
        out *= by
        return result

    setattr(device, name, wrong)
    return device


@pytest.mark.parametrize(
    ("name", "by", "dtype", "usable"),
    [
        ("matmul", 1 + 1e-3, "float32", False),
        ("take_columns", 1 + 1e-3, "float32", False),  # in the forward pass
        ("sum_columns", 1 + 1e-3, "float32", False),  # in the backward pass
        ("sum_columns", 1 + 1e-6, "float32", True),
        ("sum_columns", 1 + 1e-6, "float64", False),
        ("matmul", float("nan"), "float32", False),
    ],
)
def test_a_gpu_that_computes_wrongly_is_not_used(name, by, dtype, usable):
    device, (note,) = suited([CPU, wrong := off(name, by)], LARGE, 20, dtype)
    assert device is (wrong if usable else CPU)
    pattern = r"device auto: cpu, because gpu:0 differs from the CPU by \S+ of the gradient's largest entry"
    assert bool(re.match(pattern, note)) != usable


def test_a_gpu_that_cannot_compute_is_not_used_and_a_named_one_is_not_checked():
    def broken(A, B, out=None):
        raise RuntimeError("out of order\nmore")

    wrong = Other()
    wrong.matmul = broken
    device, (note,) = suited([CPU, wrong], LARGE, 20)
    assert device is CPU
    assert "because gpu:0 cannot compute a small chunk (RuntimeError: out of order) (checked in" in note
    assert suited([wrong], LARGE, 20) == (wrong, [])
    assert same_kind([CPU, wrong], "gpu")[0] is wrong


def test_tf32_is_expected_only_in_float32_and_only_if_it_is_used():
    wrong = off("matmul", 1 + 1e-3)
    wrong.tf32 = True
    assert suited([CPU, wrong], LARGE, 20)[0] is wrong
    assert suited([CPU, wrong], LARGE, 20, "float64")[0] is CPU


def test_the_time_of_the_check_is_not_planned_for_training(monkeypatch, tmp_path):
    """The check takes most of the two minutes."""
    now, seen = 1.0, []

    def slow(*arguments):
        nonlocal now
        now += 100.0
        return ""

    def measured(nominal, *arguments):
        seen.append(nominal.seconds)
        return nominal

    monkeypatch.setattr(choosing, "doubt_about", slow)
    monkeypatch.setattr(choosing, "LARGE_STEP", 0.0)
    monkeypatch.setattr(planning, "measured", measured)
    monkeypatch.setattr(planning, "monotonic", lambda: now)
    begin(toy_settings(tmp_path, max_time=2.0, max_epochs=None), CPU, Other(), started=1.0)
    assert seen == [planning.TRAINING_SHARE * 20.0]


def test_a_single_device_is_used_without_a_note():
    other = Other()
    assert suited([other], CONFIG, SPLIT.B) == (other, [])
    assert same_kind([other], "opencl") == (other, [])


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
        return time_step(CPU, CONFIG, LETTERS, Settings(**(vars(SETTINGS) | changes)), SPLIT.train)

    def test_is_the_median_without_the_first_step(self, clock, learned):
        clock([50, *[0.004] * 5, *[0.002] * 5])
        assert self.time() == pytest.approx(0.003)
        assert len(learned) == 1 + choosing.STEPS

    def test_steps_use_the_chunks_of_the_text_and_scheduled_sampling(self, learned):
        assert self.time() > 0
        for k, (ratio, inputs, targets) in enumerate(learned):
            assert ratio == 1
            np.testing.assert_array_equal((inputs, targets), SPLIT.train[k % len(SPLIT.train)])
        learned.clear()
        self.time(use_ss=True, min_ss=0.25)
        assert {ratio for ratio, *_ in learned} == {0.25}

    def test_few_steps_are_enough_if_they_are_slow(self, clock, learned):
        clock([3, 1.5, 1.5, *[9] * 20])
        assert self.time() == 1.5
        assert len(learned) == 3

    def test_on_a_gpu_only_replays_are_timed(self, clock, monkeypatch):
        replayed, learn = [], TrainingStep.learn

        def record(step, *chunk):
            replayed.append(step.parts[0].graph is not None)
            learn(step, *chunk)

        monkeypatch.setattr(TrainingStep, "learn", record)
        clock([50, 1.5, 1.5, *[0.04] * 5, *[0.06] * 5])
        assert time_step(open_double(), CONFIG, LETTERS, SETTINGS, SPLIT.train) == pytest.approx(0.05)
        assert replayed == [False] * 3 + [True] * choosing.STEPS

    def test_waits_for_the_device_before_the_clock_is_read(self, monkeypatch):
        device, happened = Other(), []
        monkeypatch.setattr(choosing, "perf_counter", lambda: happened.append("clock") or 0)
        monkeypatch.setattr(device, "to_host", lambda loss: happened.append("wait"))
        time_step(device, CONFIG, LETTERS, SETTINGS, SPLIT.train)
        assert happened == ["clock", "wait", "clock"] * (1 + choosing.STEPS)


def test_a_run_on_the_chosen_device_is_the_same(tmp_path):
    settings = toy_settings(tmp_path, dropout=0.5)
    alone, chosen = begin(settings).trainer, begin(settings, CPU, Other()).trainer
    take(alone, 5)
    take(chosen, 5)
    np.testing.assert_array_equal(alone.model.parameters.flat, chosen.model.parameters.flat)
    note = "device auto: cpu, because each step is too small for a GPU"
    assert begin(settings, CPU, Other()).notes[-1] == note
