"""``minichar convert``."""

from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.checkpoint import WEIGHT_DTYPES
from minichar.checkpoints.naming import find_checkpoint
from minichar.formats.convert import TARGETS, convert


@click.command("convert")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="[DST]", required=False)
@click.option("--to", type=click.Choice(TARGETS), help="The format.  [default: the suffix of DST says it]")
@click.option(
    "--dtype",
    type=click.Choice(WEIGHT_DTYPES),
    help="Of the weights. float16 is half the size and good to three digits.  "
    "[default: float32; as they are with the state of a training, or without a model]",
)
@click.option(
    "--inference/--training",
    default=True,
    show_default=True,
    help="Leave the state of the training out of an .npz, or keep it, so that the copy can be resumed.",
)
@click.option("--sequence", is_flag=True, help="An .onnx that reads a whole run at once, not a character.")
@click.option(
    "--vocab-from",
    metavar="PATH",
    help="The text, or a model of it, that a PyTorch state dict without characters was trained on.",
)
@click.option("--force", is_flag=True, help="Write over DST if it exists.")
def command(source: str, target: str | None, **options: Any) -> None:
    """Turn a model into another format, which the suffix of DST or --to says.

    \b
    .npz           minichar's own, readable by plain NumPy
    .safetensors   weights under the names of PyTorch's nn.LSTM, nn.GRU or nn.RNN and nn.Linear
    .pt            the same as torch.save writes it
    .onnx          a graph for onnxruntime, which takes and gives ids, states and logits; written only

    SRC may be a folder: its checkpoint of lowest validation loss is taken.
    An .npz is for sampling, unless --training keeps what --resume needs. Without DST, the
    name is SRC's with the suffix of the format, .inference.npz for an .npz. SRC can also be a
    plain .npz of arrays, as cupy.savez writes it, or a pickle (.pkl) of CuPy or NumPy arrays,
    which is read without running it; both become a plain .npz. What a format cannot hold is
    said. The path is printed on standard output.
    """  # noqa: D301  (the backspace tells Click to keep the lines)
    source = str(find_checkpoint(source))
    path = convert(source, target, on_note=lambda note: click.echo(note, err=True), **options)
    before, after = Path(source).stat().st_size, path.stat().st_size
    click.echo(f"{before:,} bytes became {after:,}", err=True)
    click.echo(path)
