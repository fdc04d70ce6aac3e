"""Compare the speed, threads, CPU time, memory and response times of two versions of ``minichar serve``.

    python tests/stress/figures.py cv
    python tests/stress/figures.py cv --against ../before --python ../before/.venv/bin/python --rounds 3

Without ``--against``, only the version in this checkout is measured. The versions alternate, each with a new
server for each row and round, and the table shows the medians over all rounds. The last column is the ratio
to the version in the directory ``--against``, which runs with ``--python``.

Every client requests texts of 2,000 characters one after another, without a speed limit. The last two rows
give the response times of the page among 2,000 clients that send nothing.
"""

import argparse
import asyncio
import os
import re
import socket
import statistics
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from crowd import cpu, fetch, memory_of, message, port_of, serve, tree

LENGTH = 2000
SILENT = 2000
VISITS = 100
WARM_UP = 1.0
ID = re.compile(rb"\nid: (\d+)\n")


class Reader(asyncio.Protocol):
    """A client that reads one text. `read` is the number of characters received so far."""

    def __init__(self, request):
        self.request, self.read, self.rest = request, 0, b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        transport.write(self.request)

    def data_received(self, data):
        self.rest = (self.rest + data)[-200_000:]
        if found := ID.findall(self.rest):
            self.read, self.rest = int(found[-1]), self.rest[-100:]

    def connection_lost(self, error):
        if not self.ended.done():  # it is cancelled when the time is up
            self.ended.set_result(None)


async def generate(port, clients, seconds):
    """Have clients request texts for a number of seconds, and return the number of characters they read."""
    readers = []

    async def client(number):
        loop = asyncio.get_running_loop()
        for seed in range(number, 10**9, clients):
            body = {"prime": "The ", "length": LENGTH, "seed": seed, "stop": []}
            reader = Reader(message("POST", "/api/generate", body))
            readers.append(reader)
            await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port)
            await reader.ended
            if reader.read < LENGTH:
                sys.exit(f"a text ended after {reader.read} characters")

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*map(client, range(clients)))
    return sum(reader.read for reader in readers)


def load(server, clients, seconds):
    """Return what a server does and uses under the load of a number of clients."""
    port = port_of(server)
    asyncio.run(generate(port, 1, WARM_UP))
    before, start = cpu(server.pid), time.monotonic()
    characters = asyncio.run(generate(port, clients, seconds))
    elapsed = time.monotonic() - start
    threads = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in tree(server.pid))
    return {
        "characters/s": characters / elapsed,
        "CPU µs/character": 1e6 * (cpu(server.pid) - before) / max(1, characters),
        "threads": threads,
        "memory, MiB": memory_of(server, "VmRSS"),
    }


async def visits(port):
    """Return the response times of the page, in milliseconds."""
    times = []
    for _ in range(VISITS):
        start = time.monotonic()
        status, _ = await fetch(port, "GET", "/")
        times.append(1000 * (time.monotonic() - start))
        if status != 200:
            sys.exit(f"the page could not be loaded: status {status}")
        await asyncio.sleep(0.02)
    return times


def silent(server):
    """Return the response times of the page among clients that send nothing."""
    with ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), timeout=30))
        times = asyncio.run(visits(port_of(server)))
    return {"page, ms (median)": statistics.median(times), "page, ms (maximum)": max(times)}


def figures(version, options):
    """Measure a version once, and return each figure by its row and name."""
    found = {}
    for clients in options.clients:
        with serve(options.checkpoint, "--pace", 0, **version) as server:
            for name, value in load(server, clients, options.seconds).items():
                found[f"{clients} clients", name] = value
    with serve(options.checkpoint, **version) as server:
        for name, value in silent(server).items():
            found[f"{SILENT:,} silent sockets", name] = value
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--against", type=Path, help="directory of another version")
    parser.add_argument(
        "--python", default=sys.executable, help="Python with the other version's dependencies"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 256, 512])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.checkpoint = options.checkpoint.resolve()
    versions = {"this": {"tree": Path(__file__).parents[2], "python": sys.executable}}
    if options.against:
        versions = {"other": {"tree": options.against, "python": options.python}} | versions
    found = {name: [] for name in versions}
    for _ in range(options.rounds):
        for name, version in versions.items():
            found[name].append(figures(version, options))
    print(f"| load | figure | {' | '.join(versions)} | ratio |\n|---|---|{'---|' * len(versions)}---|")
    for row in found["this"][0]:
        medians = {name: statistics.median(each[row] for each in found[name]) for name in found}
        ratio = f"{medians['this'] / medians['other']:.2f}" if options.against else ""
        shown = " | ".join(f"{value:,.1f}" for value in medians.values())
        print(f"| {row[0]} | {row[1]} | {shown} | {ratio} |")


if __name__ == "__main__":
    main()
