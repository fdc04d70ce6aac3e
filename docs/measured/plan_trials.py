"""Repeat the trials behind the plan: ``python docs/measured/plan_trials.py FOLDER NAME > out.csv``.

FOLDER contains texts, such as ``tinyshakespeare.txt``. NAME is the text whose trials in
``docs/measured/trials/plan.csv`` are repeated. A model is trained on the last N characters before the
held-out ones, which are the last 40,000 of the text (the last fifth of a short one), with a constant learning
rate after 200 steps of warm-up and averaged weights, so that a row in the middle of a trial is the result of
a shorter run. Held-out characters are evaluated in pieces of 1,000, after reading the 100 before.

One trial takes one to six minutes on one core. ``seconds`` are those of the training steps.
"""

import csv
import os
import sys
import tempfile
from pathlib import Path
from time import process_time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import numpy as np

from minichar.model import CharRNN
from minichar.training.evaluation import Measurement, evaluate
from minichar.training.schedules import rates
from minichar.training.settings import Settings
from minichar.training.start import begin

HELD_OUT, PIECE, CONTEXT, T = 40_000, 1000, 100, 50
WARMUP = 200
CSV = Path(__file__).parent / "trials" / "plan.csv"
CONFIG = ("text", "N", "cell", "units", "dropout", "weight_decay", "tied", "batch_size", "learning_rate")


def loss_of(model: CharRNN, ids: np.ndarray) -> float:
    """Return the loss on held-out text."""
    starts = CONTEXT + PIECE * np.arange((len(ids) - CONTEXT - 1) // PIECE)
    streams = ids[starts + np.arange(-CONTEXT, PIECE + 1)[:, None]].astype(np.intp)  # (1101, pieces)
    measure = Measurement(model.network(CONTEXT, len(starts)))
    measure.read(streams[:CONTEXT])
    steps = range(CONTEXT, CONTEXT + PIECE, CONTEXT)
    return evaluate(
        measure, [(streams[i : i + CONTEXT], streams[i + 1 : i + 1 + CONTEXT]) for i in steps]
    ).loss


def trial(folder: Path, row: dict[str, str], characters: list[int]) -> None:
    """Train with the options in `row`, and print a line after each number of characters."""
    text = (folder / f"{row['text']}.txt").read_text(encoding="utf-8")
    held_out = min(HELD_OUT, len(text) // 5)
    N, B, H, rate = int(row["N"]), int(row["batch_size"]), int(row["units"]), float(row["learning_rate"])
    cell, _, norm = row["cell"].partition("+")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "input.txt"
        path.write_text(text[-held_out - N :], encoding="utf-8")
        options = {"model": cell, "layer_norm": bool(norm), "rnn_size": H, "dropout": float(row["dropout"])}
        options |= {"weight_decay": float(row["weight_decay"]), "tied": row["tied"] == "yes", "num_layers": 2}
        options |= {"embedding": H if row["tied"] == "yes" else 0, "batch_size": B, "seq_length": T}
        fractions = {"split": "tail", "train_frac": N / (N + held_out), "val_frac": 0.0}
        run = begin(Settings(data=path, learning_rate=rate, max_epochs=1.0, **options, **fractions))
        trainer, seconds = run.trainer, 0.0
        ids = np.asarray(run.corpus.ids[N:])
        for i in range(round(max(characters) / (B * T))):
            begun = process_time()
            decay = rates(trainer.settings, i, len(trainer.train), trainer.iterations)[2]
            trainer.step.set_rates(rate * min(1, (i + 1) / WARMUP), decay=decay)
            trainer.learn()
            seconds += process_time() - begun
            if (i + 1) * B * T in characters:
                loss = loss_of(trainer.model, ids)
                print(
                    *(row[name] for name in CONFIG), (i + 1) * B * T, round(seconds), f"{loss:.4f}", sep=","
                )


def main(folder: Path, name: str) -> None:
    """Repeat the trials on one text."""
    trials: dict[tuple[str, ...], list[int]] = {}
    with CSV.open(encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            if row["text"] == name:
                trials.setdefault(tuple(row[each] for each in CONFIG), []).append(int(row["characters"]))
    print(*CONFIG, "characters", "seconds", "loss", sep=",")
    for config, characters in trials.items():
        trial(folder, dict(zip(CONFIG, config, strict=True)), characters)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
