"""``minichar sample``."""

import os
import sys
from typing import Any

import click

from minichar.checkpoints.naming import find_checkpoint
from minichar.cli.options import GroupedCommand, device, group
from minichar.devices.backend import Backend
from minichar.errors import MinicharError
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import Unknown, generate, generate_many

writing = group("Writing")
priming = group("Beginning")
ending = group("Ending")


@click.command("sample", cls=GroupedCommand)
@click.argument("checkpoint", required=False)
@writing(
    "--temperature",
    default=1.0,
    help="Below 1: safer, more repetitive. Above 1: bolder, more mistakes. Any number above 0.",
)
@writing(
    "--sample/--argmax",
    "drawn",
    default=True,
    help="Draw each character by its probability, or always take the likeliest.",
)
@writing("--top-k", default=0, metavar="K", help="Draw among the K likeliest characters only. 0: all.")
@writing(
    "--top-p",
    default=1.0,
    metavar="P",
    help="Draw among the fewest characters that hold this share of the probability. 1: all.",
)
@writing("--seed", default=123, help="Same seed, same text.")
@writing(
    "--num-samples",
    default=1,
    metavar="N",
    help="Write N texts at once, in one batch; they are printed when all are done.",
)
@writing(
    "--exact",
    is_flag=True,
    help="Slower; a seed then gives the same text to the last character however many are written at once.",
)
@priming("--primetext", default="", metavar="TEXT", help="What the text begins with.")
@priming("--prime-file", metavar="FILE", help="The same from a file; - reads standard input.")
@priming(
    "--unknown",
    default="error",
    type=click.Choice(["error", "skip", "unk"]),
    help="Characters of the beginning that the model never saw: refuse, leave out, or read as unknown.",
)
@ending(
    "--length",
    default=2000,
    metavar="N",
    help="Characters to write after the beginning. 0: no end but --stop and Ctrl-C.",
)
@ending(
    "--stop",
    multiple=True,
    metavar="STR",
    default=["\n" * 5],
    show_default="five line breaks",
    help="End where this text is about to be written; can be given several times. --stop '' alone: never.",
)
@click.option("--quiet", is_flag=True, help="Nothing on standard error.")
@device
def command(
    checkpoint: str | None,
    drawn: bool,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    num_samples: int,
    primetext: str,
    prime_file: str | None,
    unknown: Unknown,
    length: int,
    stop: tuple[str, ...],
    quiet: bool,
    exact: bool,
    device: Backend,
) -> None:
    """Write text with a trained model.

    CHECKPOINT is a file, or a folder, of which the checkpoint of lowest validation loss is
    used; without it the folder is cv/. The text goes to standard output as it is made,
    everything else to standard error.
    """
    choice = Choice(temperature, top_k, top_p, argmax=not drawn)
    if prime_file is not None:
        if primetext:
            raise click.UsageError("--primetext and --prime-file both say how to begin: give one of them")
        primetext = read_prime(prime_file)
    path = find_checkpoint(checkpoint)
    model = load_model(path, device)
    if exact:
        model = model.exact()
    if not quiet:
        click.echo(f"{path}: {model.summary()}{model.origin()}, on {device.name}", err=True)
    options: dict[str, Any] = {
        "length": length,
        "prime": primetext,
        "seed": seed,
        "stop": stop,
        "unknown": unknown,
        "choice": choice,
    }
    try:
        if num_samples == 1:
            write_stream(model, options)
        else:
            write_many(model, num_samples, options, quiet)
        sys.stdout.flush()
    except OSError as error:
        # Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader, such as head, has seen enough
            raise MinicharError(f"cannot write the text: {error.strerror}") from error


def write_stream(model: CharRNN, options: dict[str, Any]) -> None:
    """Print one text as it is made."""
    pieces = generate(model, **options)
    first = next(pieces, "")  # what is wrong with the beginning shows before anything is printed
    print(options["prime"], first, sep="", end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def write_many(model: CharRNN, num_samples: int, options: dict[str, Any], quiet: bool) -> None:
    """Print several texts, each when all are done, an empty line between two."""
    if options["length"] == 0:
        raise MinicharError("--length 0 never ends, so only one text can be written: leave --num-samples out")
    steps = generate_many(model, num_samples, **options)
    for i, pieces in enumerate(zip(*steps, strict=True), start=1):
        if not quiet:
            click.echo(f"--- text {i} of {num_samples}", err=True)
        print(options["prime"], *pieces, sep="", end="\n\n", flush=True)


def read_prime(path: str) -> str:
    """Return the text of a file, or of standard input where `path` is ``-``."""
    try:
        with click.open_file(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise MinicharError(f"cannot read --prime-file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MinicharError(f"--prime-file {path} is not UTF-8 at byte {error.start}") from error
