"""Run a sweep on a PostgreSQL server started by the test."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from optional import free_port, missing
from toys import ONE_THREAD, TEXT

from minichar.sweep.study import open_study, results
from minichar.sweep.trials import Ended

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture
def server():
    """Start a server, and yield its URL. PostgreSQL refuses to run as root, so root runs it as postgres."""
    path = os.pathsep.join([*map(str, reversed(DEBIAN)), os.environ["PATH"]])
    if not shutil.which("initdb", path=path):
        missing("PostgreSQL")
    if not find_spec("psycopg"):
        missing("psycopg")
    with TemporaryDirectory() as name:  # other users cannot enter pytest's directory
        folder, prefix, port = Path(name), [], free_port()
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
            prefix = ["runuser", "-u", "postgres", "--"]

        def run(*command):
            environment = {**os.environ, "PATH": path}
            subprocess.run(
                [*prefix, *command], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
            )

        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "minichar", "--no-sync")
        run("pg_ctl", "-D", str(folder / "data"), "-o", options, "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql+psycopg://minichar@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")


def test_the_results_are_those_of_sqlite(sweep, server, tmp_path):
    one, local = sweep(storage=server), sweep(folder="sqlite")
    for each in (one, local):
        assert [event.state for event in each.run(2) if isinstance(event, Ended)] == ["complete"] * 2
    plan, study = open_study(tmp_path / "sweep", storage=server)
    assert results(study) == results(local.study)
    assert plan.database == server
    for each in (one.study, study):  # psycopg warns about connections that are not closed
        each._storage._backend.engine.dispose()


def test_processes_that_start_at_once_repeat_and_lose_no_trial(server, tmp_path):
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    toy = {"num-layers": 1, "batch-size": 4, "seq-length": 6, "max-epochs": 2, "rnn-size": 8, "trials": 5}
    toy |= {"data": "input.txt", "storage": server, "search": "learning_rate=1e-3..1e-1:log"}
    options = [str(part) for name, value in toy.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "minichar", "sweep", *options]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=tmp_path, env=ONE_THREAD, **pipes) for _ in range(3)]
    try:
        errors = [process.communicate(timeout=600)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert "Traceback" not in "".join(errors)
    _, study = open_study(tmp_path / "sweep", storage=server)
    assert [trial.number for trial in study.trials] == list(range(5))
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
    study._storage._backend.engine.dispose()
