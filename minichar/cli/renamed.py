"""Translate the options of other programs, and common alternative names, to minichar's options."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from minichar.errors import quoted, undashed

T = TypeVar("T")
Forms = Mapping[str, str]
"""Patterns for the value of an option, and the words that replace the option and a matching value.

In the words, ``{}`` is the value. The empty pattern is for an option without a value.
"""

VALUE = r"(?!-[^\d.]).*"
"""A word that can be the value of an unknown option, such as ``-1`` but not ``--quiet``."""
UNKNOWN = "?"
"""Name that replaces an option that cannot be translated."""
LAST = ("target", ">")
"""Replacements appended to the command line."""


def by_name(table: Mapping[str, T]) -> dict[str, T]:
    """Return `table` with each key, a list of names, split into one key per name."""
    return {name: value for names, value in table.items() for name in names.split()}


RENAMED = by_name(
    {
        # The text
        "data-dir data-file data-path train-data train-file training-data training-file": "--data --text",
        "dataset corpus textfile text-file": "--data --text",
        "input input-file infile file filename i": "--data source",
        "d": "--data",
        "val-file val-data valid-file valid-data validation-file validation-data": "--val",
        "test-file test-data": "--test",
        "data": "--text",
        "text": "--data --primetext",
        # The network
        "model m": "--model checkpoint checkpoints source",
        "model-type rnn-type cell cell-type arch architecture": "--model",
        "hidden hidden-size hidden-dim hidden-units n-hidden num-hidden nhid": "--rnn-size",
        "units n-units num-units n-embd": "--rnn-size",
        "layers n-layer n-layers nlayers depth": "--num-layers",
        "wordvec-size embed-dim embedding-dim embedding-size": "--embedding",
        # Training
        "epoch epochs n-epochs num-epochs nb-epoch e": "--max-epochs",
        "minutes max-minutes": "--max-time",
        "bs b minibatch minibatch-size": "--batch-size",
        "block-size bptt context context-length context-size sequence-length window": "--seq-length",
        "lr rate": "--learning-rate",
        "wd l2": "--weight-decay",
        "early-stop early-stopping": "--patience",
        "random-seed manual-seed": "--seed",
        "true-share": "--teacher-forcing-ratio",
        "log-interval log-every": "--print-every",
        "eval-interval eval-every val-every": "--eval-val-every",
        "eval-iters": "--max-val-chunks",
        # torch-rnn's checkpoint-every is in chunks, but minichar's --checkpoint-every is in seconds
        "checkpoint-every": "--eval-val-every",
        "n-trials num-trials": "--trials",
        # Files
        "model-path model-file load weights c ckpt": "checkpoint checkpoints source",
        "checkpoint checkpoint-dir": "checkpoint checkpoints source",
        "out-dir output-dir save-dir model-dir": "--checkpoint-dir --sweep-dir --dir",
        "from init init-model pretrained start-from": "--init-from",
        "continue": "--resume",
        "o out outfile out-file output output-file": "--output --html --sweep-dir --dir target >",
        "save save-to": "--output --html --sweep-dir --dir target >",
        "src": "source",
        "dst": "target",
        "overwrite": "--force",
        # Generating text
        "prompt prime prefix start start-text seed-text": "--primetext",
        "prompt-file": "--prime-file",
        "max-new-tokens max-tokens max-length n-chars num-chars chars characters tokens l": "--length",
        "samples n-samples num-return-sequences": "--num-samples",
        "t": "--temperature",
        "k": "--top-k",
        "nucleus": "--top-p",
        "greedy": "--argmax",
        # Other
        "address bind ip": "--host",
        "q silent": "--quiet",
        "v": "--version",
    }
)
"""Names for options, and minichar's names for them. The first one that the command has is used.

A name without dashes is that of a positional argument, and ``>`` is the standard output.
"""

STEPS = "steps max-steps n-steps num-steps train-steps training-steps updates \
iterations max-iterations num-iterations iters max-iters n-iters num-iters"
"""Names for the number of training steps. minichar counts epochs."""
SCHEDULE = "warmup-iters warmup-steps decay-lr lr-decay-iters min-lr lr-decay-every lr-decay-factor \
lr-schedule lr-scheduler scheduler learning-rate-schedule"
DROPPED = f"accurate-gpu-timing input-h5 input-json batchnorm reset-iterations gpu-backend speed-benchmark \
memory-benchmark checkpoint-name n-head compile clipvalue clipnorm optimizer optim {SCHEDULE}"
"""Options without an equivalent."""
A_TEXT = r".*\.txt"
BY_VALUE: Mapping[str, Forms] = by_name(
    {
        "gpuid gpu cuda use-gpu use-cuda": {
            "-1": "--device cpu",
            r"\d+": "--device gpu:{}",
            "": "--device gpu",
        },
        "cpu no-cuda no-gpu": {"": "--device cpu"},
        "opencl": {"0": "", "1": "--device opencl", "": "--device opencl"},
        "sample": {"0": "--argmax", "1": "--sample"},
        "verbose debug": {"0": "--quiet", r"\d+|true|false": "", "": ""},
        "rnn": {"lstm|gru|rnn": "--model {}", "": "--model rnn"},
        "type": {"lstm|gru|rnn": "--model {}"},
        "lstm": {"": "--model lstm"},
        "gru": {"": "--model gru"},
        "data": {".*": "train --data {}"},
        "train": {A_TEXT: "--data {}", "": "--part train"},
        "test": {A_TEXT: "--data {}", "": "--part test"},
        "val": {"": "--part val"},
        "set": {"train|val|test": "--part {}"},
        "whole": {"": "--part whole"},
        "f": {A_TEXT: "--data {}", "": "--force"},
        "p": {r"0?\.\d+": "--top-p {}", r"\d+": "--port {}", ".*": "--primetext {}"},
        DROPPED: {r"[^-].*|-\d.*": "", "": ""},
    }
)
"""The forms of options whose replacement depends on the value, or that are dropped.

A form applies only if the command has the option that the form contains.
"""

NOTES = by_name(
    {
        "optimizer optim": "the optimiser is always RMSprop",
        "input-h5 input-json": "specify the text itself with --data",
        SCHEDULE: "the schedule is set by --warmup and --learning-rate-decay",
        "verbose debug": "all messages are printed by default",
    }
)
"""Notes on some of the dropped options."""

EXPLAINED = by_name(
    {
        STEPS: "use --max-epochs; an epoch has (length of the text) / (batch size × sequence length) steps",
        "n num number count": "use --length for the number of characters, or --num-samples for the number of "
        "samples",
        "o out output output-file save save-to name": "use --checkpoint-dir for the directory of the "
        "checkpoints, and --savefile for their names",
        "load load-model checkpoint ckpt restore weights": "use --resume to continue a run, or --init-from "
        "to start from a model's weights",
        "save-every": "use --eval-val-every, in chunks, or --checkpoint-every, in seconds",
        "time timeout time-limit": "use --max-time, in minutes",
        "clip grad-norm gradient-clip max-grad-norm": "use --clip-norm for the norm of the gradient, or "
        "--grad-clip for each of its elements",
        "val val-split val-size validation-split test test-frac test-split test-size train-split": "use "
        "--train-frac and --val-frac; the rest of the text is the test split",
        "param params grid": "use --search for an option and its values, such as --search rnn_size=64,128",
        "jobs n-jobs workers num-workers processes parallel": "to run trials in parallel, start multiple "
        "processes with the same --sweep-dir",
        "init-from": "every trial in --sweep-dir starts from random weights; fine-tune with "
        "`minichar train --init-from`",
        "resume": "to continue a sweep, run `minichar sweep` with its --sweep-dir",
        "checkpoint-dir": "each trial has its own directory in --sweep-dir",
        "version": "use `minichar --version`",
    }
)
"""What to use instead of options that have no single replacement.

An explanation applies only if the command has all options that it mentions outside backquoted commands.
"""


class Unknown(NamedTuple):
    """An option that cannot be translated."""

    name: str  # as typed
    key: str  # as in `RENAMED`
    value: str
    explanation: str  # what to use instead


class Translation(NamedTuple):
    """A command line translated to minichar's options."""

    words: list[str]
    last: list[str]  # words that follow, quoted for a shell
    renamed: list[str]  # the options that are spelled differently or do not exist, as typed
    dropped: list[str]  # those of them without an equivalent
    notes: list[str]  # on the options in `dropped`
    unknown: list[Unknown]  # the options that cannot be translated


def translate(typed: Sequence[str], options: Mapping[str, Forms], interspersed: bool = True) -> Translation:
    """Translate a command line with the forms of the command's options, positional arguments and subcommands.

    An option with one dash is interpreted as in char-rnn or torch-rnn, even if minichar has an option with
    the same name. For example, ``-sample 0`` is translated to ``--argmax``. If `interspersed` is False, as in
    a group of commands, options cannot follow positional arguments.
    """
    words, last, renamed, dropped, notes, unknown = result = Translation([], [], [], [], [], [])
    rest = list(typed)
    while rest and rest[0] != "--":
        word = rest.pop(0)
        if len(word) < 2 or word[0] != "-":
            words.append(word)
            if not interspersed:
                break
            continue
        name, equals, value = word.partition("=")
        forms = options.get(name.replace("_", "-"), {})
        if forms or any(options.get(word[:2], {})):  # the latter for -oVALUE
            words.append(word)
            if not equals and rest and any(each and matches(each, rest[0]) for each in forms):
                words.append(rest.pop(0))
            continue
        follows = not equals and bool(rest) and matches(VALUE, rest[0])
        given = value if equals else rest[0] if follows else None
        key = name.lstrip("-").replace("_", "-").lower()
        new, pattern, template = next(
            each
            for each in candidates(key, options)
            if not each[1] or (given is not None and matches(each[1], given))
        )
        if pattern and follows:
            rest.pop(0)
        if new == UNKNOWN:
            unknown.append(Unknown(name, key, given or "", template))
            continue
        renamed.append(name)
        if new in LAST:
            last.append(template.format(quoted(given)))
        else:
            words += [
                each.format(given if new.startswith("-") else undashed(given)) for each in template.split()
            ]
        if not template:
            dropped.append(name)
            if (note := NOTES.get(key)) and note not in notes:
                notes.append(note)
        if not interspersed and new and not new.startswith("-"):  # a subcommand
            break
    words += rest
    return result


def candidates(key: str, options: Mapping[str, Forms]) -> Iterator[tuple[str, str, str]]:
    """Yield the names that may replace an option, each with an item of its forms.

    The last one is `UNKNOWN`, with an explanation or an empty string.
    """
    for pattern, template in BY_VALUE.get(key, {}).items():
        new = template.partition(" ")[0]
        if not new or new in options:
            yield new, pattern, template
    explanation = "" if f"--{key}" in options else EXPLAINED.get(key, "")
    if explanation and options.keys() >= {*re.findall("--[a-z-]+", re.sub("`.*?`", "", explanation))}:
        yield UNKNOWN, ".*", explanation
        yield UNKNOWN, "", explanation
    for new in (*RENAMED.get(key, "").split(), f"--{key}", key):
        for pattern, template in options.get(new, {}).items():
            yield new, pattern, template
    yield UNKNOWN, "", ""


def matches(pattern: str, value: str) -> bool:
    """Return whether a pattern matches the whole of a value."""
    return re.fullmatch(pattern, value, re.DOTALL) is not None
