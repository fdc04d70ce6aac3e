"""``minichar bench``."""

import json
import os
import sys
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product

import click

from minichar.bench.compare import DISTURBED, compare, opponent, table
from minichar.bench.work import KINDS, Work
from minichar.bench.worker import threads_limited
from minichar.cli.options import CellName, GroupedCommand, device, group
from minichar.devices.backend import Backend
from minichar.engine.config import GRU_RESETS

work_ = group("Work")
sizes = group("Sizes")
measuring = group("Measuring")
COUNT = click.IntRange(1)
CORES = os.cpu_count() or 1


@click.command("bench", cls=GroupedCommand)
@work_("--what", default=("train",), multiple=True, type=click.Choice(KINDS), help="May be given again.")
@work_("--model", default=("lstm",), multiple=True, type=CellName(), help="May be given again.")
@work_("--gru-reset", default="after", type=click.Choice(GRU_RESETS), help="Where a GRU's reset gate acts.")
@sizes(
    "--rnn-size",
    default=(128,),
    multiple=True,
    metavar="H",
    type=COUNT,
    help="Hidden units; may be given again.",
)
@sizes("--num-layers", default=2, metavar="L", type=COUNT, help="Layers.")
@sizes("--vocab-size", default=65, metavar="V", type=COUNT, help="Characters.")
@sizes("--seq-length", default=50, metavar="T", type=COUNT, help="Time steps in a chunk.")
@sizes("--batch-size", default=50, metavar="B", type=COUNT, help="Sequences.")
@measuring("--threads", default=0, type=click.IntRange(0, CORES), help="For products; 0 for one a core.")
@measuring("--rounds", default=5, type=COUNT, help="How often each side has its turn.")
@measuring("--json", "as_json", is_flag=True, help="Print everything, the raw times too, as JSON.")
@device
def command(
    what: tuple[str, ...],
    model: tuple[str, ...],
    gru_reset: str,
    rnn_size: tuple[int, ...],
    num_layers: int,
    vocab_size: int,
    seq_length: int,
    batch_size: int,
    threads: int,
    rounds: int,
    as_json: bool,
    device: Backend,
) -> None:
    """Measure how fast it is, beside PyTorch.

    Both do the same work in turn, each in a process of its own. The ratio is minichar's
    speed by the other's, above 1 faster. Dropout (0.5) and scheduled sampling (share 0.9)
    are held against training without them, 64 streams of text at once against one.
    Without PyTorch, minichar is measured alone.

    Each speed is the median of all units of the work (a chunk learned or read, or 200
    characters written), each ratio that of the rounds. An idle machine gives the same figures twice.
    """
    works = [
        Work(
            kind,
            "minichar",
            cell,
            gru_reset,
            H,
            num_layers,
            vocab_size,
            seq_length,
            batch_size,
            threads,
            device.name,
        )
        for kind, cell, H in product(what, model, rnn_size)
    ]
    if any(opponent(work) is None for work in works):
        click.echo("PyTorch is not installed: pip install 'minichar[bench]' to compare", err=True)
    with threads_limited(threads):
        sides = [device.describe()]
    if find_spec("torch"):
        sides.append(f"PyTorch {version('torch')}")
    click.echo("; ".join(sides), err=True)
    with click.progressbar(length=len(works) * rounds, label="measuring", file=sys.stderr) as bar:
        results = [compare(work, rounds, lambda: bar.update(1)) for work in works]
    if any(result.disturbed for result in results):
        click.echo(
            f"the rounds of a work differ by a factor of {DISTURBED:g}: an idle machine gives better figures",
            err=True,
        )
    if as_json:
        click.echo(json.dumps([result.describe() for result in results]))
    else:
        for line in table(results):
            click.echo(line)
