"""``minichar bench``."""

import json
import os
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from typing import Any

import click

from minichar.bench.compare import DISTURBED, compare, opponents, table
from minichar.bench.work import KINDS, LAYERS, Work
from minichar.bench.worker import threads_limited
from minichar.cli.bar import Bar
from minichar.cli.options import CellName, GroupedCommand, Integer, OneOf, device, group
from minichar.devices.choose import open_backend
from minichar.errors import MinicharError

work_ = group("Benchmark")
sizes = group("Sizes")
measuring = group("Measuring")
COUNT = Integer(1)
CORES = os.cpu_count() or 1


@click.command("bench", cls=GroupedCommand)
@work_(
    "--what",
    default=("train",),
    multiple=True,
    type=OneOf(KINDS),
    help="Benchmark to run. Can be repeated.",
)
@work_("--model", default=("lstm",), multiple=True, type=CellName(), help="Cell type. Can be repeated.")
@sizes(
    "--rnn-size",
    default=(128,),
    multiple=True,
    metavar="H",
    type=COUNT,
    help="Hidden units. Can be repeated.",
)
@sizes("--num-layers", default=2, metavar="L", type=COUNT, help="Number of layers.")
@sizes("--vocab-size", default=65, metavar="V", type=COUNT, help="Number of characters in the vocabulary.")
@sizes("--seq-length", default=50, metavar="T", type=COUNT, help="Time steps per chunk.")
@sizes("--batch-size", default=50, metavar="B", type=COUNT, help="Sequences per batch.")
@measuring(
    "--threads",
    default=0,
    type=Integer(0, CORES),
    help="Number of threads for matrix products. 0: one per core.",
)
@measuring("--rounds", default=5, type=COUNT, help="Number of times to measure each implementation.")
@measuring("--json", "as_json", is_flag=True, help="Print the results and raw times as JSON.")
@device
def command(
    what: tuple[str, ...],
    model: tuple[str, ...],
    rnn_size: tuple[int, ...],
    threads: int,
    rounds: int,
    as_json: bool,
    device: str,
    **sizes: Any,
) -> None:
    """Benchmark minichar against PyTorch.

    The two implementations run the same benchmark alternately, in separate processes. The ratio
    is minichar's speed divided by PyTorch's. For training with dropout (0.5) or scheduled sampling
    (teacher-forcing ratio 0.9), the baseline is plain training in minichar; for generating 64 streams,
    the baseline is generating one stream. If PyTorch is not installed, only minichar is benchmarked.

    On an NVIDIA GPU, both implementations use full float32 precision, without TF32. PyTorch uses cuDNN.
    For training and evaluation, minichar is also compared with PyTorch running in a CUDA graph.

    The speed is the median over all iterations. An iteration is one chunk for training and evaluation,
    or 200 characters for generation. The ratio is the median over all rounds. Run benchmarks on an
    idle machine.
    """
    backend = open_backend(device)
    works = [
        Work(kind, "minichar", cell, H, threads=threads, device=backend.name, **sizes)
        for kind, cell, H in product(what, model, rnn_size)
    ]
    pairs = [(work, against) for work in works for against in opponents(work)]
    alone = [work for work, against in pairs if against is None]
    for title in sorted({work.config().cell.title for work in alone if work.model not in LAYERS}):
        click.echo(f"{title} has no PyTorch counterpart to compare with", err=True)
    if any(work.model in LAYERS for work in alone):
        click.echo("PyTorch is not installed: run `pip install torch` to compare", err=True)
    with threads_limited(threads):
        sides = [backend.describe()]
    if find_spec("torch"):
        sides.append(f"PyTorch {version('torch')}")
    click.echo("; ".join(sides), err=True)
    results = []
    with Bar(len(pairs) * rounds, "measuring") as bar:
        for work, against in pairs:
            try:
                results.append(compare(work, against, rounds, bar.update))
            except MinicharError as error:
                if against is None or against.engine != "pytorch-graph":
                    raise
                bar.say(f"skipped PyTorch in a CUDA graph: {error}")
    if any(result.disturbed for result in results):
        click.echo(
            f"warning: ratios vary by more than a factor of {DISTURBED:g} between rounds; "
            "rerun on an idle machine",
            err=True,
        )
    if as_json:
        click.echo(json.dumps([result.describe() for result in results]))
    else:
        for line in table(results):
            click.echo(line)
