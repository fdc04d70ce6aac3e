"""``minichar gradcheck``."""

from typing import Any

import click
import numpy as np

from minichar.cli.options import (
    GroupedCommand,
    Integer,
    Number,
    OneOf,
    announce_waits,
    device,
    group,
)
from minichar.devices.choose import open_backend
from minichar.devices.cpu import host_generator
from minichar.engine.cells import CELLS
from minichar.engine.config import Config
from minichar.engine.gradcheck import CENTRAL_LIMIT, COMPLEX_LIMIT, check_network, toy_network
from minichar.training.scheduled_sampling import ScheduledSampling

network_ = group("Network")
chunk = group("Chunk")


@click.command("gradcheck", cls=GroupedCommand)
@network_("--model", default="lstm", type=OneOf(CELLS), help="Cell type.")
@network_("--num-layers", default=2, type=Integer(), metavar="L", help="Number of layers.")
@network_("--rnn-size", default=5, type=Integer(), metavar="H", help="Hidden units. The run time is O(H⁴).")
@network_("--dropout", default=0.3, metavar="P", help="Dropout probability. The masks are fixed.")
@network_("--weight-drop", default=0.3, metavar="P", help="DropConnect probability. The masks are fixed.")
@network_(
    "--embedding",
    default=0,
    type=Integer(),
    metavar="D",
    help="Size of the embedding. 0: one-hot vectors.",
)
@network_("--layer-norm", is_flag=True, help="Normalise the pre-activations of each gate.")
@network_("--tied", is_flag=True, help="Use the readout's weights as the embedding, which then has size H.")
@chunk(
    "--vocab-size", default=7, metavar="V", type=Integer(2), help="Number of characters in the vocabulary."
)
@chunk("--seq-length", default=6, metavar="T", type=Integer(1), help="Number of time steps.")
@chunk("--batch-size", default=3, metavar="B", type=Integer(1), help="Number of sequences.")
@chunk(
    "--teacher-forcing-ratio",
    default=0.7,
    metavar="P",
    type=Number(0, 1),
    help="Probability of feeding the true character in scheduled sampling.",
)
@chunk("--seed", default=123, type=Integer(0), help="Random seed.")
@device
@click.pass_context
def command(
    ctx: click.Context,
    /,
    vocab_size: int,
    seq_length: int,
    batch_size: int,
    teacher_forcing_ratio: float,
    seed: int,
    device: str,
    **network: Any,
) -> None:
    """Check every element of every hand-written gradient.

    Prints the maximum error for each parameter, relative to the parameter's largest gradient. Gradients
    are compared with complex-step derivatives, which are exact up to rounding, and with central
    differences, which are accurate to about 1e-9. The initial state is nonzero, and dropout,
    DropConnect and scheduled sampling are active. The exit status is 1 if any parameter fails.
    """
    if network["layer_norm"] and network["rnn_size"] == 2:
        raise click.UsageError(
            "with --layer-norm and two units, central differences are inaccurate: use another --rnn-size"
        )
    if network["tied"] and not network["embedding"]:
        network["embedding"] = network["rnn_size"]
    generator = host_generator(seed)
    config = Config(vocab_size, **network)
    backend = open_backend(device)
    announce_waits(backend)
    toy = toy_network(config, seq_length, batch_size, generator, backend)
    ids = generator.integers(vocab_size, size=(2, seq_length, batch_size), dtype=np.intp)  # (2, T, B)
    inputs, targets = backend.to_device(ids)  # each (T, B)
    feed = ScheduledSampling(inputs, "sample", backend)
    feed.draw_mask(teacher_forcing_ratio, backend.uniform(seed))
    rows = check_network(toy, feed, targets)

    width = max(len(row.name) for row in rows)
    click.echo(f"{'parameter':{width}}  {'shape':>10}  complex step  central difference  verdict")
    for row in rows:
        shape = " × ".join(map(str, row.shape))
        verdict = "passed" if row.passed else "FAILED"
        errors = f"{row.complex_error:12.1e}  {row.central_error:18.1e}"
        click.echo(f"{row.name:{width}}  {shape:>10}  {errors}  {verdict}")
    click.echo(
        f"limits: complex step {COMPLEX_LIMIT:g}, central difference {CENTRAL_LIMIT:g}; on {backend.name}",
        err=True,
    )
    if not all(row.passed for row in rows):
        ctx.exit(1)
