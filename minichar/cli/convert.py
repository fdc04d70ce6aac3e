"""``minichar convert``."""

from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.checkpoint import WEIGHT_DTYPES
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli.options import MODEL, OUTPUT, PATH, GroupedCommand, OneOf, argument, print_path
from minichar.formats.convert import convert
from minichar.terminal import say


@click.command("convert", cls=GroupedCommand)
@argument(
    "source",
    "A file or a directory. For a directory, the best checkpoint on the latest training text is used.",
    metavar="SRC",
    type=MODEL,
)
@argument(
    "target",
    "The output file, whose suffix determines its format.  [default: SRC with the suffix .inference.npz]",
    metavar="[DST]",
    required=False,
    type=OUTPUT,
)
@click.option(
    "--dtype",
    type=OneOf(WEIGHT_DTYPES),
    help="Data type of the weights. float16 halves the file size and keeps three significant digits.  "
    "[default: float32; float16 for .html; unchanged for plain arrays]",
)
@click.option(
    "--sequence",
    is_flag=True,
    help="For .onnx: let the model process a sequence per call instead of one character.",
)
@click.option(
    "--vocab-from",
    metavar="PATH",
    type=PATH,
    help="Source of the vocabulary for a PyTorch state dict that has none: its training text, a model "
    "trained on that text, or a directory of checkpoints.",
)
@click.option("--force", is_flag=True, help="Overwrite DST if it exists.")
def command(source: Path, target: Path | None, **options: Any) -> None:
    """Convert a model to the format given by the suffix of DST.

    \b
    .npz           minichar's own format, readable with plain NumPy
    .safetensors   weights named as in PyTorch's nn.LSTM (or GRU, RNN), nn.Linear
    .pt            the same weights, in the format of torch.save
    .onnx          a graph for onnxruntime, with states in and out; write-only
    .html          a web page that generates text offline; write-only

    SRC may also be an .npz file of plain arrays, such as one written by cupy.savez, or a pickle (.pkl) of
    CuPy or NumPy arrays, which is read without executing code. DST is then an .npz file of plain arrays.

    Data that the new format cannot store is reported on standard error. The path of the new file is
    printed to standard output.
    """  # noqa: D301  (\b tells Click not to rewrap the paragraph)

    def run(source: Path) -> tuple[int, Path]:
        path = convert(source, target, on_note=say, **options)
        return source.stat().st_size, path

    _, (before, path) = open_checkpoint(source, run)
    after = path.stat().st_size
    say(f"{before:,} bytes -> {after:,} bytes")
    print_path(path)
