"""The command lines of the stress scripts, and what they run."""

import argparse
import subprocess
import sys
from pathlib import Path
from random import Random

sys.path.append(str(Path(__file__).parents[1]))  # helpers of the tests, also for the scripts

from toys import ONE_THREAD, TEXT

MINICHAR = (sys.executable, "-m", "minichar")


def options(doc, *positional, **defaults):
    """Parse the command line. The type of an option is that of its default, and False makes it a flag."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=raw)
    for name in positional:
        parser.add_argument(name)
    for name, value in defaults.items():
        flag, words = f"--{name.replace('_', '-')}", f"default: {value}"
        if value is False:
            parser.add_argument(flag, action="store_true")
        elif isinstance(value, list):
            parser.add_argument(flag, type=type(value[0]), nargs="+", default=value, help=words)
        else:
            parser.add_argument(flag, type=type(value), default=value, help=words)
    return parser.parse_args()


def start(folder, *words, log="log"):
    """Start minichar in a directory, and append its output to a file there."""
    with open(folder / log, "ab") as file:
        return subprocess.Popen([*MINICHAR, *words], cwd=folder, stdout=file, stderr=file, env=ONE_THREAD)


def random_text(n):
    """Return `n` random words."""
    return " ".join(Random(1).choices(TEXT.split(), k=n))
