"""Examples for ``--help`` and the command reference. The tests run all examples."""

EXAMPLES = {
    "train": (
        "minichar train my.txt --max-time 30m --checkpoint-dir cv-mine",
        "minichar train --resume cv-mine",
        "minichar train data/tang300 --min-freq 2 --checkpoint-dir cv-tang300",
    ),
    "sweep": (
        "minichar sweep --search learning_rate=1e-3..2e-2:log --max-epochs 2",
        "minichar sweep --sweep-dir sweep --trials 40",
    ),
    "sample": (
        'minichar sample cv-mine --primetext "The " --temperature 0.8',
        "minichar sample --top-p 0.9 --num-samples 4 --seed 7 > four.txt",
    ),
    "eval": ("minichar eval cv-mine", "minichar eval --data my.txt"),
    "inspect": ("minichar inspect cv-mine", "minichar inspect cv-mine --html inside.html"),
    "plot": ("minichar plot cv cv-mine", "minichar plot cv cv-mine -o loss.svg"),
    "convert": ("minichar convert cv-mine my.html", "minichar convert cv-mine small.npz --dtype float16"),
    "serve": ("minichar serve cv-mine", "minichar serve cv cv-shakespeare --port 8081"),
    "worker": ("minichar worker --redis redis://127.0.0.1:6379/0 cv",),
    "gradcheck": ("minichar gradcheck --model gru-reset-before --num-layers 3",),
    "lessons": ("minichar lessons", "minichar lessons lstm", "minichar lessons lstm --answer"),
    "doctor": ("minichar doctor",),
    "data": ("minichar data list", "minichar data get tinyshakespeare"),
}


def epilog(name: str) -> str:
    """Return a command's examples, formatted as an epilog that Click does not rewrap."""
    return "\b\n" + "\n  ".join(["Examples:", *EXAMPLES[name]])
