"""Checks of minichar on a device: executed on the CPU (cpu_cuda), latency never measured on a card.

Each returns a dict with the key ``passed``.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "bench"))  # for the scripts, all of which import this module

from bench_minichar import vocabulary
from bench_work import Work

from minichar.devices.backend import Backend
from minichar.devices.chunk_kernel import CLUSTERS, KERNELS
from minichar.devices.cpu import CPU, host_generator
from minichar.devices.graph import WARM_UP
from minichar.devices.philox import Philox, PhiloxUniform
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, toy_network
from minichar.engine.network import Network
from minichar.model import CharRNN
from minichar.sampling.blocks import BlockSampler
from minichar.sampling.choice import Choice
from minichar.sampling.generate import sample_ids
from minichar.training.evaluation import Measurement
from minichar.training.scheduled_sampling import ScheduledSampling
from minichar.training.settings import Settings
from minichar.training.start import begin, resume
from minichar.training.step import TrainingStep
from minichar.training.trainer import Trainer


@dataclass(frozen=True)
class Case:
    """Options of a network to check: those of `Config`, and whether states are reset within a chunk.

    `masks` are those of dropout, DropConnect and scheduled sampling. With them, losses are compared in
    float64, because a rounding difference may change a sampled character.
    """

    model: str = "lstm"
    layer_norm: bool = False
    embedding: int = 0
    tied: bool = False
    resets: bool = False
    masks: bool = False

    def config(self, base: Config) -> Config:
        """Return a configuration with these options and the sizes of `base`."""
        embedding = base.rnn_size if self.tied else self.embedding
        masks = {"dropout": 0.4, "weight_drop": 0.4} if self.masks else {}
        own = {"model": self.model, "layer_norm": self.layer_norm, "embedding": embedding, "tied": self.tied}
        return replace(base, **own, **masks)

    @property
    def title(self) -> str:
        """The name of the cell and the options."""
        options = ("layer_norm", "embedding", "tied", "resets", "masks")
        return ", ".join([self.model, *(name for name in options if getattr(self, name))])

    @property
    def dtype(self) -> str:
        """The dtype in which losses are compared."""
        return "float64" if self.masks else "float32"

    def state_mask(self, T: int, B: int) -> list[np.ndarray]:
        """Return the mask for `Network.set_state_mask` ``(T, B)``, in a list that is empty without resets."""
        return [host_generator(3).random((T, B)) < 0.7] if self.resets else []


PLAIN, SHORT_TEXT = Case(), Case("gru", layer_norm=True, tied=True, resets=True)
"""The default network, and the default for a short Chinese text, with resets between documents."""
CELLS = (Case(), Case("gru"), Case("gru-reset-before"), Case("rnn"))
NORMALISED = replace(PLAIN, layer_norm=True, embedding=5)
CASES = tuple(
    replace(cell, **options)
    for cell in CELLS
    for options in (
        {},
        {"layer_norm": True, "embedding": 5},
        {"layer_norm": True, "tied": True, "resets": True},
        {"masks": True},
    )
)
"""The cases in which losses are compared."""
CHOICES = {
    "temperature": Choice(0.7),
    "top-k": Choice(top_k=3),
    "top-p": Choice(top_p=0.8),
    "top-k and top-p": Choice(top_k=5, top_p=0.8),
    "argmax": Choice(argmax=True),
}
"""Options of sampling to check."""
LIMIT = 1e-4
"""Maximum difference between the losses on two devices, in nats per character."""


def gradients(backend: Backend) -> dict[str, Any]:
    """Check every element of the hand-written gradients in float64, with masks and each other option."""
    rows = {}
    for case in (*CELLS, NORMALISED, SHORT_TEXT):
        generator = host_generator(7)
        config = case.config(Config(4, rnn_size=3, dropout=0.4, weight_drop=0.4))
        network = toy_network(config, 3, 2, generator, backend)
        network.set_state_mask(*case.state_mask(3, 2))
        inputs, targets = backend.to_device(generator.integers(4, size=(2, 3, 2)))  # each (T, B)
        feed = ScheduledSampling(inputs, "sample", backend)
        feed.draw_mask(0.5, backend.uniform(7))
        rows[case.title] = check_network(network, feed, targets)
    return {
        "passed": all(row.passed for checked in rows.values() for row in checked),
        "errors": {title: max(row.complex_error for row in checked) for title, checked in rows.items()},
    }


def losses(backend: Backend, work: Work, steps: int, cases: Iterable[Case] = CASES) -> dict[str, Any]:
    """Compare the losses of training steps on the device with those on the CPU.

    A step on a GPU must also have been captured as a CUDA graph.
    """
    differences, captured = {}, {}
    for case in cases:
        expected, _ = training_losses(CPU, work, steps, case)
        found, step = training_losses(backend, work, steps, case)
        differences[case.title] = float(np.abs(found - expected).max())
        captured[case.title] = is_captured(step.parts[0])
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
    recorded = {kind: step.parts for kind, step in steps.items()} | {"evaluate": [], "sample": []}
    ids = work.ids()  # (T+1, B)
    for case in (PLAIN, SHORT_TEXT):
        model = new_model(backend, work, case)
        if case.resets:
            model.details["settings"] = {"reset_on": model.vocabulary.characters[:2]}
        measure, sampler = Measurement(model.network(work.seq_length, B)), BlockSampler(model, Choice(), B)
        measure.network.set_state_mask(*case.state_mask(work.seq_length, B))
        for _ in range(calls):
            measure(ids[:-1], ids[1:])
        sampler.feed_prime(ids[:calls, 0])
        sampler.sample(np.full((calls, B), 0.5))
        recorded["evaluate"].append(measure.whole_chunk)
        recorded["sample"] += [sampler.feed, sampler.step]
    captured = {kind: all(map(is_captured, parts)) for kind, parts in recorded.items()}
    return {"passed": backend.kind != "gpu" or all(captured.values()), "captured as a CUDA graph": captured}


def is_captured(part: Callable[[], None]) -> bool:
    """Return whether a recorded function has been captured as a CUDA graph."""
    return getattr(part, "graph", None) is not None


def new_model(backend: Backend, work: Work, case: Case) -> CharRNN:
    """Return a new model."""
    return CharRNN.new(case.config(work.config()), vocabulary(work.vocab_size), 1, case.dtype, backend)


def training_losses(
    backend: Backend, work: Work, steps: int, case: Case = PLAIN
) -> tuple[np.ndarray, TrainingStep]:
    """Return the loss of every step, ``(steps,)``, and the `TrainingStep`.

    The masks are the same on all devices. Before each step, a GPU frees its unused memory, which a captured
    step must not use.
    """
    model, T = new_model(backend, work, case), work.seq_length
    step = TrainingStep(model, T, work.batch_size, Settings(learning_rate=2e-3, weight_decay=0.3))
    step.set_rates(2e-3, 0.8 if case.masks else work.teacher_forcing_ratio)
    ids = replace(work, seq_length=steps * T).ids()  # (steps·T+1, B)
    generator = PhiloxUniform((1,), Philox(backend))
    state_mask, found = case.state_mask(T, work.batch_size), []
    for k in range(0, steps * T, T):
        free_unused(backend)
        step.learn(ids[k : k + T], ids[k + 1 : k + T + 1], generator, *state_mask)
        found.append(float(backend.to_host(step.loss)))
    return np.array(found), step


def free_unused(backend: Backend) -> None:
    """Return the unused memory of a GPU's default pool to the driver."""
    if backend.kind == "gpu":
        backend.xp.get_default_memory_pool().free_all_blocks()


def sampling(backend: Backend, work: Work, length: int = 20) -> dict[str, Any]:
    """Check that sampling on the device gives the same characters as on the CPU, with each option.

    A step on a GPU must also have been captured as a CUDA graph.
    """
    prime, same, captured = np.arange(3) % work.vocab_size, {}, {}
    for name, choice in CHOICES.items():
        generators = [host_generator(5, b) for b in range(work.batch_size)]
        wanted = list(sample_ids(new_model(CPU, work, PLAIN), prime, choice, generators, length))
        u = np.stack([host_generator(5, b).random(length) for b in range(work.batch_size)], axis=1)
        sampler = BlockSampler(new_model(backend, work, PLAIN), choice, work.batch_size)
        sampler.feed_prime(prime)
        same[name] = np.array_equal(wanted, sampler.sample(u))  # each (length, B)
        captured[name] = is_captured(sampler.step)
    passed = all(same.values()) and (backend.kind != "gpu" or all(captured.values()))
    return {"passed": passed, "same characters": same, "captured as a CUDA graph": captured}


def resuming(backend: Backend, work: Work, steps: int, use_ss: bool = True) -> dict[str, Any]:
    """Check that a run that is stopped and resumed gives the same weights as an uninterrupted one."""
    with TemporaryDirectory() as name:
        text = Path(name) / "input.txt"
        text.write_text("".join(Random(1).choices("abcdefgh \n", k=10 * steps * work.seq_length)))
        sizes = {"rnn_size": work.rnn_size, "seq_length": work.seq_length, "batch_size": 4, "max_epochs": 1}
        masks = {"dropout": 0.3, "weight_drop": 0.2, "use_ss": use_ss, "start_ss": 0.8, "min_ss": 0.5}
        settings = Settings(data=text, checkpoint_dir=text.with_name("whole"), **sizes, **masks)
        whole = train(begin(settings, backend).trainer, steps)
        settings = replace(settings, checkpoint_dir=text.with_name("half"))
        half = train(begin(settings, backend).trainer, steps // 2)
        resumed = train(resume(half.saver.saved[-1], {}, backend).trainer, steps)
        weights = [backend.to_host(trainer.step.theta.flat) for trainer in (whole, resumed, half)]
    same, different = np.array_equal(*weights[:2]), not np.array_equal(*weights[1:])
    return {"passed": same and different, "bit for bit": same, "steps": (half.iteration, resumed.iteration)}


def chunk_kernel(backend: Backend, work: Work, steps: int) -> dict[str, Any]:
    """Check the gradients and a resumed run with the chunk kernel, for each cell and size that it supports.

    On a GPU, the kernel must have been used for at least one size.
    """
    differences, without = {}, []
    backend.uses_chunk_kernel = True
    try:
        for model, H in product(KERNELS, CLUSTERS):
            one = replace(work, model=model, rnn_size=H)
            (wanted, _), (found, network) = gradient_of(CPU, one), gradient_of(backend, one)
            differences[f"{model} {H}"] = float(np.abs(found - wanted).max() / np.abs(wanted).max())
            if not network.uses_kernel:
                without.append(f"{model} {H}")
        resumed = resuming(backend, replace(work, rnn_size=min(CLUSTERS)), steps, use_ss=False)
    finally:
        backend.uses_chunk_kernel = False
    agree = all(difference <= LIMIT for difference in differences.values())  # false for NaN
    used = backend.kind != "gpu" or len(without) < len(differences)
    return {
        "passed": agree and used and resumed["passed"],
        "largest relative difference": differences,
        "without a kernel": without,
        "resumed bit for bit": resumed["bit for bit"],
    }


def gradient_of(backend: Backend, work: Work) -> tuple[np.ndarray, Network]:
    """Return the gradient of the loss of a chunk, ``(size,)``, and the network."""
    network = new_model(backend, work, Case(work.model)).network(work.seq_length, work.batch_size)
    ids = backend.to_device(work.ids())  # (T+1, B)
    network.loss_and_gradient(ids[:-1], ids[1:])
    return backend.to_host(network.gradient.flat), network


def train(trainer: Trainer, steps: int) -> Trainer:
    """Train up to step `steps`, and save a checkpoint."""
    for _ in trainer.run():
        if trainer.iteration >= steps:
            trainer.stop()
    return trainer
