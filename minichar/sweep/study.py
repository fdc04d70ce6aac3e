"""The directory of a sweep and its Optuna study.

    sweep/sweep.json        the plan: options, digests of the texts, and name of the study
    sweep/sweep.db          the study
    sweep/sweep.lock        locked while a process opens the study or claims a trial
    sweep/trial-0003/       the checkpoints of a trial, and a lock held by the process that runs it

The directory identifies the sweep: all processes that use the directory contribute trials to the same study.
"""

import json
import os
import secrets
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.naming import is_checkpoint
from minichar.checks import check, checked, declared, did_you_mean
from minichar.errors import LONGEST_PATH, MinicharError, Refused, brief, plain
from minichar.extras import first_line, need, one_line
from minichar.files import locking, writing
from minichar.sweep.space import Dimension, parse, values_of
from minichar.training.settings import TEXTS, Settings

part = partial(need, extra="sweep", what="a sweep")
PLAN, DATABASE = "sweep.json", "sweep.db"
OPTIONS = declared(Settings).keys() - {"checkpoint_dir", "max_time"}
"""The options that a plan can contain."""
MAX_PLAN = 1 << 20
"""Maximum length of a plan, in characters."""
STARTUP = 5
"""Number of trials that must complete before any trial is pruned."""
WARMUP = 10
"""Percentage of a run during which pruning is disabled, because the learning rate may still be rising."""
WAIT = 60.0
"""Maximum time in seconds to wait while another process writes to the SQLite database."""


@dataclass(frozen=True)
class Plan:
    """The options shared by all processes of a sweep. Invalid options raise a `MinicharError`.

    A relative path of a text is made absolute so that the sweep can be continued from any directory.
    """

    given: dict[str, Any]  # the options that are the same in every trial, as JSON-compatible values
    search: list[str]  # values of ``--search``
    study: str = ""  # the name of the study; empty in a new plan
    digest: str = ""  # digests of the texts (see `Corpus`), joined with spaces; empty in old plans

    def __post_init__(self) -> None:
        check(self)
        for name in self.given:
            if name not in OPTIONS:
                raise MinicharError(f"there is no option {name!r}{did_you_mean(name, OPTIONS)}")
        for text in self.search:
            parse(text)
        absolute = {}
        for name in TEXTS:
            if path := checked(name, self.given.get(name), declared(Settings)[name].kind):
                absolute[name] = [*map(os.path.abspath, path)] if name == "data" else os.path.abspath(path)
        object.__setattr__(self, "given", {**self.given, **absolute})

    @property
    def space(self) -> list[Dimension]:
        """The search space."""
        return [parse(text) for text in self.search]


def is_sweep(folder: Path) -> bool:
    """Return whether a directory contains a sweep."""
    return (folder / PLAN).is_file()


def read_plan(folder: Path) -> Plan:
    """Return the plan of the sweep in a directory, or raise a `MinicharError` if it cannot be read."""
    try:
        with open(folder / PLAN, encoding="utf-8") as file:
            text = file.read(MAX_PLAN + 1)
        if len(text) > MAX_PLAN:
            raise ValueError(f"it has more than {MAX_PLAN:,} characters")
        return Plan(**json.loads(text))
    except (MinicharError, OSError, RecursionError, TypeError, ValueError) as error:
        raise MinicharError(
            f"cannot read the sweep's plan {folder / PLAN}: {plain(str(error), LONGEST_PATH)}"
        ) from error


def open_study(folder: Path, plan: Plan | None = None) -> tuple[Plan, Any]:
    """Open or create the study in a directory.

    If the sweep exists, `plan` must have the same options. A lock is held while the tables are created,
    because SQLite reports an error if two processes create them at the same time.

    This raises a `MinicharError` if Optuna is missing, if the options differ, if the directory contains other
    runs, or if the database cannot be opened.
    """
    optuna = part("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Median pruning is useful after only a few trials. Hyperband would need more trials because it divides
    # them among brackets.
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP)
    if not is_sweep(folder) and any(map(is_checkpoint, folder.glob("*.npz"))):
        raise MinicharError(
            f"{folder}/ contains the checkpoints of a training run: choose another --sweep-dir"
        )
    with locking(folder / "sweep.lock"), database_errors(ImportError, RuntimeError):
        if is_sweep(folder):
            stored = read_plan(folder)
            check_same(folder, stored, plan)
            with damage_errors(folder / DATABASE):
                backend = open_storage(folder)
                if stored.study not in optuna.get_all_study_names(backend):
                    raise Refused(f"it does not contain the study {brief(stored.study)}")
                study = optuna.load_study(study_name=stored.study, storage=backend, pruner=pruner)
                # The study does not list trials that have the number of another trial.
                size = backend.get_n_trials(backend.get_study_id_from_name(stored.study))
                check_trials(study, size, stored.space)
            return stored, study
        if plan is None:
            raise MinicharError(f"{folder}/ contains no sweep")
        if any(folder.glob("trial-*")):
            raise MinicharError(f"{folder}/ contains trials of another sweep: choose another directory")
        plan = replace(plan, study=f"{folder.name}-{secrets.token_hex(4)}")
        study = optuna.create_study(storage=open_storage(folder), study_name=plan.study, pruner=pruner)
        with writing(folder / PLAN) as output:
            output.write(json.dumps(asdict(plan), indent=1).encode())
        return plan, study


def check_same(folder: Path, stored: Plan, plan: Plan | None) -> None:
    """Raise a `MinicharError` if the plan differs from that of the existing sweep."""
    # Ignore the paths of the texts, which may differ between machines. The digests identify the texts.
    same_paths = {name: "" for name in TEXTS if stored.digest and name in stored.given}
    if plan and (plan.given | same_paths, plan.search) != (stored.given | same_paths, stored.search):
        raise MinicharError(
            f"{folder}/ contains a sweep with different options: omit the options to continue it, or choose "
            "another directory with --sweep-dir"
        )


def open_storage(folder: Path) -> Any:
    """Return Optuna's storage for the database in a directory, creating the tables if necessary."""
    url = part("sqlalchemy.engine").URL.create("sqlite", database=str(folder / DATABASE))
    # Without a pool, each connection is closed as soon as it is no longer needed.
    options = {"connect_args": {"timeout": WAIT}, "poolclass": part("sqlalchemy.pool").NullPool}
    return part("optuna").storages.RDBStorage(url.render_as_string(), engine_kwargs=options)


def check_trials(study: Any, size: int, space: Sequence[Dimension]) -> None:
    """Check everything in a study that the trials of a sweep depend on.

    The trials must be those of a sweep over `space`, numbered from 0 to ``size - 1``. Otherwise, this raises
    `Refused` or, if the database contains invalid values, any of the exceptions that Optuna raises.
    """
    optuna = part("optuna")
    example = optuna.trial.FixedTrial({each.name: each.values[0] for each in space})
    values_of(space, example)  # defines the distributions
    if study.direction != optuna.study.StudyDirection.MINIMIZE:
        raise Refused("its study does not minimise the loss")
    trials = study.get_trials(deepcopy=False)
    if [trial.number for trial in trials] != [*range(size)]:
        raise Refused("its trials are not numbered consecutively")
    for number, trial in enumerate(trials):
        complete = trial.state is optuna.trial.TrialState.COMPLETE
        chosen = {**trial.params, **trial.system_attrs.get("fixed_params", {})}
        for each in space:
            if complete and each.name not in trial.params:
                raise Refused(f"trial {number} has no value for {each.name}")
            if each.name in chosen and chosen[each.name] not in each:
                raise Refused(f"trial {number} has the value {brief(chosen[each.name])} for {each}")
        if not trial.distributions.items() <= example.distributions.items():
            raise Refused(f"trial {number} is not a trial of this search space")
        if complete and not isfinite(trial.value):
            raise Refused(f"trial {number} has the loss {trial.value}")
        if not all(map(isfinite, chain.from_iterable(trial.intermediate_values.items()))):
            raise Refused(f"trial {number} has a loss that is not finite")


@contextmanager
def damage_errors(database: Path) -> Iterator[None]:
    """Convert the exceptions raised by reading a damaged database to one-line `MinicharError` exceptions.

    Errors that do not depend on the contents of the database are left to `database_errors`.
    """
    optuna, sqlalchemy = part("optuna.exceptions"), part("sqlalchemy.exc")
    try:
        yield
    except (optuna.OptunaError, sqlalchemy.SQLAlchemyError, ImportError, RuntimeError):
        raise
    except Exception as error:
        reason = error if isinstance(error, Refused) else one_line(error)
        raise MinicharError(
            f"the sweep's database {database} is damaged: {reason}; restore a backup of it, or start a new "
            "sweep in another directory"
        ) from error


@contextmanager
def database_errors(*others: type[Exception]) -> Iterator[None]:
    """Convert database errors and the exceptions in `others` to one-line `MinicharError` exceptions."""
    optuna, sqlalchemy = part("optuna.exceptions"), part("sqlalchemy.exc")
    try:
        yield
    except (optuna.OptunaError, sqlalchemy.SQLAlchemyError, *others) as error:
        cause = error.__cause__ or error
        raise MinicharError(f"cannot use the sweep's database: {first_line(cause)}") from error


@dataclass(frozen=True)
class Result:
    """A completed trial: its number, the values of the searched options, and its loss."""

    number: int
    values: dict[str, Any]
    loss: float


@database_errors()
def results(study: Any) -> list[Result]:
    """Return the completed trials of a study, best first."""
    complete = part("optuna").trial.TrialState.COMPLETE
    trials = study.get_trials(deepcopy=False, states=(complete,))
    return sorted((Result(t.number, t.params, t.value) for t in trials), key=lambda result: result.loss)


@database_errors()
def slices(study: Any) -> Any:
    """Return a Matplotlib figure with Optuna's slice plot: the loss versus the value of each option."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the function is experimental
        axes = part("optuna.visualization.matplotlib").plot_slice(study, target_name="validation loss")
    return np.ravel(axes)[0].figure
