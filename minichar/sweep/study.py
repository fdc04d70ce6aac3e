"""The directory of a sweep and its Optuna study.

    sweep/sweep.json        the plan: options, digest of the training text, and name of the study
    sweep/sweep.db          the study, unless it is stored in another database
    sweep/sweep.lock        locked while a process opens the study or claims a trial
    sweep/trial-0003/       the checkpoints of a trial, and a lock held by the process that runs it

The directory identifies the sweep: all processes that use the directory contribute trials to the same study.
"""

import json
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from minichar.checkpoints.naming import is_checkpoint
from minichar.checks import declared, did_you_mean
from minichar.errors import LONGEST_PATH, MinicharError, plain
from minichar.extras import first_line, need
from minichar.files import locking, writing
from minichar.training.settings import Settings

part = partial(need, extra="sweep", what="a sweep")
PLAN = "sweep.json"
OPTIONS = declared(Settings)
"""The options that a plan can contain."""
STARTUP = 5
"""Number of trials that must complete before any trial is pruned."""
WARMUP = 10
"""Percentage of a run during which pruning is disabled, because the learning rate may still be rising."""
WAIT = 60.0
"""Maximum time in seconds to wait while another process writes to the SQLite database."""


@dataclass(frozen=True)
class Plan:
    """The options shared by all processes of a sweep.

    Attributes
    ----------
    given : dict
        The options of ``minichar train`` that are the same in every trial, as JSON-compatible values. A
        relative path in ``data`` is made absolute so that the sweep can be continued from any directory.
    search : list of str
        The search space, as values of ``--search``.
    study, database : str
        Name of the study, and URL of its database without the password. `study` and `database` are empty in a
        new plan.
    digest : str
        Digest of the training text (`minichar.text.corpus.Corpus`). Empty in old plans.

    Raises
    ------
    TypeError, ValueError
        If `given` or `search` has the wrong type, or an option in `given` does not exist.
    """

    given: dict[str, Any]
    search: list[str]
    study: str = ""
    database: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.given, dict) and isinstance(self.search, list)):
            raise TypeError("'given' must be a dictionary, and 'search' a list")
        for name in self.given:
            if name not in OPTIONS:
                raise ValueError(f"there is no option {name!r}{did_you_mean(name, OPTIONS)}")
        if data := self.given.get("data"):
            object.__setattr__(self, "given", {**self.given, "data": os.path.abspath(data)})


def is_sweep(folder: Path) -> bool:
    """Return whether a directory contains a sweep."""
    return (folder / PLAN).is_file()


def read_plan(folder: Path) -> Plan:
    """Return the plan of the sweep in a directory.

    Raises
    ------
    MinicharError
        If the plan is missing or corrupted.
    """
    try:
        return Plan(**json.loads((folder / PLAN).read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise MinicharError(
            f"cannot read the sweep's plan {folder / PLAN}: {plain(str(error), LONGEST_PATH)}"
        ) from error


def open_study(folder: Path, plan: Plan | None = None, storage: str | None = None) -> tuple[Plan, Any]:
    """Open or create the study in a directory.

    A lock is held while the database tables are created, because SQLite reports an error if two processes
    create them at the same time.

    Parameters
    ----------
    folder : Path
    plan : Plan, optional
        The plan of a new sweep. If the sweep exists, its plan must have the same options.
    storage : str, optional
        SQLAlchemy URL of a database; by default, a SQLite database in the directory.

    Raises
    ------
    MinicharError
        If Optuna is missing, if the options differ from those of the existing sweep, if the directory
        contains other runs, or if the database cannot be opened.
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
    with locking(folder / "sweep.lock"), database_errors(ImportError, KeyError, RuntimeError):
        engine = part("sqlalchemy.engine")
        file = engine.URL.create("sqlite", database=str(folder / "sweep.db"))
        url = engine.make_url(storage) if storage else file
        # Remove the password. `url.set(password=None)` would keep it.
        public = url._replace(password=None).difference_update_query(["password"])
        database = public.render_as_string() if storage else ""
        if is_sweep(folder):
            stored = read_plan(folder)
            check_same(folder, stored, plan, database)
            backend = open_storage(optuna, url)
            return stored, optuna.load_study(study_name=stored.study, storage=backend, pruner=pruner)
        if plan is None:
            raise MinicharError(f"{folder}/ contains no sweep")
        if any(folder.glob("trial-*")):
            raise MinicharError(f"{folder}/ contains trials of another sweep: choose another directory")
        plan = replace(plan, study=f"{folder.name}-{secrets.token_hex(4)}", database=database)
        study = optuna.create_study(storage=open_storage(optuna, url), study_name=plan.study, pruner=pruner)
        with writing(folder / PLAN) as output:
            output.write(json.dumps(asdict(plan), indent=1).encode())
        return plan, study


def check_same(folder: Path, stored: Plan, plan: Plan | None, database: str) -> None:
    """Raise a `MinicharError` if the plan or the database differs from that of the existing sweep."""
    if stored.database != database:
        where = f"in {plain(stored.database, LONGEST_PATH)}" if stored.database else "in the directory"
        raise MinicharError(f"{folder}/ contains a sweep with trials stored {where}: use the same --storage")
    # Ignore the path of the text, which may differ between machines. The digest identifies the text.
    same_path = {"data": ""} if stored.digest and "data" in stored.given else {}
    if plan and (plan.given | same_path, plan.search) != (stored.given | same_path, stored.search):
        raise MinicharError(
            f"{folder}/ contains a sweep with different options: omit the options to continue it, or choose "
            "another directory with --sweep-dir"
        )


def open_storage(optuna: Any, url: Any) -> Any:
    """Return Optuna's storage for a database, creating the tables if necessary."""
    options: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        # Without a pool, each connection is closed as soon as it is no longer needed.
        options = {"connect_args": {"timeout": WAIT}, "poolclass": part("sqlalchemy.pool").NullPool}
    return optuna.storages.RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)


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


def results(study: Any) -> list[Result]:
    """Return the completed trials of a study, best first."""
    complete = part("optuna").trial.TrialState.COMPLETE
    trials = study.get_trials(deepcopy=False, states=(complete,))
    return sorted((Result(t.number, t.params, t.value) for t in trials), key=lambda result: result.loss)


def importance(study: Any) -> dict[str, float]:
    """Return the importance of each option, largest first. The importances add up to 1.

    Importances are computed with PED-ANOVA, Optuna's default method, which requires at least two completed
    trials.
    """
    if len(results(study)) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns if all losses are equal
        return part("optuna.importance").get_param_importances(study)
