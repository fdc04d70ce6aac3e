"""Entry point for the ``minichar`` script and ``python -m minichar``.

Imports are kept to a minimum, because Python prints a traceback if Ctrl-C is pressed before `main` is called.
"""

import os
import signal
import sys
from time import monotonic

STARTED = monotonic()
"""Start of the command, from which ``--max-time`` counts: imports and reading the text take time too."""
STREAMS = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))
"""Name of each standard stream, with the flags and mode for opening the null device in its place.

The replacement for standard output is read-only, so that commands fail instead of discarding their results.
"""


def main() -> None:
    """Run the command-line interface and exit.

    Ctrl-C kills the process immediately, except while a command is running (see `GroupedCommand.invoke`).
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.unraisablehook = report_unraisable
    open_missing_streams()
    from minichar.cli import main as command_line
    from minichar.terminal import escape_on_terminals

    escape_on_terminals()
    try:
        command_line(prog_name="minichar", obj=STARTED)
    finally:
        discard_unwritten()


def open_missing_streams() -> None:
    """Replace each closed standard stream with the null device.

    Otherwise, the next file opened would reuse the stream's descriptor and receive the stream's output.
    """
    for descriptor, (name, flags, mode) in enumerate(STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # uses the lowest free descriptor
            setattr(sys, name, os.fdopen(descriptor, mode, errors="backslashreplace", closefd=False))


def discard_unwritten() -> None:
    """Discard output that cannot be written. Otherwise, Python would report the write error again at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Exit if a KeyboardInterrupt cannot propagate, for example during garbage collection."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    main()
