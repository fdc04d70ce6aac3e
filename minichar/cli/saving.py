"""Options of ``minichar train`` for evaluation, checkpoints and output (fields of `Settings`)."""

import click

from minichar.cli.options import PATH, group
from minichar.training.choose import STEPS_PER_VAL_CHUNK
from minichar.training.settings import Settings

DEFAULT = Settings()

saving = group("Evaluation and checkpoints")
output = group("Output")

SAVING = (
    saving(
        "--checkpoint-dir",
        default=DEFAULT.checkpoint_dir,
        metavar="DIR",
        type=PATH,
        help="Directory for checkpoints.",
    ),
    saving(
        "--savefile",
        rare=True,
        default=DEFAULT.savefile,
        metavar="NAME",
        show_default=False,
        help="Checkpoints are named lm_NAME_epoch<epoch>_<validation loss>.npz.  [default: the cell type]",
    ),
    saving(
        "--eval-val-every",
        rare=True,
        auto=click.INT,
        metavar="N",
        help="Evaluate and save a checkpoint every N chunks of B×T characters, and at the end of the run. "
        "auto: after each epoch and at least every two minutes, or less often if evaluations would take more "
        "than 10% of the time.",
    ),
    saving(
        "--max-val-chunks",
        rare=True,
        auto=click.INT,
        metavar="N",
        help="Use only the first N validation chunks in each evaluation. "
        f"auto: one chunk per {STEPS_PER_VAL_CHUNK} training steps between evaluations "
        "(about 10% of the time, or more if the run is shorter than an epoch). 0: all.",
    ),
    saving(
        "--checkpoint-every",
        rare=True,
        default=DEFAULT.checkpoint_every,
        metavar="SECONDS",
        help="Save lm_NAME_latest.npz when this much time has passed since the last checkpoint, so that "
        "little progress is lost if the process is killed. 0: never.",
    ),
    saving(
        "--keep",
        rare=True,
        default=DEFAULT.keep,
        metavar="N",
        help="Keep only the N best checkpoints and the newest one, of those saved since the run was started "
        "or resumed. 0: keep all.",
    ),
    output(
        "--sample-every",
        rare=True,
        default=DEFAULT.sample_every,
        metavar="N",
        help="Print a line of generated text every N evaluations. 0: never.",
    ),
)
