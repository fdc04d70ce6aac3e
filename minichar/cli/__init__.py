"""Command-line interface.

Each command is defined in its own module, which is imported only when the command is used.
"""

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from minichar.cli.examples import epilog
from minichar.cli.usage import Suggesting, by_name
from minichar.errors import MinicharError, one_line

COMMANDS = {
    "train": "Train a model on text.",
    "sweep": "Search for good training options.",
    "sample": "Generate text with a trained model.",
    "eval": "Evaluate a model on text.",
    "inspect": "Show the contents of a checkpoint.",
    "plot": "Plot the loss of one or more training runs.",
    "convert": "Convert a model to another format, such as a web page.",
    "serve": "Serve models to web browsers.",
    "worker": "Run a worker that generates text for a server.",
    "gradcheck": "Check every hand-written gradient.",
    "lessons": "Read a lesson and run its tests.",
    "doctor": "Show which devices are available.",
    "data": "List and download datasets.",
}
SYNONYMS = by_name(
    {
        "fit learn finetune fine-tune": "train",
        "resume continue": "train --resume",
        "generate gen chat complete predict infer": "sample",
        "evaluate test validate": "eval",
        "show info view describe": "inspect",
        "graph chart draw compare": "plot",
        "export": "convert",
        "tune search": "sweep",
        "web demo": "serve",
        "check": "gradcheck",
        "course tutorial": "lessons",
        "devices": "doctor",
        "get download fetch": "data get",
        "list datasets": "data list",
        "version": "--version",
        "help": "{} --help",
    }
)
INTERRUPTED = 130
"""Exit status after Ctrl-C: by shell convention, 128 + SIGINT."""
BROKEN_PIPE = 141
"""Exit status after writing to a closed pipe: by shell convention, 128 + SIGPIPE."""
WRITE_ERRORS = (errno.EBADF, errno.EFBIG, errno.ENOSPC)


class LazyGroup(Suggesting):
    """Click group that imports a command only when it is used, which keeps ``--help`` fast."""

    synonyms = SYNONYMS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order shown by ``--help``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command called `name`, or None if there is no such command."""
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"minichar.cli.{name}"), "command")  # noqa: B009  (module attribute)
        command.epilog = epilog(name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing their modules."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Parse the options, including ``--help``, and report user errors on one line."""
        with one_line_errors():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and report user errors on one line."""
        with one_line_errors():
            return super().invoke(ctx)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Convert user errors to Click exceptions, so that Click prints a single line and exits."""
    try:
        yield
    except MinicharError as error:
        raise click.ClickException(error.with_flags) from error
    except KeyboardInterrupt as error:
        click.echo(f"\n{str(error) or 'stopped'}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        raise click.exceptions.Exit(BROKEN_PIPE) from error
    except OSError as error:
        raise click.ClickException(explain(error)) from error


def explain(error: OSError) -> str:
    """Return the message for an `OSError`. Only errors in writing to standard output have no file name."""
    if error.filename is None and error.errno in WRITE_ERRORS:
        return f"cannot write to standard output: {error.strerror}"
    return str(error) if error.filename is None else f"cannot access {error.filename!r}: {error.strerror}"


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "max_content_width": 100,
    },
)
@click.version_option(package_name="minichar")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Character-level language models in plain NumPy.

    \b
    Quick start:
      minichar train                        train on Python's help text (3 min)
      minichar sample                       generate text with the best checkpoint
      minichar train my.txt --max-time 30m --checkpoint-dir cv-mine
                                            train on your own text for 30 minutes
      minichar data get tinyshakespeare     download a larger dataset
    """  # noqa: D301  (\b tells Click not to rewrap the paragraph)
    ctx.call_on_close(partial(setattr, warnings, "formatwarning", warnings.formatwarning))
    warnings.formatwarning = lambda message, *details, **more: f"warning: {one_line(str(message))}\n"
    if isinstance(sys.stdout, TextIOWrapper):  # print unsupported characters as ?
        sys.stdout.reconfigure(errors="replace")
