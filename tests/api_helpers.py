"""Options for toy runs of `minichar.train`, and a function that trains without printing progress."""

import minichar

TOY = {
    "use_ss": True,
    "recipe": "char-rnn",
    "rnn_size": 8,
    "num_layers": 1,
    "batch_size": 4,
    "seq_length": 6,
    "max_epochs": 1,
}
OVERFITTING = TOY | {"rnn_size": 32, "max_epochs": 12, "eval_val_every": 50, "learning_rate": 0.02}
"""Options for a run whose best checkpoint is not its last one."""


def train(data, **options):
    return minichar.train(data, progress=False, **TOY | options)
