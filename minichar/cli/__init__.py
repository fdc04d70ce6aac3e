"""The command line: parse, call, print. Each command is a file, imported when it is asked for."""

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from minichar.errors import MinicharError

COMMANDS = {
    "train": "Learn a text and save checkpoints.",
    "sample": "Write text with a trained model.",
    "eval": "Measure a model's loss on a text.",
    "inspect": "Show what a checkpoint holds.",
    "plot": "Draw the loss of one or more runs.",
    "convert": "Turn a model into another format, or a small file for sampling.",
    "serve": "Show models in the browser.",
    "worker": "Write texts for a server, on any machine.",
    "gradcheck": "Prove every hand-written gradient.",
    "lessons": "Learn how it learns: a course of lessons that are tests.",
    "doctor": "Show what this machine can compute with.",
    "bench": "Measure how fast it is, beside PyTorch.",
    "data": "List and fetch texts to learn from.",
}


class LazyGroup(click.Group):
    """Imports a command's file only when the command is used, so ``--help`` is quick.

    A mistake of the user's ends in one line and exit status 1.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of that name."""
        if name not in COMMANDS:
            return None
        return getattr(import_module(f"minichar.cli.{name}"), "command")  # noqa: B009  (a module's attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn a known mistake into one line."""
        try:
            return super().invoke(ctx)
        except MinicharError as error:
            raise click.ClickException(str(error)) from error
        except MemoryError as error:
            raise click.ClickException(
                f"not enough memory ({error}): a smaller --rnn-size, --batch-size or --seq-length needs less"
            ) from error
        except BrokenPipeError:
            raise  # Click ends quietly
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
    A first evening:
      minichar train                        learn the built-in text, some minutes
      minichar sample                       write some, with the best checkpoint
      minichar data get tinyshakespeare     fetch a better text
      minichar train --data data/tinyshakespeare
    """  # noqa: D301  (the backspace tells Click to keep the lines)
    if isinstance(sys.stdout, TextIOWrapper):  # a character that the terminal cannot show becomes a ?
        sys.stdout.reconfigure(errors="replace")
