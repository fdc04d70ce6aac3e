"""Kill servers, workers and Redis at random times while clients read texts, and check every text.

    python tests/stress/faults.py cv --kills 50
    python tests/stress/faults.py cv --kills 50 --redis
    python tests/stress/faults.py cv --kills 0 --redis --delay 0.2     a slow connection to Redis

Without ``--redis``, the processes are a server and the two workers that it starts itself; with it, Redis, a
server and two workers. Each process is killed with SIGKILL, also while it is starting, and started again;
``--pause`` is the maximum time between two kills, and ``--delay`` that of a reply from Redis, in seconds.
The clients repeat their requests for the rest of a text that was cut off. The exit status is 1 if a client
has received a character that differs from those of an undisturbed server, or if a text is still incomplete a
minute after the last kill.
"""

import asyncio
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress

from common import MINICHAR, options
from optional import free_port
from servers import generate, port_of, serve, tree

LENGTH = 1500
CLIENTS = 8
PACE = 500
DEADLINE = 60
"""Maximum number of seconds from the last kill until all texts are complete."""
LAST_KILL = [math.inf]
RETRY_AFTER = 0.2


class Program:
    """A program that is started again after it has been killed."""

    def __init__(self, stack, *command):
        self.command = [str(word) for word in command]
        self.start()
        stack.callback(lambda: (self.child.terminate(), self.child.wait()))

    def start(self):
        self.child = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        self.child.kill()
        self.child.wait()


def own_worker(server):
    """Kill one of the workers that a server has started itself."""
    with suppress(OSError, IndexError):
        os.kill(random.choice(tree(server.child.pid)[1:]), signal.SIGKILL)


def minichar(stack, *arguments):
    return Program(stack, *MINICHAR, *arguments)


async def text(port, seed, ends, expected=""):
    """Return a whole text, whatever happens, and check each part of it if a text is expected."""
    found = ""
    while len(found) < LENGTH:
        request = {"length": LENGTH, "seed": seed, "stop": [], "from": len(found)}
        rest, reason = await generate(port, request, DEADLINE)
        found += rest
        ends[reason] += 1
        if expected and not expected.startswith(found):
            sys.exit(f"a text differs from the expected one after {len(found)} characters")
        if time.monotonic() - LAST_KILL[0] > DEADLINE:
            sys.exit(f"{DEADLINE} s after the last kill, a text is incomplete: {dict(ends)}")
        if reason != "length":
            await asyncio.sleep(RETRY_AFTER)
    return found


async def proxy(port, target, delay):
    """Forward connections, and deliver everything later."""

    async def forward(reader, writer):
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(2**16):
                asyncio.get_running_loop().call_later(delay / 2, writer.write, data)
        writer.close()

    async def connected(reader, writer):
        other = await asyncio.open_connection("127.0.0.1", target)
        with suppress(asyncio.CancelledError):  # asyncio would print a traceback for each connection
            await asyncio.gather(forward(reader, other[1]), forward(other[0], writer))

    await asyncio.start_server(connected, "127.0.0.1", port)


async def test(stack, given, expected):
    port, ends = free_port(), Counter()
    own = ("serve", "--port", port, "--per-client", 0)
    if given.redis:
        real = redis = free_port()
        if given.delay:
            redis = free_port()
            await proxy(redis, real, given.delay)
        shared = ("--redis", f"redis://127.0.0.1:{redis}/0")
        programs = [
            Program(stack, "redis-server", "--port", real, "--save", "", "--bind", "127.0.0.1"),
            *(minichar(stack, "worker", *shared, "--pace", PACE, given.checkpoint) for _ in range(2)),
            minichar(stack, *own, *shared),
        ]
        kills = [program.kill for program in programs]
    else:
        programs = [minichar(stack, *own, "--pace", PACE, "--workers", 2, given.checkpoint)]
        kills = [programs[0].kill, *[lambda: own_worker(programs[0])] * 2]

    async def client(seed):
        while not done.is_set():
            await text(port, seed, ends, expected[seed])
            ends["exact texts"] += 1

    done = asyncio.Event()
    clients = [asyncio.create_task(client(seed)) for seed in range(CLIENTS)]
    for _ in range(given.kills):
        await asyncio.sleep(random.uniform(0, given.pause))
        random.choice(kills)()
        LAST_KILL[0] = time.monotonic()
        for program in programs:
            if program.child.poll() is not None:
                await asyncio.sleep(random.uniform(0, 1))
                program.start()
        if any(task.done() for task in clients):
            break
    if not given.kills:
        await asyncio.sleep(given.pause)
        LAST_KILL[0] = time.monotonic()
    done.set()
    await asyncio.gather(*clients)
    print(f"{given.kills} kills: {ends.pop('exact texts')} exact texts; ends of responses: {dict(ends)}")


def undisturbed(checkpoint):
    """Return the texts of all seeds."""

    async def run(port):
        return await asyncio.gather(*(text(port, seed, Counter()) for seed in range(CLIENTS)))

    with serve(checkpoint, "--pace", 0) as server:
        return asyncio.run(run(port_of(server)))


def main():
    given = options(__doc__, "checkpoint", kills=50, pause=5.0, redis=False, delay=0.0)
    expected = undisturbed(given.checkpoint)
    with ExitStack() as stack:
        asyncio.run(test(stack, given, expected))


if __name__ == "__main__":
    main()
