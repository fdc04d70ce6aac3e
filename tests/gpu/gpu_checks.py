"""Checks of minichar on a device. Each returns a dict with the key ``passed``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from minichar.bench.ours import vocabulary
from minichar.bench.work import Work
from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU, host_generator
from minichar.devices.graph import WARM_UP
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, toy_network
from minichar.model import CharRNN
from minichar.sampling.blocks import BlockSampler
from minichar.sampling.choice import Choice
from minichar.training.measurement import Measurement
from minichar.training.scheduled_sampling import ScheduledSampling
from minichar.training.settings import Settings
from minichar.training.start import begin, resume
from minichar.training.step import TrainingStep
from minichar.training.trainer import Trainer

CELLS = (("lstm", "after"), ("gru", "after"), ("gru", "before"), ("rnn", "after"))
LIMIT = 1e-4
"""Maximum difference between the losses on two devices, in nats per character."""


def gradients(backend: Backend) -> dict[str, Any]:
    """Check every element of the hand-written gradients of every cell, in float64."""
    rows = {}
    for model, gru_reset in CELLS:
        generator = host_generator(7)
        config = Config(4, model, 3, 2, dropout=0.4, gru_reset=gru_reset, weight_drop=0.4)
        network = toy_network(config, 3, 2, generator, backend)
        inputs, targets = backend.to_device(generator.integers(4, size=(2, 3, 2)))  # each (T, B)
        feed = ScheduledSampling(inputs, "sample", backend)
        feed.draw_mask(0.5, backend.uniform(7))
        rows[config.cell.title] = check_network(network, feed, targets)
    return {
        "passed": all(row.passed for checked in rows.values() for row in checked),
        "errors": {title: max(row.complex_error for row in checked) for title, checked in rows.items()},
    }


def losses(backend: Backend, work: Work, steps: int) -> dict[str, Any]:
    """Compare the losses of training steps on the device with those on the CPU, in float32.

    A step on a GPU must also have been captured as a CUDA graph.
    """
    differences, captured = {}, {}
    for model, gru_reset in CELLS:
        one = replace(work, model=model, gru_reset=gru_reset)
        expected, _ = training_losses(CPU, one, steps)
        found, step = training_losses(backend, one, steps)
        title = one.config().cell.title
        differences[title] = float(np.abs(found - expected).max())
        captured[title] = is_captured(step.parts[0])
    agree = all(difference <= LIMIT for difference in differences.values())  # false for NaN
    return {
        "passed": agree and (backend.kind != "gpu" or all(captured.values())),
        "largest difference": differences,
        "captured as a CUDA graph": captured,
    }


def graphs(backend: Backend, work: Work) -> dict[str, Any]:
    """Check that the steps of training, evaluation and sampling are captured as CUDA graphs on a GPU."""
    B, calls = work.batch_size, WARM_UP + 1
    kinds = ("train", "dropout", "scheduled-sampling")
    steps = {kind: training_losses(backend, replace(work, kind=kind), calls)[1] for kind in kinds}
    recorded = {kind: step.parts for kind, step in steps.items()}
    model = CharRNN.new(work.config(), vocabulary(work.vocab_size), seed=1, backend=backend)
    measure, sampler = Measurement(model.network(work.seq_length, B)), BlockSampler(model, Choice(), B)
    ids = work.ids()  # (T+1, B)
    for _ in range(calls):
        measure(ids[:-1], ids[1:])
        measure.read(ids[:-1])
    sampler.feed_prime(ids[:calls, 0])
    sampler.sample(np.full((calls, B), 0.5))
    recorded |= {
        "evaluate": [measure.whole_chunk, measure.whole_input],
        "sample": [sampler.feed, sampler.step],
    }
    captured = {kind: all(map(is_captured, parts)) for kind, parts in recorded.items()}
    return {"passed": backend.kind != "gpu" or all(captured.values()), "captured as a CUDA graph": captured}


def is_captured(part: Callable[[], None]) -> bool:
    """Return whether a recorded function has been captured as a CUDA graph."""
    return getattr(part, "graph", None) is not None


def training_losses(backend: Backend, work: Work, steps: int) -> tuple[np.ndarray, TrainingStep]:
    """Return the loss of every step, ``(steps,)``, and the `TrainingStep`."""
    model = CharRNN.new(work.config(), vocabulary(work.vocab_size), seed=1, backend=backend)
    T = work.seq_length
    step = TrainingStep(model, T, work.batch_size, Settings(learning_rate=2e-3))
    step.set_rates(2e-3, work.teacher_forcing_ratio)
    ids, generator = replace(work, seq_length=steps * T).ids(), backend.uniform(1)  # (steps·T+1, B)
    found = []
    for k in range(0, steps * T, T):
        step.learn(ids[k : k + T], ids[k + 1 : k + T + 1], generator)
        found.append(float(backend.to_host(step.loss)))
    return np.array(found), step


def resuming(backend: Backend, work: Work, steps: int) -> dict[str, Any]:
    """Check that a run that is stopped and resumed gives the same weights as an uninterrupted one."""
    with TemporaryDirectory() as name:
        text = Path(name) / "input.txt"
        text.write_text("".join(Random(1).choices("abcdefgh \n", k=10 * steps * work.seq_length)))
        settings = Settings(
            data=text,
            checkpoint_dir=Path(name) / "whole",
            rnn_size=work.rnn_size,
            dropout=0.3,
            weight_drop=0.2,
            use_ss=True,
            start_ss=0.8,
            min_ss=0.5,
            seq_length=work.seq_length,
            batch_size=4,
            max_epochs=1,
        )
        whole = train(begin(settings, backend).trainer, steps)
        half = train(
            begin(replace(settings, checkpoint_dir=text.with_name("half")), backend).trainer, steps // 2
        )
        resumed = train(resume(half.saver.saved[-1], {}, backend).trainer, steps)
        weights = [backend.to_host(trainer.step.theta.flat) for trainer in (whole, resumed, half)]
    same, different = np.array_equal(*weights[:2]), not np.array_equal(*weights[1:])
    return {"passed": same and different, "bit for bit": same, "steps": (half.iteration, resumed.iteration)}


def train(trainer: Trainer, steps: int) -> Trainer:
    """Train up to step `steps`, and save a checkpoint."""
    for _ in trainer.run():
        if trainer.iteration >= steps:
            trainer.stop()
    return trainer
