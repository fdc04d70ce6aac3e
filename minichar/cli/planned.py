"""Describe the options that minichar chooses for a run, and write commands that train with given options."""

import re
from collections.abc import Collection, Mapping
from itertools import count
from math import prod
from pathlib import Path
from shlex import join
from typing import Any

from minichar.cli.options import Escaped
from minichar.cli.speed import duration
from minichar.errors import AUTOMATIC, MinicharError, Option, plain, undashed
from minichar.training.choose import TimeBudget, choose, config_of, facts_of
from minichar.training.cost import NOMINAL, Speed
from minichar.training.recipes import RECIPES
from minichar.training.settings import READING, TEXTS, Settings
from minichar.training.start import Run

TEXT = *TEXTS, *READING
"""Settings that determine the text and how it is split."""
TOO_LARGE = 3.0
"""Factor by which a run is too short for its number of hidden units from which on this is reported."""
LONGER_RUN = r"-\d+min$"
"""End of the name of the directory that `larger_model` suggests."""


def plan_of(run: Run) -> str:
    """Return the planned time and epochs of a new run, or "" if minichar did not choose its length."""
    if run.trainer.iteration or "max_epochs" not in run.chosen:
        return ""
    settings = run.trainer.settings
    epochs = f"{settings.max_epochs:g} epochs"
    if settings.max_time:
        time = f"{settings.max_time:g} min"
        if settings.max_epochs == run.trainer.timetable.most_epochs:
            return f"at most {epochs}, in less than {time}"
        return f"{time}: {epochs}"
    split = run.trainer.split
    step = NOMINAL.step(run.trainer.model.config, split.B, split.T)
    return f"about {duration(step * run.trainer.iterations)} on one core: {epochs}"


def size_advice(run: Run) -> str:
    """Return advice if the user chose so many hidden units that the run is far too short, or ""."""
    settings, split = run.trainer.settings, run.trainer.split
    if run.trainer.iteration or "max_epochs" not in run.chosen or "rnn_size" in run.chosen:
        return ""
    characters = run.trainer.iterations * split.B * split.T
    ratio = facts_of(settings, run.corpus).enough(settings.rnn_size) / characters
    if ratio < TOO_LARGE:
        return ""
    minutes = settings.max_time or RECIPES[settings.recipe].minutes
    enough = f"{ratio * minutes:.0f}"
    return f"the model is too large for {minutes:g} min: omit --rnn-size, or use --max-time {enough}m"


def larger_model(run: Run, minutes: int, step: float) -> str:
    """Return the command that trains a larger model on the text, or "" if minichar would not choose one.

    `step` is the time that a step of `run` took, in seconds, including its share of the evaluations.
    """
    settings, model, split = run.trainer.settings, run.trainer.model, run.trainer.split
    text = {name: value for name, value in changed_options(settings).items() if name in TEXT}
    speed = step / NOMINAL.step(model.config, split.B, split.T)
    try:
        plan = choose(Settings(**text), run.corpus, budget=TimeBudget(60.0 * minutes, Speed(speed, speed)))
    except MinicharError:  # the text is too short for the chunks that minichar would choose
        return ""
    shapes = config_of(plan, len(run.corpus.vocabulary)).shapes()
    if sum(map(prod, shapes.values())) <= model.parameters.size:
        return ""
    folder = beside(Path(re.sub(LONGER_RUN, "", str(settings.checkpoint_dir))), f"-{minutes}min")
    return train_command(text | {"max_time": f"{minutes}m", "checkpoint_dir": folder})


def beside(folder: Path, ending: str) -> Path:
    """Return `folder` with `ending` appended to its name, which for ``.`` and ``..`` is cv."""
    named = folder if folder.name.strip(".") else folder / "cv"
    return named.with_name(named.name + ending)


def another(folder: Path) -> Path:
    """Return the first unused directory beside `folder`, with -2, -3, … appended."""
    return next(other for n in count(2) if not (other := beside(folder, f"-{n}")).exists())


def changed_options(settings: Settings, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings that differ from their defaults, except those named in `without`."""
    values, defaults = settings.to_json(), Settings().to_json()
    return {name: x for name, x in values.items() if name not in without and x != defaults[name]}


def train_command(options: Mapping[str, Any]) -> str:
    """Return the ``minichar train`` command with these options, quoted for a shell."""
    words = ["minichar", "train", *map(undashed, options.get("data", ()))]
    for name, value in options.items():
        if name == "data":
            continue
        if isinstance(value, bool):
            words.append(Option(name, value).flag)
        else:
            spell = {"reset_on": Escaped.spell}.get(name, plain if isinstance(value, float) else str)
            words += [Option(name).flag, AUTOMATIC.flag if value is None else spell(value)]
    return join(words)
