"""Benchmark minichar against PyTorch: ``python tests/bench/run.py``.

The two implementations run the same benchmark alternately, in separate processes. The ratio is minichar's
speed divided by PyTorch's. For training with dropout (0.5) or scheduled sampling (teacher-forcing ratio 0.9),
the baseline is plain training in minichar; for generating 64 streams, the baseline is generating one stream.
If PyTorch is not installed, or does not implement the cell, only minichar is measured.

On an NVIDIA GPU, both implementations use full float32 precision, without TF32. PyTorch uses cuDNN, and
training and evaluation are also compared with PyTorch running in a CUDA graph.

The speed is the median over all iterations: one chunk for training and evaluation, 200 characters for
generation. The ratio is the median over all rounds. Run benchmarks on an idle machine.
``OMP_NUM_THREADS`` sets the number of threads of both.
"""

import argparse
import sys
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product

from bench_compare import HEADINGS, compare, line
from bench_work import KINDS, Work, opponents

from minichar.devices.choose import open_backend
from minichar.engine.cells import CELLS
from minichar.errors import MinicharError
from minichar.extras import one_line


def options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--what", nargs="+", default=["train"], choices=KINDS, help="benchmarks to run")
    parser.add_argument("--model", nargs="+", default=["lstm"], choices=[*CELLS], help="cell types")
    parser.add_argument("--rnn-size", nargs="+", default=[128], type=int, metavar="H", help="hidden units")
    for name in ("num_layers", "vocab_size", "seq_length", "batch_size"):
        default = getattr(Work(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=int, help=f"{default}")
    parser.add_argument("--rounds", default=5, type=int, help="5")
    parser.add_argument("--device", default="cpu", help="cpu, gpu or opencl")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print a table with one line per benchmark and baseline, and return the exit status."""
    given = options(arguments)
    try:
        backend = open_backend(given.device)
    except MinicharError as error:
        print(error, file=sys.stderr)
        return 1
    torch = f"PyTorch {version('torch')}" if find_spec("torch") else "PyTorch is not installed"
    print(f"{backend.describe()}; {torch}", line(HEADINGS), sep="\n", flush=True)
    sizes = {name: getattr(given, name) for name in ("num_layers", "vocab_size", "seq_length", "batch_size")}
    for kind, model, H in product(given.what, given.model, given.rnn_size):
        work = Work(kind, "minichar", model, H, device=backend.name, **sizes)
        for against in opponents(work) or [None]:
            try:
                result = compare([work, against] if against else [work], given.rounds)
            except Exception as error:  # some versions of PyTorch and cuDNN cannot capture a graph
                if against is None or against.engine != "pytorch-graph":
                    raise
                print(f"skipped PyTorch in a CUDA graph: {one_line(error)}")
                continue
            note = "  disturbed: rerun on an idle machine" if result.disturbed else ""
            print(line(result.row()) + note, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
