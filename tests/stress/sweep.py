"""Run one sweep with several processes, kill them at random times, and check the trials.

    python tests/stress/sweep.py --jobs 4 --kills 24 --pause 6

All processes start at the same time in a new directory. About every `pause` seconds, one of them is killed
with SIGKILL and replaced by a new process. Because a process takes several seconds to start, a short pause
kills most of them before they have saved a checkpoint. At the end, every trial must have ended, no process
may have printed a traceback, and ``minichar train`` with the options of a complete trial must reach the same
loss. Prints statistics, and exits with status 1 if a check fails.
"""

import random
import re
import subprocess
import sys
from pathlib import Path
from shlex import split
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from common import ONE_THREAD, options, random_text, start

from minichar.checkpoints.choosing import best_checkpoint
from minichar.checkpoints.naming import loss_in_name
from minichar.cli.planned import train_command
from minichar.sweep.study import open_study, results

SWEEP = (
    "sweep --batch-size 8 --seq-length 20 --max-epochs 3 --patience 0"
    " --data input.txt --eval-val-every 200 --checkpoint-every 0.2"
    " --search learning_rate=1e-3..2e-2:log --search rnn_size=16,24,32 --trials {trials}"
)


def main():
    given = options(__doc__, jobs=6, kills=12, pause=3.0, trials=20)
    generator, begun = random.Random(1), monotonic()
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input.txt").write_text(random_text(8000))
        command = SWEEP.format(trials=given.trials).split()
        children = [start(folder, *command, log=f"log{number}") for number in range(given.jobs)]
        kills = 0
        while kills < given.kills and any(child.poll() is None for child in children):
            sleep(given.pause * generator.uniform(0.5, 1.5))
            victim = generator.randrange(given.jobs)
            if children[victim].poll() is None:
                children[victim].kill()
                children[victim].wait()
                kills += 1
                children[victim] = start(folder, *command, log=f"log{given.jobs + kills}")
        statuses = [child.wait() for child in children]
        logs = [path.read_text(errors="replace") for path in folder.glob("log*")]
        plan, study = open_study(folder / "sweep")
        states = [trial.state.name for trial in study.get_trials()]
        ranked = results(study)
        wrong = 0
        for result in generator.sample(ranked, min(3, len(ranked))):
            again = f"again{result.number}"
            words = split(train_command({**plan.given, **result.values, "checkpoint_dir": again}))
            repeated = [sys.executable, "-m", *words]
            subprocess.run(repeated, cwd=folder, env=ONE_THREAD, capture_output=True, check=True)
            wrong += loss_in_name(best_checkpoint(folder / again)) != round(result.loss, 4)
        tracebacks = sum("Traceback" in log for log in logs)
        resumed = sum(len(re.findall("resumed at", log)) for log in logs)
        ended = sum(len(re.findall(r"^trial +\d+ +(?:complete|pruned|failed)", log, re.M)) for log in logs)
        counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        print(f"{given.jobs} processes, {kills} kills, {monotonic() - begun:.0f} s")
        print(f"trials: {counts}; resumed from a checkpoint {resumed} times; {ended} ended")
        print(f"statuses {statuses}, {tracebacks} tracebacks, {wrong} losses differ from `minichar train`")
        good = len(states) == given.trials and not {"RUNNING", "FAIL", "WAITING"} & {*states}
        sys.exit(not (good and not tracebacks and not wrong and not any(statuses)))


if __name__ == "__main__":
    main()
