"""Describe the BLAS library that NumPy uses for matrix products, and its thread count."""

import os

import numpy as np

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def describe_numpy() -> str:
    """Return a one-line description, such as ``NumPy 2.4.6 with scipy-openblas 0.3.31, up to 2 threads``."""
    blas = np.show_config(mode="dicts")["Build Dependencies"].get("blas", {})
    name = f"{blas.get('name', 'an unknown BLAS')} {blas.get('version', '')}".strip()
    return f"NumPy {np.__version__} with {name}, {threads()}"


def threads() -> str:
    """Describe the BLAS thread count: an environment variable or, if none is set, the number of cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = next((os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)), str(cores))
    return "1 thread" if most == "1" else f"up to {most} threads"
