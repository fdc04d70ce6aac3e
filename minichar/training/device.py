"""Choose the device for ``--device auto``, and time training steps on a device.

Which device is faster depends on the sizes of the network and the batch, because each operation takes a GPU
a few microseconds, however small it is. A device other than the first is used if the steps are large, and if
one small chunk, forward and backward, gives the same loss and gradient there as on the CPU.
"""

import gc
from collections.abc import Sequence
from math import prod
from statistics import median
from time import perf_counter

import numpy as np

from minichar.devices.backend import Backend
from minichar.engine.config import Config
from minichar.engine.gradcheck import disagreement
from minichar.extras import one_line
from minichar.model import CharRNN
from minichar.text.batches import Chunks
from minichar.text.vocabulary import Vocabulary
from minichar.training.cost import CALLS, NOMINAL, SELECTED
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

STEPS = 10
"""Number of timed steps, after the warm-up."""
ENOUGH = 2.0
"""Total duration, in seconds, of the timed steps after which no further steps are timed."""
LARGE_STEP = 8e-5
"""Minimum time per layer and time step of a large step, in seconds on the nominal machine, excluding function
calls. This is an estimate, because no GPU has been measured.
"""
ROUNDINGS = 100
"""Maximum difference between a chunk's gradient on a GPU and on the CPU, in roundings of its data type."""
TF32_EPS = 2.0**-10
"""The distance from 1 to the next number in TF32, as ``np.finfo(dtype).eps`` for other types."""

Chosen = tuple[Backend, list[str]]
"""The device, and a list of at most one note that explains the choice."""


def suited(devices: Sequence[Backend], config: Config, B: int, dtype: str = "float32") -> Chosen:
    """Return the first device or, if the training steps are large and it computes correctly, the last one."""
    first, last = devices[0], devices[-1]
    if first is last:
        return first, []
    one, two = (NOMINAL.step(config, B, T) for T in (1, 2))
    if two - one - CALLS * config.num_layers < LARGE_STEP * config.num_layers:
        return first, [f"device auto: {first.name}, because each step is too small for a GPU"]
    begun, doubt = perf_counter(), doubt_about(last, config, dtype)
    took = f"(checked in {perf_counter() - begun:.1f} s)"
    if doubt:
        return first, [f"device auto: {first.name}, because {last.name} {doubt} {took}"]
    agrees = f"each step is large enough for a GPU, and {last.name} agrees with the CPU {took}"
    return last, [f"device auto: {last.name}, because {agrees}"]


def doubt_about(device: Backend, config: Config, dtype: str) -> str:
    """Return how a small chunk on a device differs from the CPU's, or "" if only by rounding."""
    eps = TF32_EPS if device.tf32 and dtype == "float32" else np.finfo(dtype).eps
    try:
        error = disagreement(config, dtype, device)
    except Exception as raised:  # drivers and libraries can raise any exception
        return f"cannot compute a small chunk ({one_line(raised)})"
    agrees = error <= ROUNDINGS * eps  # False for NaN
    return "" if agrees else f"differs from the CPU by {error:.2g} of the gradient's largest entry"


def same_kind(devices: Sequence[Backend], kind: str) -> Chosen:
    """Return the first device of the given kind or, if there is none, the first device.

    A resumed run matches an uninterrupted run exactly only on a device of the same kind.
    """
    if len(devices) > 1:
        for device in devices:
            if device.kind == kind:
                return device, [f"device auto: {device.name}, because the checkpoint was saved on {kind}"]
    return devices[0], []


def fit_threads(device: Backend, config: Config, streams: int) -> None:
    """Use fewer threads if this clearly speeds up the largest matrix products on the CPU."""
    M, K = max((shape for name, shape in config.shapes().items() if name not in SELECTED), key=prod)
    device.fit_threads(M, K, streams)


@np.errstate(over="ignore", invalid="ignore")  # the trainer reports non-finite losses
def time_step(
    device: Backend, config: Config, vocabulary: Vocabulary, settings: Settings, chunks: Chunks
) -> float:
    """Return the median duration, in seconds, of a training step on the first of the `chunks`."""
    model = CharRNN.new(config, vocabulary, settings.seed, settings.dtype, device)
    step = TrainingStep(model, chunks.T, len(chunks.streams), settings)
    step.set_rates(settings.learning_rate, settings.min_ss if settings.use_ss else 1.0)
    generator = device.uniform(settings.seed, 1)
    seconds: list[float] = []
    for k in range(device.warm_up + STEPS):
        inputs, targets, *state_mask = chunks[k % len(chunks)]
        begun = perf_counter()
        step.learn(inputs, targets, generator, *state_mask)
        device.to_host(step.loss)  # wait for the device
        seconds.append(perf_counter() - begun)
        if sum(seconds[device.warm_up :]) > ENOUGH:
            break
    del model, step
    gc.collect()  # free the device memory held by reference cycles
    return median(seconds[device.warm_up :])
