"""Tests for training with multiple processes under real MPI. `test_team` covers the rest with threads."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from optional import missing
from toys import TEXT, toy_settings

from minichar import load
from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.choosing import best_checkpoint, newest_in
from minichar.cli import main
from minichar.cli.ranks import job_size, one_thread
from minichar.devices.threads import VARIABLES, usual

MPIEXEC = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
LIMIT = 600
"""Timeout of a job in seconds, long enough for a busy machine."""


@pytest.fixture
def mpiexec():
    """Return a function that starts a Python program on a given number of ranks."""
    if MPIEXEC is None or find_spec("mpi4py") is None:
        missing("MPI (mpi4py and mpich or openmpi)")
    started = []

    def start(size, *arguments, cwd, **variables):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [MPIEXEC, "-n", str(size), sys.executable, *map(str, arguments)]
        unset = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        started.append(subprocess.Popen(command, cwd=cwd, **pipes, env=unset | variables))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def training(mpiexec, tmp_path):
    """Return a function that starts ``minichar train`` on two ranks."""
    (tmp_path / "input.txt").write_text(TEXT * 20, encoding="utf-8")
    small = ("--data", tmp_path / "input.txt", "--rnn-size", 16, "--seq-length", 20, "--batch-size", 4)
    return lambda *options: mpiexec(2, "-m", "minichar", "train", *small, *options, cwd=tmp_path)


JOB = """
import sys
sys.path.insert(0, sys.argv[1])
from mpi4py.MPI import COMM_WORLD as comm
from toys import losses_of, toy_settings
from minichar.training.start import begin
from minichar.training.team import Team
settings = toy_settings(sys.argv[2], dtype="float64", batch_size=5, dropout=0.3, start_ss=0.8, min_ss=0.5)
trainer = begin(settings, team=Team(comm)).trainer
together = losses_of(trainer, 50)
weights = comm.allgather(trainer.model.parameters.flat.tobytes())
if comm.rank == 0:
    print(abs(together - losses_of(begin(settings).trainer, 50)).max(), len({*weights}))
"""


def test_the_losses_are_those_of_one_process(mpiexec, tmp_path):
    tests = Path(__file__).parents[1]
    toy_settings(tmp_path)  # writes the text
    process = mpiexec(3, "-c", JOB, tests, tmp_path, cwd=tmp_path, OMP_NUM_THREADS="1")
    out, err = process.communicate(timeout=LIMIT)
    assert out, err
    difference, distinct = out.split()
    assert float(difference) < 1e-9
    assert distinct == "1"


def test_rank_0_prints_saves_and_measures_and_all_ranks_resume_the_run(mpiexec, training, tmp_path):
    (tmp_path / "test.txt").write_text(TEXT, encoding="utf-8")
    process = training("--max-epochs", 1, "--test", tmp_path / "test.txt")
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert len(out.splitlines()) == 1
    assert "2 processes share the 4 streams" in err
    assert ", 1 thread\n" in err, "by default, each rank uses one BLAS thread"
    assert err.count("  validation ") == 1
    assert f"test       {load(tmp_path / out.strip()).evaluate(TEXT).loss:.4f} nats" in err
    done = load_training(newest_in(tmp_path / "cv")[0].path)[1].progress.iteration
    resume = ("-m", "minichar", "train", "--resume", "cv", "--max-epochs", 2)
    _, err = mpiexec(2, *resume, cwd=tmp_path).communicate(timeout=LIMIT)
    assert "resumed" in err
    assert load_training(newest_in(tmp_path / "cv")[0].path)[1].progress.iteration == 2 * done


def test_an_error_on_all_ranks_is_printed_once(training, tmp_path):
    path = tmp_path / "input.txt"
    path.unlink()
    process = training()
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    message, *launcher = filter(None, err.splitlines())
    assert message == (
        f"Error: {str(path)!r} does not exist: choose a text file, or a directory that contains input.txt or "
        "other .txt files"
    )
    assert not launcher or any("prterun detected" in line for line in launcher)  # Open MPI's exit report
    assert str(path) not in "".join(launcher)


def start_training(training, until="initial"):
    """Start a long run, and return its process once a line that starts with `until` has been printed."""
    process = training("--max-epochs", 1000)
    for line in process.stderr:
        if line.lstrip().startswith(until):
            return process
    pytest.fail("training did not start")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_launcher_saves_a_checkpoint(number, training, tmp_path):
    if number == signal.SIGINT and "Open MPI" in subprocess.check_output([MPIEXEC, "--version"], text=True):
        pytest.skip("Open MPI kills all ranks half a second after Ctrl-C")
    process = start_training(training)
    process.send_signal(number)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + number
    assert "stopped at epoch" in err
    assert [*(tmp_path / "cv").glob("lm_*_epoch*.npz")]


def test_a_killed_rank_ends_the_job_and_leaves_its_checkpoint(training, tmp_path):
    process = start_training(training, until="epoch 2")
    children = subprocess.run(["pgrep", "-f", f"minichar train --data {tmp_path}"], stdout=subprocess.PIPE)
    pids = [int(pid) for pid in children.stdout.split() if int(pid) != process.pid]
    os.kill(max(pids), signal.SIGKILL)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert "Traceback" not in err
    _, training = load_training(best_checkpoint(tmp_path / "cv"))
    assert training.progress.iteration > 0


def test_an_error_on_one_rank_ends_the_job_with_its_cause(mpiexec, tmp_path):
    program = (
        "from minichar.cli.ranks import all_ranks\n"
        "from minichar.devices.cublas import CuBLASError\n"
        "from minichar.devices.failure import OPENED\n"
        "with all_ranks() as team:\n"
        "    OPENED.append(f'gpu:{team.rank}')\n"
        "    if team.rank == 1:\n"
        "        raise CuBLASError('no product')\n"
        "    team.largest(1)\n"
    )
    process = mpiexec(2, "-c", program, cwd=tmp_path)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if "no product" in line)
    assert line.startswith("Error: device gpu:1: a computation failed (CuBLASError: no product): try again")
    assert line.endswith(" (rank 1 of 2)")


MISSING = ImportError("no mpi4py")


@pytest.mark.parametrize(
    ("rank", "error", "message"),
    [
        ("0", MISSING, "Error: training with multiple processes needs a package that cannot be imported"),
        ("0", RuntimeError("no lib\nx"), "Error: mpi4py cannot load an MPI library (no lib): install one"),
        ("1", MISSING, ""),
    ],
)
def test_without_mpi_a_job_is_refused_in_one_line(tmp_path, monkeypatch, rank, error, message):
    def find_spec(name, *others):
        if name == "mpi4py":
            raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=find_spec), *sys.meta_path])
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("PMIX_RANK", rank)
    result = CliRunner().invoke(main, ["train"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, bool(message))
    assert result.stderr.startswith(message)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({}, 1),
        ({"PMI_RANK": "0", "PMI_SIZE": "4"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "3", "PMIX_RANK": "2"}, 3),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "8"}, 8),
        ({"PMIX_RANK": "0"}, 0),
        ({"SLURM_STEP_NUM_TASKS": "8"}, 1),
    ],
)
def test_the_size_of_the_job(environment, size, monkeypatch):
    for name in ("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert job_size() == size


@pytest.mark.parametrize("asked", [None, "3"])
def test_a_rank_uses_one_thread_unless_a_variable_says_otherwise(asked, monkeypatch):
    pools = pytest.importorskip("threadpoolctl")
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # `one_thread` sets the first variable
    if asked:
        monkeypatch.setenv(VARIABLES[-1], asked)
    with pools.threadpool_limits(2), one_thread():
        assert {pool["num_threads"] for pool in pools.threadpool_info()} == {2 if asked else 1}
        assert usual() == (asked or "1")
