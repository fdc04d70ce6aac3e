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

    def ask(self, question):
        return 1.0 if question == "peak" else answer(question, self.unit, self.work)
