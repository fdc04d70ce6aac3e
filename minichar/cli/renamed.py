"""Translate options from char-rnn, torch-rnn, nanoGPT, Keras and PyTorch to minichar's."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

OPTION = re.compile("--?[A-Za-z]")

RENAMED = {
    # char-rnn
    "data-dir": "--data",
    # torch-rnn
    "model-type": "--model",
    "wordvec-size": "--embedding",
    # torch-rnn's checkpoint-every is in chunks, but minichar's --checkpoint-every is in seconds
    "checkpoint-every": "--eval-val-every",
    "checkpoint": "",
    "start-text": "--primetext",
    # nanoGPT
    "dataset": "--data",
    "out-dir": "--checkpoint-dir",
    "block-size": "--seq-length",
    "n-layer": "--num-layers",
    "n-embd": "--rnn-size",
    "eval-interval": "--eval-val-every",
    "eval-iters": "--max-val-chunks",
    "log-interval": "--print-every",
    "start": "--primetext",
    "max-new-tokens": "--length",
    # Keras and PyTorch
    "units": "--rnn-size",
    "hidden-size": "--rnn-size",
    "epochs": "--max-epochs",
    "lr": "--learning-rate",
    # other commands of minichar
    "data": "--text",
    "text": "--data",
    # earlier versions of minichar
    "true-share": "--teacher-forcing-ratio",
}
"""Options and their minichar equivalents, which take the same values. ``""`` is the positional argument."""

GPU = {"-1": "--device cpu", r"\d+": "--device gpu:{}", "": "--device gpu"}
DROPPED = {r"[^-].*|-\d.*": "", "": ""}
SCHEDULE = (
    "warmup-iters",
    "decay-lr",
    "lr-decay-iters",
    "min-lr",
    "lr-decay-every",
    "lr-decay-factor",
    "lr-schedule",
    "learning-rate-schedule",
)
BY_VALUE = {
    "gpuid": GPU,
    "gpu": GPU,
    "opencl": {"0": "", "1": "--device opencl", "": "--device opencl"},
    "sample": {"0": "--argmax", "1": "--sample"},
    "verbose": {"0": "--quiet", "1": ""},
    "accurate-gpu-timing": DROPPED,
    **dict.fromkeys(("input-h5", "input-json", "batchnorm", "reset-iterations"), DROPPED),
    **dict.fromkeys(("gpu-backend", "speed-benchmark", "memory-benchmark", "checkpoint-name"), DROPPED),
    **dict.fromkeys(("n-head", "compile", "max-iters"), DROPPED),
    **dict.fromkeys(SCHEDULE, DROPPED),
    **dict.fromkeys(("validation-split", "clipvalue", "clipnorm", "optimizer", "optim"), DROPPED),
}
"""For each option, patterns for its value, and the arguments that replace the option and a matching value.

The empty pattern is for an option without a value.
"""

NOTES = {
    **dict.fromkeys(("optimizer", "optim"), "the optimiser is always RMSprop"),
    **dict.fromkeys(SCHEDULE, "the schedule is set by --warmup and --learning-rate-decay"),
}
"""Notes on some of the dropped options."""


class Translation(NamedTuple):
    """A command line translated to minichar's options.

    Attributes
    ----------
    words : list of str
    renamed : list of str
        The options that minichar spells differently or does not have, as the user typed them.
    dropped : list of str
        The options in `renamed` that have no equivalent.
    notes : list of str
        The notes in `NOTES` on the options in `dropped`.
    unknown : list of str
        The unrecognised options.
    """

    words: list[str]
    renamed: list[str]
    dropped: list[str]
    notes: list[str]
    unknown: list[str]


def translate(typed: Sequence[str], options: Collection[str]) -> Translation:
    """Translate a command line.

    An option with one dash is interpreted as in char-rnn or torch-rnn, even if minichar has an option with
    the same name. For example, ``-sample 0`` is translated to ``--argmax``.

    Parameters
    ----------
    typed : sequence of str
    options : collection of str
        The command's options, such as ``--rnn-size``; also ``""`` if the command takes a positional argument.
    """
    words, renamed, dropped, notes, unknown = result = Translation([], [], [], [], [])
    rest = list(typed)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        key = name.lstrip("-").replace("_", "-").lower()
        ours = f"--{key}"
        if not OPTION.match(word) or name in options:
            words.append(word)
        elif name.startswith("--") and ours in options:
            words.append(ours + equals + value)
        elif (found := replacement(key, value if equals else (rest[:1] or [""])[0])) is not None:
            new_words, with_value = found
            words += new_words
            del rest[: with_value and not equals]
            (renamed if not new_words or new_words[0] in options else unknown).append(name)
            if not new_words:
                dropped.append(name)
                if (note := NOTES.get(key)) and note not in notes:
                    notes.append(note)
        elif (new := next((new for new in (RENAMED.get(key), ours) if new in options), None)) is not None:
            renamed.append(name)
            words += [new] * bool(new) if not equals else [f"{new}={value}" if new else value]
        else:
            unknown.append(name)
    return result


def replacement(key: str, value: str) -> tuple[list[str], bool] | None:
    """Return the arguments that replace an option in `BY_VALUE`, and whether they also replace its value.

    `value` is the text after ``=``, or the next argument if there is no ``=``. A value belongs to the option
    only if one of the option's patterns matches.
    """
    for pattern, template in BY_VALUE.get(key, {}).items():
        if not pattern or re.fullmatch(pattern, value):
            return template.replace("{}", value).split(), bool(pattern)
    return None
