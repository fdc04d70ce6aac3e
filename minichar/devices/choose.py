"""Open devices by name."""

import re
from importlib.util import find_spec
from warnings import warn

from minichar.checks import checked
from minichar.devices.backend import Backend, DeviceMissing
from minichar.devices.cpu import CPU
from minichar.devices.cupy import open_cupy
from minichar.devices.opencl import open_dpnp
from minichar.errors import MinicharError

NAME = re.compile(r"auto|cpu|(gpu|opencl)(:\d+)?")
SYNONYMS = {"cuda": "gpu", "nvidia": "gpu"}
AUTO_CPU = "device auto: cpu, because each step is too small; to use a GPU, add --device gpu"
"""Note that states why ``auto`` selects the CPU to generate text, whatever the size of the model.

Each step is a few small operations, and a GPU takes longer to launch a small operation than to execute it.
"""


def open_backend(name: str = "auto", tf32: bool = False) -> Backend:
    """Open a device and return its backend.

    Parameters
    ----------
    name : str
        ``cpu``, ``gpu``, ``gpu:N``, ``opencl``, ``opencl:N`` or ``auto``. ``auto`` selects the CPU (see
        `auto_note`). For training, use `open_devices`.
    tf32 : bool
        Whether the operands of float32 matrix products may be rounded to TF32. TF32 requires an NVIDIA GPU.

    Raises
    ------
    MinicharError
        If the device is not available. The message states whether the package, the driver or the
        device is missing. There is no fallback to another device.
    """
    kind, colon, number = checked("device", name, str).partition(":")
    if not NAME.fullmatch(name):
        meant = SYNONYMS.get(kind.lower(), kind.lower()) + colon + number
        hint = f"; did you mean {meant!r}?" if NAME.fullmatch(meant) else ""
        raise MinicharError(f"unknown device {name!r}: use auto, cpu, gpu, gpu:N, opencl or opencl:N{hint}")
    if kind == "gpu":
        return open_cupy(int(number or 0), tf32)
    if kind == "opencl":
        return open_dpnp(int(number or 0))
    return CPU


def open_devices(name: str = "auto", tf32: bool = False) -> tuple[Backend, ...]:
    """Open the candidate devices for training, which then uses the one that suits the size of the model.

    ``auto`` selects the CPU and, if it is usable, the first CUDA GPU. If CuPy is installed but cannot be
    used, a warning states why, unless there is no driver or no GPU. Any other name selects a single device,
    as in `open_backend`.
    """
    if name != "auto":
        return (open_backend(name, tf32),)
    devices, problem = open_auto(tf32)
    if problem:
        warn(f"device auto: cpu; {problem}", RuntimeWarning, stacklevel=2)
    return devices


def open_auto(tf32: bool = False) -> tuple[tuple[Backend, ...], str]:
    """Return the devices that ``auto`` selects, and why the GPU is not one of them.

    The reason is "" if the GPU can be used, or if CuPy, the driver or the GPU is not installed.
    """
    try:
        return (CPU, open_cupy(0, tf32)), ""
    except DeviceMissing:
        return (CPU,), ""
    except MinicharError as error:
        return (CPU,), str(error)


def auto_note(name: str) -> str:
    """Return why `open_backend` selects the CPU for ``auto``, or "" if there is nothing to explain.

    There is nothing to explain if the user named a device, or if CuPy is not installed. CuPy is not imported.
    """
    return AUTO_CPU if name == "auto" and find_spec("cupy") else ""
