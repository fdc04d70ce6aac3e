"""Test that freed memory returns to the operating system."""

import platform
import subprocess
import sys

import pytest

pytest.importorskip("starlette")

from minichar.web import queue, worker
from minichar.web.processes import ProcessQueue
from minichar.web.worker import Worker

KEPT = """
import re, sys
from minichar.web.memory import return_large_blocks

def used():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])

if sys.argv[1] == "yes":
    return_large_blocks()
del [bytearray(b"x" * 200_000)][0]  # by default, glibc keeps blocks of this size from now on
before = used()
blocks = [(bytearray(b"x" * 150_000), bytearray(b"x" * 5_000)) for _ in range(300)]
small = [block for _, block in blocks]  # between the large ones
del blocks
print(used() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries return memory themselves")
def test_large_blocks_are_returned_when_they_are_freed():
    kept = {
        wanted: int(subprocess.run([sys.executable, "-c", KEPT, wanted], capture_output=True).stdout)
        for wanted in ("yes", "no")
    }
    assert kept["yes"] < 5_000 < 40_000 < kept["no"]  # KiB


def test_servers_and_workers_return_large_blocks(monkeypatch):
    called = []
    for module in (queue, worker):
        monkeypatch.setattr(module, "return_large_blocks", lambda name=module.__name__: called.append(name))
    queue.JobQueue.__init__(object.__new__(ProcessQueue), 1, 1)
    Worker(None, {}, 1, 0.0)
    assert called == [queue.__name__, worker.__name__]
