"""Evaluate the best checkpoint of a run on the whole of its validation and test files.

Published losses for a benchmark cover all characters of such a file, read as one stream.
Evaluations during training read a validation file as B streams, without the characters after the last chunk.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from minichar.checkpoints.checkpoint import load
from minichar.training.evaluation import Watch, evaluate_streams, until
from minichar.training.events import Measured
from minichar.training.settings import HELD_OUT
from minichar.training.start import Run
from minichar.training.text import resets_of


def measure_files(run: Run, watch: Watch = iter) -> Iterator[Measured]:
    """Evaluate the best checkpoint of a finished run on each of its validation and test files.

    When the run is stopped or its time limit is reached, the remaining results are None. For `watch`, see
    `minichar.training.evaluation.evaluate_streams`.
    """
    trainer, timetable, best = run.trainer, run.trainer.timetable, run.trainer.best

    def is_late() -> bool:
        timetable.tick(timetable.elapsed(), trainer.iteration)
        return trainer.stopping or timetable.is_late()

    def until_late(steps: Iterable[Any]) -> Iterator[Any]:
        return until(is_late, watch(steps))

    late = False
    for part in HELD_OUT:
        text = run.corpus.texts.get(part)
        if text is None or best is None:
            continue
        if late := late or is_late():
            yield Measured(part, None)
            continue
        model = load(best)  # on the CPU: with one stream, each step is small
        result = evaluate_streams(
            model, text.ids[None], watch=until_late, resets=resets_of(text, trainer.settings)
        )
        late = result.characters < len(text.ids) - 1
        yield Measured(part, None if late else result)
