"""A benchmark worker for tests, which needs no subprocess."""

from importlib import import_module

from minichar.bench.worker import SIDES, answer


class Worker:
    """Benchmark worker without a subprocess, which takes longer to start than the benchmark takes to run."""

    def __init__(self, work):
        self.work, self.unit = work, import_module(SIDES[work.engine]).prepare(work)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def units(self, n):
        return answer(n, self.unit, self.work)

    def memory(self):
        return answer("memory", self.unit, self.work)

    def describe(self):
        return answer("describe", self.unit, self.work)

    def peak(self):
        return 1.0
