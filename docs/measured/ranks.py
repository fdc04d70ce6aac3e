"""Reproduce the measurements in ranks.csv: ``python docs/measured/ranks.py``.

Values are medians of seven rounds for an LSTM with two layers. ``speedup`` is the median of the rounds'
ratios, and the last two columns are percentages of the step time of two ranks.

The script requires mpi4py, an MPI implementation and an otherwise idle machine with at least two cores. It
alternates between runs with one and two single-threaded ranks, and takes two to five minutes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.append(str(Path(__file__).parents[2] / "tests" / "bench"))

from bench_minichar import vocabulary
from bench_work import Work

from minichar.devices.cpu import CPU
from minichar.model import CharRNN
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep
from minichar.training.team import Team

ROUNDS = 7
SIZES = [(128, 50), (128, 100), (256, 50), (256, 100)]
STEPS = {128: 40, 256: 15}


class Timed(Team):
    """Team that times each Allreduce and the preceding wait for the other ranks."""

    def __init__(self, comm):
        super().__init__(comm)
        self.waiting = self.averaging = 0.0

    def average(self, *arguments):
        """Average arrays over all ranks, timing the wait for other ranks and the Allreduce."""
        begun = perf_counter()
        self.comm.Barrier()
        ready = perf_counter()
        super().average(*arguments)
        self.waiting += ready - begun
        self.averaging += perf_counter() - ready


def job() -> None:
    """Time training steps.

    Rank 0 prints the step times and the fractions of time spent averaging and waiting.
    """
    from mpi4py import MPI

    results = {}
    for H, B in SIZES:
        work = Work(kind="train", model="lstm", rnn_size=H, batch_size=B)
        model = CharRNN.new(work.config(), vocabulary(work.vocab_size), seed=1)
        team = Timed(MPI.COMM_WORLD)
        step = TrainingStep(
            model, work.seq_length, B, Settings(learning_rate=2e-3, ema=0.0, weight_decay=0.0), team
        )
        ids, generator = work.ids()[:, step.streams], CPU.uniform(1)  # (T+1, B)
        for _ in range(3):
            step.learn(ids[:-1], ids[1:], generator)
        MPI.COMM_WORLD.Barrier()
        team.waiting, team.averaging, begun = 0.0, 0.0, perf_counter()
        for _ in range(STEPS[H]):
            step.learn(ids[:-1], ids[1:], generator)
        seconds = perf_counter() - begun
        results[f"{H} {B}"] = seconds / STEPS[H], team.averaging / seconds, team.waiting / seconds
    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(results))


def run(size: int) -> dict[str, list[float]]:
    """Run `job` on `size` ranks and return the results printed by rank 0."""
    command = ["mpiexec", "-n", str(size), sys.executable, __file__, "job"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def main() -> None:
    """Print a table of medians over `ROUNDS` rounds.

    The table lists the step times, the speed-up, and the fractions of time spent averaging and waiting.
    """
    rounds = [(run(1), run(2)) for _ in range(ROUNDS)]
    print("H    B    1 rank     2 ranks    speed-up  Allreduce    waiting")
    for name in rounds[0][0]:
        one, two = (median(pair[k][name][0] for pair in rounds) for k in (0, 1))
        ratio = median(alone[name][0] / both[name][0] for alone, both in rounds)
        averaging, waiting = (median(both[name][k] for _, both in rounds) for k in (1, 2))
        H, B = name.split()
        times = f"{one * 1e3:7.1f} ms {two * 1e3:7.1f} ms {ratio:9.2f}"
        print(f"{H:4} {B:4} {times} {averaging:10.1%} {waiting:10.1%}")


if __name__ == "__main__":
    job() if sys.argv[1:] else main()
