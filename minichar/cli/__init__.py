"""The command line: parse arguments, call the packages below, print results.

Each command is a module that is imported when the command is used.
"""

import sys
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from minichar.errors import MinicharError

COMMANDS = {
    "train": "Train a model on a text.",
    "sample": "Generate text with a trained model.",
    "eval": "Evaluate a model on a text.",
    "inspect": "Show the contents of a checkpoint.",
    "plot": "Plot the loss of one or more training runs.",
    "convert": "Convert a model to another format.",
    "serve": "Serve models to web browsers.",
    "worker": "Generate text for a server, on any machine.",
    "gradcheck": "Check every hand-written gradient.",
    "lessons": "Take the course: lessons that are tests.",
    "doctor": "Show which devices this machine can use.",
    "bench": "Measure the speed, compared with PyTorch.",
    "data": "List and download training texts.",
}
INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 + SIGINT, as shells have it."""


class LazyGroup(click.Group):
    """A group that imports a command only when it is used, so that ``--help`` is fast.

    User errors end in one line on standard error and exit status 1.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of ``--help``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of that name."""
        if name not in COMMANDS:
            return None
        return getattr(import_module(f"minichar.cli.{name}"), "command")  # noqa: B009  (a module's attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest similar names for an unknown one."""
        similar = get_close_matches(args[0], COMMANDS)
        if args[0] not in COMMANDS and similar and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(similar)}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn user errors into one line."""
        try:
            return super().invoke(ctx)
        except MinicharError as error:
            raise click.ClickException(error.with_flags) from error
        except MemoryError as error:
            raise click.ClickException(
                f"out of memory ({error}): reduce --rnn-size, --batch-size or --seq-length"
            ) from error
        except KeyboardInterrupt:
            click.echo("\nAborted!", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            raise  # Click exits quietly
        except OSError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "max_content_width": 100,
    },
)
@click.version_option(package_name="minichar")
def main() -> None:
    """Character-level language models in plain NumPy.

    \b
    Quick start:
      minichar train                        train on the built-in text, a few minutes
      minichar sample                       generate text with the best checkpoint
      minichar data get tinyshakespeare     download a better text
      minichar train --data data/tinyshakespeare
    """  # noqa: D301  (\b tells Click to keep the line breaks)
    if isinstance(sys.stdout, TextIOWrapper):  # characters that the terminal cannot show become ?
        sys.stdout.reconfigure(errors="replace")
