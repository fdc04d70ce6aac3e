"""``minichar convert``."""

from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.checkpoint import WEIGHT_DTYPES
from minichar.checkpoints.naming import find_checkpoint
from minichar.cli.options import PATH, GroupedCommand, argument
from minichar.formats.convert import TARGETS, convert


@click.command("convert", cls=GroupedCommand)
@argument(
    "source",
    "The file to convert, or a folder: its checkpoint with the lowest validation loss.",
    metavar="SRC",
    type=PATH,
)
@argument(
    "target",
    "The file to write.  [default: SRC with the suffix of the format; .inference.npz for .npz]",
    metavar="[DST]",
    required=False,
    type=PATH,
)
@click.option("--to", type=click.Choice(TARGETS), help="The format.  [default: from the suffix of DST]")
@click.option(
    "--dtype",
    type=click.Choice(WEIGHT_DTYPES),
    help="The dtype of the weights. float16 halves the size and keeps three digits.  "
    "[default: float32; unchanged with --training, and for arrays without a model]",
)
@click.option(
    "--inference/--training",
    default=True,
    show_default=True,
    help="Drop the training state from an .npz, or keep it so that training can resume.",
)
@click.option("--sequence", is_flag=True, help="For .onnx: read a whole sequence at once, not one character.")
@click.option(
    "--vocab-from",
    metavar="PATH",
    type=PATH,
    help="For a PyTorch state dict without a vocabulary: its training text, or a model of that text.",
)
@click.option("--force", is_flag=True, help="Overwrite DST if it exists.")
def command(source: Path, target: Path | None, **options: Any) -> None:
    """Convert a model to another format, given by the suffix of DST or by --to.

    \b
    .npz           minichar's own, readable with plain NumPy
    .safetensors   weights under the names of PyTorch's nn.LSTM, nn.GRU or nn.RNN and nn.Linear
    .pt            the same, as torch.save writes it
    .onnx          a graph for onnxruntime from ids and states to logits and states; write-only

    SRC may also be a plain .npz of arrays (as cupy.savez writes it) or a pickle (.pkl) of CuPy or
    NumPy arrays, which is read without running its code; both become a plain .npz.

    What the new format cannot store is reported on standard error. The path of the new file is
    printed on standard output.
    """  # noqa: D301  (\b tells Click to keep the line breaks)
    source = find_checkpoint(source)
    path = convert(source, target, on_note=lambda note: click.echo(note, err=True), **options)
    before, after = source.stat().st_size, path.stat().st_size
    click.echo(f"{before:,} bytes -> {after:,} bytes", err=True)
    click.echo(path)
