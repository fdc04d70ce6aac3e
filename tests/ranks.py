"""Run several ranks as threads of one process, to test `minichar.training.team` without MPI."""

import copy
import threading
from types import SimpleNamespace

import numpy as np

from minichar.training.team import Team


class Communicator:
    """The methods of an MPI communicator that `Team` calls, implemented for threads."""

    def __init__(self, rank, slots, barrier, arrived):
        self.rank, self.slots, self.barrier, self.arrived = rank, slots, barrier, arrived

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return len(self.slots)

    def allgather(self, value):
        self.slots[self.rank] = value
        self.barrier.wait()
        values = copy.deepcopy(self.slots)  # as with MPI, no rank receives another rank's objects
        self.barrier.wait()
        return values

    def bcast(self, value):
        return self.allgather(value)[0]

    def Ibarrier(self):
        self.arrived[self.rank] += 1
        n = self.arrived[self.rank]

        def test():
            if self.barrier.broken:  # another rank has failed
                raise threading.BrokenBarrierError
            return min(self.arrived) >= n

        return SimpleNamespace(Test=test)

    def Allreduce(self, sent, received):
        received[...] = np.sum(self.allgather(sent), axis=0)


def on_ranks(size, function):
    """Run ``function(team)`` on `size` ranks; return the results, or raise the first error of any rank."""
    slots, barrier = [None] * size, threading.Barrier(size, timeout=600)
    arrived, results, errors = [0] * size, [None] * size, [None] * size

    def run(rank):
        try:
            results[rank] = function(Team(Communicator(rank, slots, barrier, arrived)))
        except BaseException as error:
            errors[rank] = error
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # An error on one rank causes a BrokenBarrierError on the others, so raise the original error first.
    for error in sorted(
        filter(None, errors), key=lambda error: isinstance(error, threading.BrokenBarrierError)
    ):
        raise error
    return results
