"""Damage the plan and the database of a sweep in many ways, and run ``minichar plot`` and ``minichar sweep``.

    python tests/stress/sweep_damage.py --seconds 600

Each case is a copy of a small sweep with one change: a value, row or table of the SQLite database is replaced
or deleted, some bytes of its file are changed, or a value of ``sweep.json`` is replaced. Both commands must
either succeed or print a one-line error and exit with status 1. The cases are run in random order until
`seconds` have passed or `cases` have been run. Prints statistics and the first case of each kind of failure,
and exits with status 1 if there are any.
"""

import json
import random
import shutil
import sqlite3
import sys
import traceback
from collections import Counter
from contextlib import chdir, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from click.testing import CliRunner
from common import options
from toys import SMALL, TEXT, WRONG, places, set_at

from minichar.cli import main as minichar

SEARCH = ("learning_rate=1e-3..5e-2:log", "rnn_size=4,8", "num_layers=1..2", "use_ss=true,false")
SQL = (
    *("NULL", "-1", "0", "1", "7", "0.5", "1e308", "9e999", "-9e999", "4611686018427387904"),
    *("''", "'x'", "x'00ff'", "'['", "'{}'", "'\"\\ud800\"'", "'COMPLETE'", "'RUNNING'", "'WAITING'"),
)
"""Values to store in the database. Every column accepts them, because SQLite ignores the declared types."""
JSON = (*WRONG, [5], ["rnn_size"], ["learning_rate=nan..1"], ["rnn_size=4,8"] * 2, "a" * 100_000)
TEXTS = ("", "[", "[" * 200_000, '{"a":' * 200_000, "[]", "null", '{"given": 1}', "\0" * 1000, "\udc80")
CONTINUED = ("--trials", "8", "--max-time", "0.02")
MAX_SECONDS, MAX_MESSAGE = 10, 2000


def run(*words):
    return CliRunner().invoke(minichar, words, prog_name="minichar")


def make(folder):
    """Create a sweep with complete trials, a failed one, one that was interrupted and one that waits."""
    (folder / "input.txt").write_text(TEXT)
    search = [word for text in SEARCH for word in ("--search", text)]
    words = ["sweep", "--data", "input.txt", *SMALL[4:], *search]
    assert run(*words, "--trials", "6").exit_code == 0
    assert run(*words, "--trials", "7", "--max-time", "1e-9").exit_code == 0
    with closing(sqlite3.connect(folder / "sweep" / "sweep.db")) as database, database:
        database.execute("UPDATE trials SET state = 'FAIL' WHERE number = 2")
        database.execute("DELETE FROM trial_values WHERE trial_id = 3")
        database.execute("UPDATE trials SET state = 'PRUNED' WHERE number = 3")


def execute(statement, folder):
    with closing(sqlite3.connect(folder / "sweep.db")) as database, database:
        database.execute(statement)


def edits(folder):
    """Yield ``(description, function)`` for every change to the database's rows."""
    with closing(sqlite3.connect(folder / "sweep.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {
            table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")] for table in tables
        }
    for table in tables:
        statements = [f"DROP TABLE {table}", f"ALTER TABLE {table} RENAME TO other"]
        rows = ["", *(f" WHERE rowid IN (SELECT rowid FROM {table} ORDER BY random() LIMIT 1)" for _ in "ab")]
        for where in rows:
            statements.append(f"DELETE FROM {table}{where}")
            for column in columns[table]:
                statements += [f"UPDATE OR REPLACE {table} SET {column} = {value}{where}" for value in SQL]
                other = f"(SELECT {column} FROM {table} ORDER BY random() LIMIT 1)"
                statements.append(f"UPDATE OR REPLACE {table} SET {column} = {other}{where}")
        statements += [f"ALTER TABLE {table} RENAME COLUMN {column} TO other" for column in columns[table]]
        yield from ((statement, partial(execute, statement)) for statement in statements)


def damaged(seed, folder):
    """Change a few random bytes of the database's file, or truncate it."""
    path, choose = folder / "sweep.db", random.Random(seed)
    data = bytearray(path.read_bytes())
    if seed % 4 == 0:
        data = data[: choose.randrange(len(data))]
    for _ in range(choose.choice([1, 10, 100]) if data else 0):
        data[choose.randrange(len(data))] = choose.randrange(256)
    path.write_bytes(data)


def planned(where, value, folder):
    """Replace a value of the plan."""
    plan = json.loads((folder / "sweep.json").read_text())
    set_at(plan, where, value)
    (folder / "sweep.json").write_text(json.dumps(plan))


def written(text, folder):
    (folder / "sweep.json").write_text(text, errors="surrogateescape")


def cases(folder):
    """Return every case as ``(description, function)``."""
    plan = json.loads((folder / "sweep.json").read_text())
    found = list(edits(folder))
    found += [(f"bytes, seed {seed}", partial(damaged, seed)) for seed in range(300)]
    found += [
        (f"{'.'.join(where)} = {value!r:.60}", partial(planned, where, value))
        for where in [*places(plan), ("nonsense",)]
        for value in (*JSON, ...)
        if (where, value) != (("nonsense",), ...)
    ]
    return found + [(f"sweep.json: {text!r:.60}", partial(written, text)) for text in TEXTS]


def fault(result, seconds):
    """Return what is wrong with the outcome of a command, or an empty string."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    if result.exception and not isinstance(result.exception, SystemExit):
        frame = traceback.extract_tb(result.exception.__traceback__)[-1]
        return f"{type(result.exception).__name__} in {Path(frame.filename).name}, {frame.name}"
    if seconds > MAX_SECONDS:
        return "more than 10 s"
    if result.exit_code and not (len(errors) == 1 and result.stderr.endswith(f"{errors[0]}\n")):
        return f"status {result.exit_code} without a one-line error"
    if any(len(line) > MAX_MESSAGE for line in errors):
        return "a long message"
    return ""


def main():
    given = options(__doc__, seconds=600.0, cases=100_000, seed=1)
    begun, outcomes, faults, slowest = perf_counter(), Counter(), {}, 0.0
    with TemporaryDirectory() as name, chdir(name):
        make(Path(name))
        chosen = cases(Path("sweep"))
        random.Random(given.seed).shuffle(chosen)
        for done, (description, change) in enumerate(chosen[: given.cases]):  # noqa: B007
            if perf_counter() - begun > given.seconds:
                break
            shutil.rmtree("copy", ignore_errors=True)
            shutil.copytree("sweep", "copy")
            try:
                change(Path("copy"))
            except sqlite3.Error:  # some constraint does not allow the change
                outcomes["impossible"] += 1
                continue
            for words in (("plot", "copy"), ("sweep", "--sweep-dir", "copy", *CONTINUED)):
                started = perf_counter()
                result, seconds = run(*words), perf_counter() - started
                slowest = max(slowest, seconds)
                wrong = fault(result, seconds)
                outcomes["faults" if wrong else "refused" if result.exit_code else "accepted"] += 1
                if wrong:
                    kind = f"{words[0]}: {wrong}"
                    faults.setdefault(kind, []).append(description)
    for kind, descriptions in sorted(faults.items(), key=lambda item: -len(item[1])):
        print(f"{len(descriptions):5} {kind}\n      first after: {descriptions[0]}")
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(
        f"{done + 1:,} of {len(chosen):,} cases in {perf_counter() - begun:.0f} s: {counts}; "
        f"slowest {slowest:.1f} s"
    )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
