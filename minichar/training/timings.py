"""The user's cache of training-step timings, which ``--device auto`` uses to choose a device.

The cache is a JSON file. A missing, corrupted or unwritable file is not an error: training steps are simply
timed again.
"""

import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from minichar.devices.backend import Backend
from minichar.engine.config import Config
from minichar.errors import MinicharError, counted
from minichar.files import cache_folder, writing
from minichar.text.batches import Split
from minichar.training.settings import Settings

MOST = 100
"""Maximum number of timings in the cache. If there are more, the oldest are deleted."""
LARGEST = 1 << 20
"""Maximum number of bytes to read from the cache file."""


@dataclass(frozen=True)
class Timing:
    """Training-step times on the devices of one machine.

    Attributes
    ----------
    size : str
        Description of the training step, as returned by `describe_size`.
    devices : dict of str to str
        Each device's library and hardware (`Backend.platform`), keyed by name. If they have changed, the
        timing is ignored.
    modes : dict of str to str
        Each device's mode (`Backend.mode`).
    milliseconds : dict of str to float
        Duration of a step on each device.
    machine : str
        Host name. Several machines may share a home directory and therefore the cache.
    """

    size: str
    devices: dict[str, str]
    modes: dict[str, str]
    milliseconds: dict[str, float]
    machine: str = field(default_factory=platform.node)

    @property
    def fastest(self) -> str:
        """Name of the fastest device; ties go to the first."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)

    def __str__(self) -> str:
        """Return the times, fastest device first: ``cpu, 12.3 ms per step; gpu:0 (TF32) takes 18.0 ms``."""
        shown = {name: f"{name} ({mode})" if mode else name for name, mode in self.modes.items()}
        others = (name for name in self.milliseconds if name != self.fastest)
        return "; ".join(
            [
                f"{shown[self.fastest]}, {self.milliseconds[self.fastest]:.1f} ms per step",
                *(f"{shown[name]} takes {self.milliseconds[name]:.1f} ms" for name in others),
            ]
        )


def describe_size(config: Config, settings: Settings, split: Split) -> str:
    """Describe the sizes and options that determine how long a training step takes."""
    parts = [
        config.cell.title,
        f"{counted(config.num_layers, 'layer')} of {config.rnn_size}",
        counted(config.vocab_size, "character"),
        f"chunks of {split.B}×{split.T}",
        settings.dtype,
    ]
    parts += [f"{'tied ' if config.tied else ''}embedding of {config.embedding}"] if config.embedding else []
    parts += ["dropout"] if config.dropout else []
    parts += ["weight drop"] if config.weight_drop else []
    parts += [f"scheduled sampling ({settings.ss_feed})"] if settings.use_ss else []
    parts += ["resets"] if split.train.resets else []
    return ", ".join(parts)


def describe_platforms(devices: Sequence[Backend]) -> dict[str, str]:
    """Return each device's library and hardware, keyed by name."""
    return {device.name: device.platform() for device in devices}


def describe_modes(devices: Sequence[Backend]) -> dict[str, str]:
    """Return each device's mode, keyed by name."""
    return {device.name: device.mode() for device in devices}


def cache_path() -> Path | None:
    """Return the path of the cache, or None if the user has no cache directory."""
    folder = cache_folder()
    return folder and folder / "timings.json"


def load() -> list[Timing]:
    """Return the cached timings, oldest first, or an empty list if the cache is missing or corrupted."""
    try:
        path = cache_path()
        if path is None or not path.is_file():  # reading from a pipe would block
            return []
        with open(path, "rb") as file:
            return [_checked(**row) for row in json.loads(file.read(LARGEST))]
    except (OSError, RecursionError, ValueError, TypeError):
        return []


def find_all(devices: Sequence[Backend]) -> list[Timing]:
    """Return the cached timings for these devices in any mode, oldest first."""
    here = describe_platforms(devices), platform.node()
    return [timing for timing in load() if (timing.devices, timing.machine) == here]


def find(size: str, devices: Sequence[Backend]) -> Timing | None:
    """Return the cached timing for this size on these devices in their current modes, or None."""
    wanted = size, describe_modes(devices)
    return next((timing for timing in find_all(devices) if (timing.size, timing.modes) == wanted), None)


def find_in_any_mode(size: str, devices: Sequence[Backend]) -> Timing | None:
    """Return the timing that `find` returns or, if there is none, the newest one in other modes, or None."""
    others = (timing for timing in reversed(find_all(devices)) if timing.size == size)
    return find(size, devices) or next(others, None)


def save(timing: Timing) -> None:
    """Add a timing to the cache, or do nothing if the cache file cannot be written."""
    others = [other for other in load() if replace(other, milliseconds=timing.milliseconds) != timing]
    text = json.dumps([asdict(one) for one in [*others, timing][-MOST:]], indent=1)
    if path := cache_path():
        with suppress(MinicharError), writing(path) as file:
            file.write(text.encode())


def _checked(size: Any, devices: Any, modes: Any, milliseconds: Any, machine: Any) -> Timing:
    """Create a timing from JSON values. Raise ValueError or TypeError if the values are invalid."""
    devices, modes, durations = dict(devices), dict(modes), dict(milliseconds)
    sound = (
        all(isinstance(text, str) for text in (size, machine, *devices.values(), *modes.values()))
        and devices.keys() == modes.keys() == durations.keys() != set()
        and all(0 < duration < inf for duration in durations.values())
    )
    if not sound:
        raise ValueError("corrupted timing")
    return Timing(size, devices, modes, durations, machine)
