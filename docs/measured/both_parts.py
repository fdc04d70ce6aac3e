"""Repeat the trials in which two parts of a text are held out.

Run ``python docs/measured/both_parts.py FOLDER NAME``. FOLDER contains texts, such as ``bible.txt``. NAME is
the text whose trials in ``docs/measured/trials/both_parts.csv`` are repeated. An LSTM with two layers is
trained on the last N characters before the last 40,000 of the text, which are held out. Of the N characters,
the last 5% of each stream are held out as well. The learning rate is constant after 200 steps of warm-up, and
the weights are averaged.

One trial takes one to two minutes on an idle core.
"""

import csv
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import numpy as np
from plan_trials import HELD_OUT, WARMUP, loss_of

from minichar.training.schedules import rates
from minichar.training.settings import Settings
from minichar.training.start import begin

CSV = Path(__file__).with_name("trials") / "both_parts.csv"


def trial(text: str, row: Mapping[str, str]) -> tuple[float, float]:
    """Return the losses in the columns and at the end of the text."""
    N, units, tied = int(row["N"]), int(row["units"]), row["tied"] == "yes"
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "input.txt"
        path.write_text(text[-HELD_OUT - N : -HELD_OUT], encoding="utf-8")
        options = {name: float(row[name]) for name in ("dropout", "weight_decay", "learning_rate")}
        options |= {"rnn_size": units, "num_layers": 2, "tied": tied, "embedding": units if tied else 0}
        options |= {"batch_size": int(row["batch_size"]), "max_epochs": float(row["epochs"])}
        whole = {"patience": 0, "max_val_chunks": 0}  # evaluate all of the validation text, once
        run = begin(Settings(data=path, model="lstm", layer_norm=False, **options, **whole))
    trainer, vocabulary = run.trainer, run.corpus.vocabulary
    for i in range(round(trainer.settings.max_epochs * len(trainer.train))):
        decay = rates(trainer.settings, i, len(trainer.train), trainer.iterations)[2]
        trainer.step.set_rates(options["learning_rate"] * min(1, (i + 1) / WARMUP), decay=decay)
        trainer.learn()
    end = "".join(character for character in text[-HELD_OUT:] if character in vocabulary)
    columns, _ = trainer.evaluate(trainer.val)
    return columns.loss, loss_of(trainer.model, np.asarray(vocabulary.encode(end)))


def main(folder: Path, name: str) -> None:
    """Repeat the trials on one text."""
    text = (folder / f"{name}.txt").read_text(encoding="utf-8")
    with CSV.open(encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        for row in rows:
            if row["text"] == name:
                columns, end = trial(text, row)
                print(*[*row.values()][:-2], f"{columns:.4f}", f"{end:.4f}", sep=",")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
