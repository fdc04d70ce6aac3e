"""Choose the training device for ``--device auto``.

Which device is fastest depends on the sizes of the network and the chunks, because GPUs are efficient
only for large matrices. If there are several devices, each new combination of sizes is timed on all of them,
using a few chunks of the text. The times are cached (`minichar.training.timings`).
"""

import gc
from collections.abc import Sequence
from statistics import median
from time import perf_counter

import numpy as np

from minichar.devices.backend import Backend
from minichar.engine.config import Config
from minichar.extras import one_line
from minichar.model import CharRNN
from minichar.text.batches import Split
from minichar.text.vocabulary import Vocabulary
from minichar.training import timings
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep
from minichar.training.timings import Timing, describe_modes, describe_platforms, describe_size

STEPS = 10
"""Number of timed steps on each device, after the warm-up."""
ENOUGH = 2.0
"""Total duration, in seconds, of the timed steps after which no further steps are timed."""

Chosen = tuple[Backend, list[str]]
"""The device, and a list of at most one note that explains the choice."""


def fastest(
    devices: Sequence[Backend], config: Config, vocabulary: Vocabulary, settings: Settings, split: Split
) -> Chosen:
    """Return the device with the fastest training step.

    A device other than the first is skipped if it fails, for example because it runs out of memory.
    """
    if len(devices) == 1:
        return devices[0], []
    size = describe_size(config, settings, split)
    timing = timings.find(size, devices)
    failures = []
    if timing is None:
        milliseconds = {}
        for device in devices:
            try:
                milliseconds[device.name] = time_step(device, config, vocabulary, settings, split)
            except Exception as error:  # drivers and libraries can raise any exception
                if device is devices[0]:
                    raise
                failures.append(f"; {device.name} failed ({one_line(error)})")
        # Get the modes after timing, because they say whether steps could be captured.
        timing = Timing(size, describe_platforms(devices), describe_modes(devices), milliseconds)
        if not failures:
            timings.save(timing)
    return _named(timing.fastest, devices), [f"device auto: {timing}{''.join(failures)}"]


def fastest_known(devices: Sequence[Backend], config: Config, settings: Settings, split: Split) -> Chosen:
    """Return the fastest device for these sizes, or the first device if the cache has no times for them.

    Times in other modes are used too, because evaluation never uses TF32, but training may have used it.
    """
    if len(devices) == 1:
        return devices[0], []
    timing = timings.find_in_any_mode(describe_size(config, settings, split), devices)
    if timing is None:
        why = "no times are stored for training steps of this size"
        return devices[0], [f"device auto: {devices[0].name}; {why}"]
    return _named(timing.fastest, devices), [f"device auto: {timing} (in training)"]


def same_kind(devices: Sequence[Backend], kind: str) -> Chosen:
    """Return the first device of the given kind or, if there is none, the first device.

    A resumed run matches an uninterrupted run exactly only on a device of the same kind.
    """
    if len(devices) > 1:
        for device in devices:
            if device.kind == kind:
                return device, [f"device auto: {device.name}, because the checkpoint was saved on {kind}"]
    return devices[0], []


@np.errstate(over="ignore", invalid="ignore")  # the trainer reports non-finite losses
def time_step(
    device: Backend, config: Config, vocabulary: Vocabulary, settings: Settings, split: Split
) -> float:
    """Return the median duration, in milliseconds, of a training step on the first chunks of the text."""
    model = CharRNN.new(config, vocabulary, settings.seed, settings.dtype, device)
    step = TrainingStep(model, split.T, split.B, settings)
    step.set_rates(settings.learning_rate, settings.min_ss if settings.use_ss else 1.0)
    generator = device.uniform(settings.seed, 1)
    seconds: list[float] = []
    for k in range(device.warm_up + STEPS):
        inputs, targets, *keep = split.train[k % len(split.train)]
        begun = perf_counter()
        step.learn(inputs, targets, generator, *keep)
        device.to_host(step.loss)  # wait for the device
        seconds.append(perf_counter() - begun)
        if sum(seconds[device.warm_up :]) > ENOUGH:
            break
    del model, step
    gc.collect()  # free the device memory held by reference cycles
    return 1000.0 * median(seconds[device.warm_up :])


def _named(name: str, devices: Sequence[Backend]) -> Backend:
    return next(device for device in devices if device.name == name)
