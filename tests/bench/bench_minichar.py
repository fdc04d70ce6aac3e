"""Benchmarks of minichar: the inner loops of ``minichar train``, ``eval`` and ``sample``."""

import sys
from collections.abc import Callable

from bench_work import PIECE, Work, waiting

from minichar.devices.backend import Backend
from minichar.devices.choose import open_backend
from minichar.devices.cpu import host_generator
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import sample_ids
from minichar.text.vocabulary import Vocabulary
from minichar.training.evaluation import Measurement
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

FIRST = 0x10000
"""First character of the vocabulary. No later character is a surrogate."""


def prepare(work: Work) -> Callable[[], None]:
    """Return a function that runs one iteration of the benchmark."""
    backend = open_backend(work.device, work.tf32)
    backend.uses_chunk_kernel = work.chunk_kernel
    backend.announce = lambda notice: print(notice, file=sys.stderr)  # the stream at that time
    model = CharRNN.new(work.config(), vocabulary(work.vocab_size), seed=1, backend=backend)
    if work.trains:
        unit = training(work, model, backend)
    else:
        unit = evaluation(work, model) if work.kind == "evaluate" else sampling(work, model)
    if work.on_gpu:
        return waiting(unit, lambda: backend.xp.cuda.get_current_stream().synchronize())
    return unit


def vocabulary(V: int) -> Vocabulary:
    """Return a vocabulary with V characters."""
    return Vocabulary("".join(map(chr, range(FIRST, FIRST + V))))


def training(work: Work, model: CharRNN, backend: Backend) -> Callable[[], None]:
    """Return a function that trains on the same chunk on each call."""
    # Disable weight averaging and weight decay, because the PyTorch benchmark does not use them.
    settings = Settings(learning_rate=2e-3, ema=0.0, weight_decay=0.0)
    step = TrainingStep(model, work.seq_length, work.batch_size, settings)
    step.set_rates(2e-3, work.teacher_forcing_ratio)
    ids, generator = work.ids(), backend.uniform(1)  # (T+1, B)

    def unit() -> None:
        step.learn(ids[:-1], ids[1:], generator)
        float(backend.to_host(step.loss))  # synchronises with the device

    return unit


def evaluation(work: Work, model: CharRNN) -> Callable[[], None]:
    """Return a function that evaluates the same chunk on each call."""
    measure, ids = Measurement(model.network(work.seq_length, work.batch_size)), work.ids()  # (T+1, B)

    def unit() -> None:
        float(model.parameters.backend.to_host(measure(ids[:-1], ids[1:])))  # synchronises with the device

    return unit


def sampling(work: Work, model: CharRNN) -> Callable[[], None]:
    """Return a function that generates `PIECE` characters per stream on each call."""
    generators = [host_generator(i) for i in range(work.streams)]
    prime = model.vocabulary.encode(model.vocabulary.characters[0])
    steps = sample_ids(model, prime, Choice(), generators)

    def unit() -> None:
        for _ in range(PIECE):
            next(steps)

    return unit
