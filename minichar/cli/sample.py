"""``minichar sample``."""

import secrets
from collections.abc import Iterator
from itertools import chain, tee
from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.archive import Missing, TextFile
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli import INTERRUPTED
from minichar.cli.bar import with_bar
from minichar.cli.novelty import report_novelty
from minichar.cli.options import (
    PATH,
    Escaped,
    GroupedCommand,
    Integer,
    Number,
    OneOf,
    announce_waits,
    checkpoint,
    device,
    group,
)
from minichar.cli.reading import read_text
from minichar.cli.usage import reject, reject_argument
from minichar.devices.choose import auto_note, open_backend
from minichar.errors import MinicharError, counted, quoted
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import Unknown, check_options, generate, generate_many
from minichar.terminal import say
from minichar.text.corpus import Corpus, load_corpus
from minichar.training.device import fit_threads
from minichar.training.saved import settings_with_text
from minichar.training.text import note_on_change

SEEDS = 1_000_000
"""Number of possible random seeds, kept small so that seeds are easy to type."""
STOP = "\n" * 5
"""The default stop string."""
REPEATED = 100
"""Number of repetitions of a character from which on more randomness is suggested."""
ELSEWHERE = ("omit --novelty",)
"""What to do if the training text is not found."""

sampling = group("Sampling")
prompt = group("Prompt")
ending = group("Length")


@click.command("sample", cls=GroupedCommand, context_settings={"allow_extra_args": True})
@checkpoint
@sampling(
    "--temperature",
    type=Number(),
    default=1.0,
    help="Sampling temperature, above 0. Lower values make the text more predictable; higher values make it "
    "more varied.",
)
@sampling(
    "--sample/--argmax",
    "drawn",
    default=True,
    help="Sample from the model's distribution, or always choose the most likely character.",
)
@sampling(
    "--top-k",
    default=0,
    type=Integer(),
    metavar="K",
    help="Sample only from the K most likely characters. 0: all.",
)
@sampling(
    "--top-p",
    type=Number(),
    default=1.0,
    metavar="P",
    help="Sample from the smallest set of characters whose total probability is at least P. 1: all.",
)
@sampling(
    "--seed",
    type=Integer(),
    help="Random seed. The same seed gives the same text.  [default: a new seed, which is printed]",
)
@sampling(
    "--num-samples",
    default=1,
    type=Integer(),
    metavar="N",
    help="Generate N samples in one batch and print them when all are complete.",
)
@sampling(
    "--exact",
    is_flag=True,
    help="Make the text generated from a seed independent of --num-samples. Slower.",
)
@prompt("--primetext", default="", metavar="TEXT", help="Text to continue.")
@prompt("--prime-file", metavar="FILE", type=PATH, help="File with the text to continue, or - for stdin.")
@prompt(
    "--unknown",
    default="error",
    type=OneOf(["error", "skip", "unk"]),
    help="How to handle prompt characters outside the vocabulary: fail, skip, or use the unknown token of a "
    "model trained with --min-freq.",
)
@ending(
    "--length",
    default=2000,
    type=Integer(),
    metavar="N",
    help="Number of characters to generate. 0: until --stop or Ctrl-C.",
)
@ending(
    "--stop",
    type=Escaped(),
    multiple=True,
    metavar="STR",
    default=[STOP],
    show_default=False,
    help=r"Stop before this string. Can be repeated. Use \n for a newline, \t for a tab and \\ for a "
    "backslash. --stop '' disables stop strings.  [default: five newlines]",
)
@click.option(
    "--novelty",
    is_flag=True,
    help="After the text, print the longest run of characters that is also in the training text, and how "
    "much of the text is in shared runs of more than 20 characters.",
)
@click.option("--quiet", is_flag=True, help="Print nothing to standard error.")
@device
@click.pass_context
def command(
    ctx: click.Context,
    checkpoint: Path | None,
    drawn: bool,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | None,
    num_samples: int,
    primetext: str,
    prime_file: Path | None,
    unknown: Unknown,
    length: int,
    stop: tuple[str, ...],
    novelty: bool,
    quiet: bool,
    exact: bool,
    device: str,
) -> None:
    """Generate text with a trained model.

    Prints the text to standard output as it is generated, and everything else to standard error.
    """
    use_option = "use `{command} --primetext {arguments}`"
    reject_argument(ctx, "put quotes around the prompt" if primetext else use_option)
    if not drawn:
        reject(ctx, ["temperature", "top_k", "top_p"], "has no effect with --argmax: omit one of them")
    if quiet:
        reject(ctx, ["novelty"], "has no effect with --quiet: omit one of them")
    choice = Choice(temperature, top_k, top_p, argmax=not drawn)
    backend = open_backend(device)
    if prime_file is not None:
        if primetext:
            raise click.UsageError("--primetext and --prime-file are mutually exclusive")
        primetext = read_text(prime_file, "--prime-file", "prompt", ", or use --primetext TEXT")
    if seed is None:
        seed = secrets.randbelow(SEEDS)
    check_options(length, num_samples, seed, stop)
    if num_samples > 1 and length == 0:
        raise click.UsageError(
            "--length 0 generates indefinitely, so only one sample is possible: omit --num-samples"
        )
    if novelty and length == 0:
        raise click.UsageError(
            "--length 0 generates indefinitely, so there is no complete text to compare: omit --novelty"
        )
    try:
        path, model = open_checkpoint(checkpoint, lambda path: load_model(path, backend))
    except Missing as error:
        raise MinicharError(*error.args, "; to set a prompt, use --primetext") from error
    except TextFile as error:
        name = quoted(checkpoint)
        raise MinicharError(
            *error.args,
            f", train a model on the text with `minichar train --data {name}`, or continue the text with "
            f"`minichar sample --prime-file {name}`",
        ) from error
    fit_threads(backend, model.config, num_samples)
    if not quiet:
        announce_waits(backend)
        if note := auto_note(device):
            say(note)
        drawn_with = f", seed {seed}" if drawn else ""
        say(f"{path}{model.origin()}, on {backend.name}{drawn_with}")
        say("")
    corpus = training_text(model, path) if novelty else None
    if exact:
        model = model.exact()
    options: dict[str, Any] = {
        "length": length,
        "prime": primetext,
        "seed": seed,
        "stop": stop,
        "unknown": unknown,
        "choice": choice,
    }
    if unknown == "skip" and not quiet:
        skipped = len(primetext) - len(model.vocabulary.encode(primetext, "skip"))
        if skipped:
            prompt = counted(len(primetext), "prompt character")
            say(f"skipped {skipped} of {prompt}: not in the vocabulary, but still printed")
    if num_samples == 1:
        pieces = generate(model, **options)
        kept: Iterator[str] = iter(())
        if corpus:
            pieces, kept = tee(pieces)
        repeated, character = print_stream(primetext, pieces)
        if repeated >= REPEATED and (temperature < 1 or not drawn) and not quiet:
            remedy = "a higher --temperature" if drawn else "omitting --argmax"
            say(f"{character!r} is repeated {repeated:,} times: {remedy} makes this less likely")
        samples = ["".join(kept)]
    else:
        samples = print_many(model, num_samples, options, quiet)
    if corpus:
        for line in report_novelty(samples, corpus):
            say(line)


def training_text(model: CharRNN, path: Path) -> Corpus:
    """Return the training text of the model in `path`, and print notes about it."""
    settings = settings_with_text(model, path, ELSEWHERE)
    corpus = load_corpus(settings.data, encoding=settings.encoding)
    for note in (*corpus.notes, *note_on_change(corpus, model.text_digest, path)):
        say(note)
    return corpus


def print_stream(prime: str, pieces: Iterator[str]) -> tuple[int, str]:
    """Print one sample as it is generated, and return the longest run of one character, and the character."""
    longest, run, last = (0, ""), 0, ""
    first = next(pieces, "")  # raise errors before printing anything
    try:
        print(prime, end="")
        for piece in chain((first,), pieces):
            print(piece, end="", flush=True)
            for character in piece:
                run, last = run + 1 if character == last else 1, character
                longest = max(longest, (run, character))
        print(flush=True)
        return longest
    except KeyboardInterrupt as error:  # Ctrl-C is the usual way to end an unlimited sample
        print(flush=True)
        raise click.exceptions.Exit(INTERRUPTED) from error


def print_many(model: CharRNN, num_samples: int, options: dict[str, Any], quiet: bool) -> list[str]:
    """Print multiple samples once all are complete, each followed by a blank line, and return them."""
    steps = generate_many(model, num_samples, **options)
    total = options["length"] + 1  # one extra step flushes the text buffered for stop strings
    shown = with_bar(steps, "generating", length=total, hidden=quiet)
    samples = ["".join(pieces) for pieces in zip(*shown, strict=True)]
    for i, sample in enumerate(samples, start=1):
        if not quiet:
            say(f"--- sample {i} of {num_samples}")
        print(options["prime"], sample, sep="", end="\n\n", flush=True)
    return samples
