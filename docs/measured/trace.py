"""Count the files, functions and lines of minichar that run in a training step, a generated character and an
evaluation of two chunks: ``python docs/measured/trace.py``. With ``--lines``, print the lines, too.

Each part runs once before it is traced, so that only what is repeated counts: of the training, this is the
second step. Files and functions count if one of their lines runs, and each line counts once.
"""

import sys
import tempfile
from linecache import getline
from pathlib import Path

import minichar
from minichar.devices.cpu import host_generator
from minichar.engine.config import Config
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.generate import sample_ids
from minichar.text.batches import split_text
from minichar.text.vocabulary import Vocabulary
from minichar.training.evaluation import evaluate
from minichar.training.settings import Settings
from minichar.training.trainer import Trainer

PACKAGE = Path(minichar.__file__).parent


def run_with(called, unit):
    """Call `unit`, and `called` at each function call in it, as `sys.settrace` does."""
    before = sys.gettrace()
    sys.settrace(called)
    try:
        unit()
    finally:
        sys.settrace(before)


def trace(unit):
    """Call `unit` twice and return the second call's lines ``(file, function, number)`` of the package."""
    lines = set()

    def local(frame, event, argument):
        if event == "line":
            code = frame.f_code
            lines.add((code.co_filename, code.co_qualname, frame.f_lineno))
        return local

    def called(frame, event, argument):
        return local if frame.f_code.co_filename.startswith(str(PACKAGE)) else None

    unit()
    run_with(called, unit)
    return lines


def count(lines):
    """Return the numbers of files, functions and lines. A comprehension is part of its function."""
    functions = {(file, name.partition(".<locals>.<")[0]) for file, name, _ in lines}
    files = {file for file, *_ in lines}
    return len(files), len(functions), len({(file, number) for file, _, number in lines})


def units(folder):
    """Return what is traced, by title: functions of a model with two LSTM layers and the default options."""
    generator = host_generator(1)
    V, T, B = 65, 50, 16
    config = Config(V, "lstm", 32)
    model = CharRNN.new(config, Vocabulary("".join(map(chr, range(48, 48 + V)))), 1)
    split = split_text(generator.integers(V, size=40 * T * B), B, T, 0.9, 0.1, "columns")
    settings = Settings(
        model="lstm",
        rnn_size=config.rnn_size,
        dropout=0.0,
        embedding=0,
        layer_norm=False,
        tied=False,
        seq_length=T,
        batch_size=B,
        max_epochs=10.0,
        patience=10,
        learning_rate=2e-3,
        warmup=0.1,
        weight_decay=0.0,
        max_val_chunks=0,
        checkpoint_dir=folder,
    )
    trainer = Trainer(model, split, settings, {"path": "text", "digest": ""}, "run")

    def step():
        trainer.set_rates()
        trainer.learn()

    characters = sample_ids(model, model.vocabulary.encode("0"), Choice(), [generator])
    chunks = split.val.part(0, 2)
    return {
        "a training step": step,
        "a generated character": lambda: next(characters),
        "an evaluation of two chunks": lambda: evaluate(trainer.measurement, chunks),
    }


def main():
    """Print the counts."""
    with tempfile.TemporaryDirectory() as folder:
        for title, unit in units(Path(folder)).items():
            lines = trace(unit)
            print("{}: {} files, {} functions, {} lines".format(title, *count(lines)))
            if "--lines" in sys.argv:
                for file, number in sorted({(file, number) for file, _, number in lines}):
                    place = f"{Path(file).relative_to(PACKAGE)}:{number}"
                    print(f"  {place:40}{getline(file, number).strip()}")


if __name__ == "__main__":
    main()
