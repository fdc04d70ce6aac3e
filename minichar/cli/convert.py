"""``minichar convert``."""

from pathlib import Path

import click

from minichar.convert import INFERENCE_DTYPES, convert


@click.command("convert")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="[DST]", required=False)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(INFERENCE_DTYPES),
    help="Of the weights. float16 is half the size and good to three digits.",
)
@click.option("--force", is_flag=True, help="Write over DST if it exists.")
def command(source: str, target: str | None, dtype: str, force: bool) -> None:
    """Turn a checkpoint into a small file for sampling.

    The file holds weights, vocabulary and configuration, and no state of the training, so it
    is about half the size. Plain NumPy reads it. Without DST, SRC's name gets .inference.npz
    at its end. The path is printed on standard output.
    """
    path = convert(source, target, dtype, force)
    before, after = Path(source).stat().st_size, path.stat().st_size
    click.echo(f"{before:,} bytes became {after:,}", err=True)
    click.echo(path)
