"""Kill servers, workers and Redis at random times while clients read texts, and check every text.

    python tests/stress/faults.py cv --kills 50
    python tests/stress/faults.py cv --kills 50 --redis
    python tests/stress/faults.py cv --kills 0 --redis --delay 0.2     a slow connection to Redis

Without ``--redis``, the processes are a server and the two workers that it starts itself; with it, Redis, a
server and two workers. Each process is killed with SIGKILL, also while it is starting, and started again.
The clients repeat their requests for the rest of a text that was cut off. The exit status is 1 if a client
has received a character that differs from those of an undisturbed server, or if a text is still incomplete a
minute after the last kill.
"""

import argparse
import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

from crowd import message, port_of, serve, tree

sys.path.insert(0, str(Path(__file__).parents[1]))
from optional import free_port

LENGTH = 1500
CLIENTS = 8
PACE = 500
DEADLINE = 60
"""Maximum number of seconds from the last kill until all texts are complete."""
LAST_KILL = [0.0]
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
    return Program(stack, sys.executable, "-m", "minichar", *arguments)


async def read(port, seed, found):
    """Request the rest of a text, and append what is received to `found`. Return why the response ended."""
    data = {"length": LENGTH, "seed": seed, "stop": [], "from": len("".join(found))}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reason = "cut off"
    try:
        writer.write(message("POST", "/api/generate", data))
        status = (await reader.readline()).split()[1:2]
        if status != [b"200"]:
            return f"status {b''.join(status).decode() or 'missing'}"
        while line := await reader.readline():
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                found.append(event.get("text", ""))
                reason = event.get("reason", reason)
    finally:
        writer.close()
    return reason


async def text(port, seed, expected, ends):
    """Read a whole text, whatever happens, and check it."""
    found = []
    while len("".join(found)) < LENGTH:
        try:
            async with asyncio.timeout(DEADLINE):
                reason = await read(port, seed, found)
        except OSError as error:  # including TimeoutError
            reason = type(error).__name__
        ends[reason] += 1
        if not expected.startswith("".join(found)):
            sys.exit(f"a text differs from the expected one after {len(''.join(found))} characters")
        if time.monotonic() - LAST_KILL[0] > DEADLINE:
            sys.exit(f"{DEADLINE} s after the last kill, a text is incomplete: {dict(ends)}")
        if reason != "length":
            await asyncio.sleep(RETRY_AFTER)
    ends["exact texts"] += 1


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


async def test(stack, options, expected):
    port, ends = free_port(), Counter()
    own = ("serve", "--port", port, "--per-client", 0)
    if options.redis:
        real = redis = free_port()
        if options.delay:
            redis = free_port()
            await proxy(redis, real, options.delay)
        shared = ("--redis", f"redis://127.0.0.1:{redis}/0")
        programs = [
            Program(stack, "redis-server", "--port", real, "--save", "", "--bind", "127.0.0.1"),
            *(minichar(stack, "worker", *shared, "--pace", PACE, options.checkpoint) for _ in range(2)),
            minichar(stack, *own, *shared),
        ]
        kills = [program.kill for program in programs]
    else:
        programs = [minichar(stack, *own, "--pace", PACE, "--workers", 2, options.checkpoint)]
        kills = [programs[0].kill, *[lambda: own_worker(programs[0])] * 2]

    async def client(seed):
        while not done.is_set():
            await text(port, seed, expected[seed], ends)

    done, LAST_KILL[0] = asyncio.Event(), math.inf
    clients = [asyncio.create_task(client(seed)) for seed in range(CLIENTS)]
    for _ in range(options.kills):
        await asyncio.sleep(random.uniform(0, options.pause))
        random.choice(kills)()
        LAST_KILL[0] = time.monotonic()
        for program in programs:
            if program.child.poll() is not None:
                await asyncio.sleep(random.uniform(0, 1))
                program.start()
        if any(task.done() for task in clients):
            break
    if not options.kills:
        await asyncio.sleep(options.pause)
        LAST_KILL[0] = time.monotonic()
    done.set()
    await asyncio.gather(*clients)
    print(f"{options.kills} kills: {ends.pop('exact texts')} exact texts; ends of responses: {dict(ends)}")


def undisturbed(checkpoint):
    """Return the texts of all seeds."""

    async def whole(port, seed):
        found = []
        while (reason := await read(port, seed, found)) != "length":
            print(f"an undisturbed response ended: {reason}", file=sys.stderr)
            await asyncio.sleep(RETRY_AFTER)
        return "".join(found)

    async def run(port):
        return await asyncio.gather(*(whole(port, seed) for seed in range(CLIENTS)))

    with serve(checkpoint, "--pace", 0) as server:
        return asyncio.run(run(port_of(server)))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pause", type=float, default=5, help="maximum seconds between kills")
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--delay", type=float, default=0, help="seconds by which Redis replies later")
    options = parser.parse_args()
    expected = undisturbed(options.checkpoint)
    with ExitStack() as stack:
        asyncio.run(test(stack, options, expected))


if __name__ == "__main__":
    main()
