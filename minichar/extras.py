"""Import optional packages on first use, with one-line errors and correct handling of Ctrl-C.

This module is not in a package, because devices, pictures and sweeps import optional
packages of their own.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

from minichar.errors import MinicharError


def need(module: str, extra: str, what: str) -> Any:
    """Import and return a module from an optional package.

    A KeyboardInterrupt raised while a package is being initialised might be reported with a traceback. If a
    command is running, Ctrl-C during the import therefore kills the process immediately. Programs that use
    minichar as a library keep their own SIGINT handler. If the import fails, raises a `MinicharError` whose
    subject is `what`, the feature that needs the package, with the command that installs the packages of
    `extra`.
    """
    in_command = signal.getsignal(signal.SIGINT) is raise_interrupt
    try:
        with on_interrupt(signal.SIG_DFL) if in_command else nullcontext():
            return import_module(module)
    except ImportError as error:
        needed = f"a package that cannot be imported ({first_line(error)})"
        if isinstance(error, ModuleNotFoundError) and error.name:
            needed = f"{error.name}, which is not installed"
        raise MinicharError(f"{what} needs {needed}: {install_command(extra)}") from error


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra.

    For ``minichar[plot]``, pip uses the minichar that is installed, even if it is not from PyPI. Double
    quotes work in every shell, including those on Windows.
    """
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        version("minichar")
    except PackageNotFoundError:  # minichar is imported from its source directory without being installed
        return f'pip install ".[{extra}]"'
    return f'pip install "minichar[{extra}]"'


def first_line(error: Exception) -> str:
    """Return the first line of an error message. Some packages raise multi-line errors."""
    return "".join(str(error).splitlines()[:1])


def one_line(error: Exception) -> str:
    """Return the type of an error and the first line of its message.

    If that line is empty, as in CuPy's error for a library that cannot be loaded, describe the cause instead.
    """
    if not first_line(error) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


def raise_interrupt(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt on SIGINT while a command is running."""
    raise KeyboardInterrupt


@contextmanager
def on_interrupt(action: Any) -> Iterator[None]:
    """Set the SIGINT handler for the duration of a ``with`` block.

    The handler is not changed if SIGINT is ignored, if the program has its own handler, or outside the main
    thread, where handlers cannot be set.
    """
    before = signal.getsignal(signal.SIGINT)
    standard = before in (signal.SIG_DFL, signal.default_int_handler, raise_interrupt)
    if not standard or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
