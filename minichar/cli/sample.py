"""``minichar sample``."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.archive import Missing, TextFile
from minichar.checkpoints.choosing import open_checkpoint
from minichar.checks import declared
from minichar.cli import INTERRUPTED
from minichar.cli.bar import with_bar
from minichar.cli.novelty import report_novelty
from minichar.cli.options import (
    PATH,
    GroupedCommand,
    Integer,
    announce_waits,
    checkpoint,
    device,
    group,
    options_in,
)
from minichar.cli.reading import read_text
from minichar.cli.usage import reject, reject_argument
from minichar.devices.backend import Backend
from minichar.devices.choose import auto_note, open_backend
from minichar.errors import MinicharError, quoted
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import MAX_SAMPLES, Generation, generate, generate_many
from minichar.terminal import say
from minichar.text.corpus import Corpus, load_corpus
from minichar.training.device import fit_threads
from minichar.training.saved import settings_with_text
from minichar.training.text import note_on_change

STOP = "\n" * 5
"""The default stop string."""
ELSEWHERE = ("omit --novelty",)
"""What to do if the training text is not found."""
SPECIAL: Mapping[str, dict[str, Any]] = {
    "argmax": {"param_decls": ["--argmax/--sample", "argmax"]},
    "seed": {"default": None, "show_default": "auto, which is printed"},
    "prime": {"param_decls": ["--primetext", "prime"]},
    "stop": {
        "default": [STOP],
        "show_default": "five newlines",
        "help": r"Stop before this string. Can be repeated. Use \n for a newline, \t for a tab and \\ for a "
        "backslash. --stop '' disables stop strings.",
    },
}
"""What cannot be derived from the fields of `Generation`."""

sampling = group("Sampling")


@click.command("sample", cls=GroupedCommand, context_settings={"allow_extra_args": True})
@checkpoint
@options_in(Generation, SPECIAL)
@group("Prompt")("--prime-file", metavar="FILE", type=PATH, help="File with the prompt, or - for stdin.")
@sampling(
    "--num-samples",
    default=1,
    type=Integer(1, MAX_SAMPLES),
    metavar="N",
    help="Generate N samples in one batch and print them when all are complete.",
)
@sampling(
    "--exact",
    is_flag=True,
    help="Make the text generated from a seed independent of --num-samples. Slower.",
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
    /,
    checkpoint: Path | None,
    prime_file: Path | None,
    num_samples: int,
    exact: bool,
    novelty: bool,
    quiet: bool,
    device: str,
    **given: Any,
) -> None:
    """Generate text with a trained model.

    Prints the text to standard output as it is generated, and everything else to standard error.
    """
    reject_argument(ctx, "--primetext")
    if given["argmax"]:
        others = [name for name in declared(Choice) if name != "argmax"]
        reject(ctx, others, "has no effect with --argmax: omit one of them")
    if quiet:
        reject(ctx, ["novelty"], "has no effect with --quiet: omit one of them")
    options, backend = Generation(**given), open_backend(device)
    if options.length == 0 and (num_samples > 1 or novelty):
        flag = "--num-samples" if num_samples > 1 else "--novelty"
        raise click.UsageError(f"--length 0 generates indefinitely, without an end to wait for: omit {flag}")
    if prime_file is not None:
        if options.prime:
            raise click.UsageError("--primetext and --prime-file are mutually exclusive")
        text = read_text(prime_file, "--prime-file", "prompt", ", or use --primetext TEXT")
        options = replace(options, prime=text)
    path, model = opened(checkpoint, backend)
    fit_threads(backend, model.config, num_samples)
    if not quiet:
        announce_waits(backend)
        if note := auto_note(device):
            say(note)
        seed = "" if options.argmax else f", seed {options.seed}"
        say(f"{path}{model.origin()}, on {backend.name}{seed}")
        say("")
    corpus = training_text(model, path) if novelty else None
    if exact:
        model = model.exact()
    if num_samples == 1:
        samples = print_stream(model, options)
    else:
        samples = print_many(model, num_samples, options, quiet)
    if corpus:
        for line in report_novelty(samples, corpus):
            say(line)


def opened(checkpoint: Path | None, backend: Backend) -> tuple[Path, CharRNN]:
    """Return the path of the checkpoint to use, and the model in it."""
    try:
        return open_checkpoint(checkpoint, lambda path: load_model(path, backend))
    except Missing as error:
        raise MinicharError(*error.args, "; to set a prompt, use --primetext") from error
    except TextFile as error:
        name = quoted(checkpoint)
        raise MinicharError(
            *error.args,
            f", train a model on the text with `minichar train {name}`, or continue the text with "
            f"`minichar sample --prime-file {name}`",
        ) from error


def training_text(model: CharRNN, path: Path) -> Corpus:
    """Return the training text of the model in `path`, and print notes about it."""
    settings = settings_with_text(model, path, ELSEWHERE)
    corpus = load_corpus(settings.data, encoding=settings.encoding)
    for note in (*corpus.notes, *note_on_change(corpus, model.text_digest, path)):
        say(note)
    return corpus


def print_stream(model: CharRNN, options: Generation) -> list[str]:
    """Print one sample as it is generated, and return it. Text without a length limit is not kept."""
    pieces, kept = generate(model, options), []
    first = next(pieces, "")  # raise errors before printing anything
    try:
        print(options.prime, end="")
        for piece in chain((first,), pieces):
            print(piece, end="", flush=True)
            if options.length:
                kept.append(piece)
        print(flush=True)
    except KeyboardInterrupt as error:  # Ctrl-C is the usual way to end an unlimited sample
        print(flush=True)
        raise click.exceptions.Exit(INTERRUPTED) from error
    return ["".join(kept)]


def print_many(model: CharRNN, num_samples: int, options: Generation, quiet: bool) -> list[str]:
    """Print multiple samples once all are complete, each followed by a blank line, and return them."""
    steps = generate_many(model, num_samples, options)
    total = options.length + 1  # one extra step flushes the text buffered for stop strings
    shown = with_bar(steps, "generating", length=total, hidden=quiet)
    samples = ["".join(pieces) for pieces in zip(*shown, strict=True)]
    for i, sample in enumerate(samples, start=1):
        if not quiet:
            say(f"--- sample {i} of {num_samples}")
        print(options.prime, sample, sep="", end="\n\n", flush=True)
    return samples
