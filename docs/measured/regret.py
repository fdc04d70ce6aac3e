"""Compare the plan with a search: ``python docs/measured/regret.py FOLDER NAME N MINUTES``.

FOLDER contains texts, such as ``bible.txt``. The model is trained on the last N characters of NAME before the
last 40,000, which are held out. The columns, the last 5% of each stream of the N characters, are held out as
well. The first run has the options that minichar plans for a run of MINUTES on the nominal machine. Each of
the others has a different value of one option; the options that depend on it, such as the number of epochs,
are planned for the same time. The last has all changes that lowered the loss at the end of the text by more
than `CLEAR`. The best one and the plan are repeated with another seed. One row is printed per run, as in
``docs/measured/trials/regret.csv``.

A search takes about twelve times MINUTES on one core.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import numpy as np
from plan_trials import HELD_OUT, loss_of

from minichar.training.choose import TimeBudget, choose
from minichar.training.settings import Settings
from minichar.training.start import begin

CLEAR = 0.005
"""Differences in loss below this may be due to the seed."""
FASTER, LESS, MORE = 1.5, 0.3, 3.0
"""Factors of the learning rate and the weight decay."""
SHOWN = ("model", "rnn_size", "dropout", "weight_decay", "tied", "learning_rate", "batch_size", "max_epochs")


def changes(plan: Settings) -> Iterator[dict[str, Any]]:
    """Yield the changes of one option that the search tries."""
    size = plan.rnn_size
    yield {"rnn_size": round(size * 0.7 / 8) * 8}
    yield {"rnn_size": round(size * 1.4 / 8) * 8}
    yield {"dropout": round(plan.dropout + 0.15, 2)}
    yield {"dropout": round(max(plan.dropout - 0.15, 0.0), 2)}
    yield {"weight_decay": round(plan.weight_decay * LESS, 3)}
    yield {"weight_decay": round(plan.weight_decay * MORE, 3)}
    yield {"learning_rate": plan.learning_rate * FASTER}
    yield {"tied": not plan.tied}
    yield {"num_layers": 3 - plan.num_layers}


def main(folder: Path, name: str, N: int, minutes: float) -> None:
    """Search on one text, and print the rows."""
    text = (folder / f"{name}.txt").read_text(encoding="utf-8")
    held_out = min(HELD_OUT, len(text) // 5)

    def trial(options: dict[str, Any]) -> tuple[Settings, float]:
        with TemporaryDirectory() as temporary:
            path = Path(temporary) / "input.txt"
            path.write_text(text[-held_out - N : -held_out], encoding="utf-8")
            # Evaluate all columns, at the end only.
            given = Settings(data=path, patience=0, max_val_chunks=0, **options)
            corpus = begin(given).corpus
            run = begin(choose(given, corpus, budget=TimeBudget(60 * minutes)))
        trainer, settings, vocabulary = run.trainer, run.trainer.settings, run.corpus.vocabulary
        for _ in range(round(settings.max_epochs * len(trainer.train))):
            trainer.set_rates()
            trainer.learn()
        end = "".join(character for character in text[-held_out:] if character in vocabulary)
        columns, _ = trainer.evaluate(trainer.val)
        losses = columns.loss, loss_of(trainer.model, np.asarray(vocabulary.encode(end)))
        values = (getattr(settings, option) for option in SHOWN)
        changed = " ".join(f"{option}={value:.3g}" for option, value in options.items()) or "plan"
        print(name, N, minutes, changed, *values, *(f"{loss:.4f}" for loss in losses), sep=",", flush=True)
        return settings, losses[1]

    plan, planned = trial({})
    best: dict[str, Any] = {}
    better: dict[str, Any] = {}
    lowest = planned
    for change in changes(plan):
        _, loss = trial(change)
        if loss < planned - CLEAR:
            better |= change
        if loss < lowest:
            best, lowest = change, loss
    if len(better) > 1 and trial(better)[1] < lowest:
        best = better
    for options in ({}, best) if best else ({},):
        trial(options | {"seed": 2})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
