"""Train with all processes of an MPI job, such as one started with ``mpiexec -n 4 minichar train``."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import click
from click.exceptions import Exit

from minichar.devices.failure import device_errors
from minichar.devices.threads import VARIABLES
from minichar.errors import MinicharError
from minichar.extras import first_line, need
from minichar.training.team import ALONE, Team

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Environment variables that contain the number of processes, as set by MPICH, Open MPI and Slurm."""
RANKS = ("PMI_RANK", "PMIX_RANK")
"""Environment variables that are set in every process of an MPI job, even if the job has only one process."""
GRACE = 1.0
"""If all ranks fail within this many seconds, they are assumed to have failed for the same reason. If MPI is
missing, the other processes wait this long so that the first process can report the error."""
FORWARD = 0.3
"""Seconds between reporting an error and aborting the job. MPICH's launcher may lose the output of a job that
is aborted immediately."""


@contextmanager
def all_ranks() -> Iterator[Team]:
    """Yield the team: all processes of this MPI job or, outside of MPI, this process alone.

    If all ranks raise an error, for example because a file is missing, rank 0 reports it. If only some ranks
    raise an error, the job is aborted, because the others would otherwise wait forever.
    """
    size = job_size()
    if size == 1:
        yield ALONE
        return
    try:
        MPI = load_mpi()
    except MinicharError:
        if is_first():
            raise
        sleep(GRACE)  # some launchers end all processes when one exits: let rank 0 report the error
        sys.exit(1)
    comm = MPI.COMM_WORLD
    if comm.Get_size() == 1 < size:
        raise MinicharError(
            f"{size} processes were started, but they cannot communicate because mpi4py uses a different "
            "MPI library: use that library's mpiexec"
        )
    failures = comm.Dup()
    with one_thread():
        try:
            with device_errors():
                yield Team(comm) if comm.Get_size() > 1 else ALONE
        except Exit:
            raise
        except BaseException as error:
            if failed_everywhere(failures):
                if comm.Get_rank() == 0:
                    raise
                sys.exit(1)
            report(error, f"rank {comm.Get_rank()} of {comm.Get_size()}")
            sleep(FORWARD)
            comm.Abort(1)


def job_size() -> int:
    """Return the number of processes in this MPI job: 1 outside of MPI, 0 if unknown."""
    sizes = [int(os.environ[name]) for name in SIZES if os.environ.get(name, "").isdigit()]
    if any(name in os.environ for name in RANKS):
        return max(sizes, default=0)
    return int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))


def load_mpi() -> Any:
    """Import and return ``mpi4py.MPI``."""
    try:
        return need("mpi4py.MPI", "mpi", "training with multiple processes")
    except (OSError, RuntimeError) as error:
        raise MinicharError(
            f"mpi4py cannot load an MPI library ({first_line(error)}): install one, for example with "
            "`pip install mpich`"
        ) from error


def is_first() -> bool:
    """Return whether this is the first process of its MPI job, according to environment variables."""
    return all(os.environ.get(name, "0") == "0" for name in (*RANKS, "OMPI_COMM_WORLD_RANK"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread, unless an environment variable sets the thread count."""
    if any(os.environ.get(name) for name in VARIABLES):
        yield
        return
    os.environ[VARIABLES[0]] = "1"
    with need("threadpoolctl", "mpi", "training with multiple processes").threadpool_limits(1):
        yield


def failed_everywhere(comm: Any) -> bool:
    """Return whether all ranks call this function within the next `GRACE` seconds."""
    request, end = comm.Ibarrier(), monotonic() + GRACE
    while not request.Test():
        if monotonic() > end:
            return False
        sleep(0.01)
    return True


def report(error: BaseException, where: str) -> None:
    """Print an error to standard error: one line for a `MinicharError`, a traceback for unexpected errors."""
    if isinstance(error, MinicharError):
        click.echo(f"Error: {error.with_flags} ({where})", err=True)
    elif isinstance(error, KeyboardInterrupt):
        click.echo(str(error) or "stopped", err=True)
    else:
        traceback.print_exception(error)
