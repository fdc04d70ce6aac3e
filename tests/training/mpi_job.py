"""MPI job for test_mpi.py. Rank 0 prints, as JSON, how the losses differ from a single-process run."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).parents[1]))
from toys import losses_of, toy_settings

from minichar.training.start import begin, resume
from minichar.training.team import Ranks

MASKS = {"dropout": 0.3, "weight_drop": 0.2, "start_ss": 0.8, "min_ss": 0.5, "learning_rate": 0.01}
COMM = MPI.COMM_WORLD


results = {}
folder = TemporaryDirectory()
for dtype in ("float64", "float32"):
    settings = toy_settings(folder.name, dtype=dtype, batch_size=5, **MASKS)
    trainer = begin(settings, team=Ranks(COMM)).trainer
    together = losses_of(trainer, 100)
    weights = COMM.allgather(trainer.step.theta.flat.tobytes())
    if COMM.rank == 0:
        difference = abs(together - losses_of(begin(settings).trainer, 100))
        results[dtype] = [float(difference.max()), float(np.median(difference))]
        results[f"{dtype} identical"] = len(set(weights)) == 1
settings = toy_settings(folder.name, batch_size=5, **MASKS)
first, second = (losses_of(begin(settings, team=Ranks(COMM)).trainer, 30) for _ in range(2))
results["repeated identical"] = first.tobytes() == second.tobytes()
trainer = begin(settings, team=Ranks(COMM)).trainer
trainer.begin_with(losses_of(trainer, 17)[0])
rest = losses_of(resume(trainer.save(None).path, {}, team=Ranks(COMM)).trainer, 13)
results["resumed identical"] = first[17:].tobytes() == rest.tobytes()
settings = toy_settings(folder.name, dtype="float64", batch_size=5, **MASKS)
trainer = begin(settings, team=Ranks(COMM)).trainer
trainer.begin_with(losses_of(trainer, 17)[0])
path = trainer.save(None).path
whole = losses_of(trainer, 13)
others = max(1, COMM.size - 1)
fewer = COMM.Split(0 if COMM.rank < others else MPI.UNDEFINED)
if COMM.rank < others:
    rest = losses_of(resume(path, {}, team=Ranks(fewer)).trainer, 13)
    results["resumed by others"] = float(abs(whole - rest).max())
if COMM.rank == 0:
    print(json.dumps(results))
