"""Measure the speed of ``minichar serve`` with several numbers of clients, and what it uses.

    python tests/stress/load.py cv              at most 2,000 characters/s per request (the default)
    python tests/stress/load.py cv --pace 0     no limit
    python tests/stress/load.py cv --against ../before --python ../before/.venv/bin/python --rounds 3

Each client requests one text after another. With ``--against``, this version is compared with the one in
another directory, which runs with ``--python``. The versions alternate, each with a new server for each row
and round, and the table shows the medians over all rounds. Below the table are the response times of the page
among 2,000 clients that send nothing.

The server and the clients run on the same machine and communicate over 127.0.0.1.
"""

import asyncio
import os
import re
import socket
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from common import options
from servers import cpu, fetch, memory_of, message, port_of, serve, tree

HEADINGS = (
    "clients",
    "characters/s",
    "first character, ms (p50, p99)",
    "gap between updates, ms (p99)",
    "CPU, µs/character",
    "threads",
    "memory, MiB",
)
SILENT = 2000
VISITS = 100
TEXT = re.compile(rb"event: text\nid: (\d+)\n")


class Reader(asyncio.Protocol):
    """A client that reads one text.

    `read` is the number of characters received so far, and `times` contains the time of the request and of
    each part of the text.
    """

    def __init__(self, request):
        self.request, self.read, self.rest, self.times = request, 0, b"", []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.times.append(time.monotonic())
        transport.write(self.request)

    def data_received(self, data):
        self.rest += data
        if found := [*TEXT.finditer(self.rest)]:
            self.read, self.rest = int(found[-1][1]), self.rest[found[-1].end() :]
            self.times.append(time.monotonic())

    def connection_lost(self, error):
        if not self.ended.done():  # it is cancelled when the time is up
            self.ended.set_result(None)


async def generate(port, clients, seconds, length):
    """Have clients request texts for a number of seconds, and return their readers."""
    readers = []

    async def client(number):
        loop = asyncio.get_running_loop()
        for seed in range(number, 10**9, clients):
            body = {"prime": "The ", "length": length, "seed": seed, "stop": []}
            reader = Reader(message("/api/generate", body))
            await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port)
            readers.append(reader)
            await reader.ended
            if reader.read < length:
                sys.exit(f"a text ended after {reader.read} characters")

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*map(client, range(clients)))
    return readers


def percentile(values, fraction):
    """Return the `fraction` quantile of `values`, or NaN if there are none."""
    return sorted(values)[min(len(values) - 1, int(fraction * len(values)))] if values else float("nan")


def load(server, clients, seconds, length):
    """Return a row of figures for a server under the load of a number of clients, except `clients`."""
    port = port_of(server)
    # The first text initialises the model. It must end before the test: one text more would double the batch.
    asyncio.run(fetch(port, "/api/generate", {"length": 200}))
    before, start = cpu(server.pid), time.monotonic()
    readers = asyncio.run(generate(port, clients, seconds, length))
    elapsed, characters = time.monotonic() - start, sum(reader.read for reader in readers)
    first = [1000 * (reader.times[1] - reader.times[0]) for reader in readers if reader.read]
    gaps = [1000 * (b - a) for reader in readers for a, b in pairwise(reader.times[1:])]
    return (
        characters / elapsed,
        percentile(first, 0.5),
        percentile(first, 0.99),
        percentile(gaps, 0.99),
        1e6 * (cpu(server.pid) - before) / max(1, characters),
        sum(len(os.listdir(f"/proc/{pid}/task")) for pid in tree(server.pid)),
        memory_of(server),
    )


async def visits(port):
    """Return the response times of the page, in milliseconds."""
    times = []
    for _ in range(VISITS):
        start = time.monotonic()
        status, _ = await fetch(port, "/")
        times.append(1000 * (time.monotonic() - start))
        if status != 200:
            sys.exit(f"the page could not be loaded: status {status}")
        await asyncio.sleep(0.02)
    return times


def silent(server):
    """Return the median and the maximum response time of the page among clients that send nothing."""
    with ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), timeout=30))
        times = asyncio.run(visits(port_of(server)))
    return median(times), max(times)


def compare(versions, rounds, measure, *arguments):
    """Yield the name of each version and the medians of its figures, measured with a new server each time."""
    figures = {name: [] for name in versions}
    for _ in range(rounds):
        for name, version in versions.items():
            with serve(*arguments, **version) as server:
                figures[name].append(measure(server))
    for name, rows in figures.items():
        yield name, map(median, zip(*rows, strict=True))


def main():
    given = options(
        __doc__,
        "checkpoint",
        pace=2000.0,
        clients=[1, 8, 64, 256],
        seconds=30.0,
        length=2000,
        rounds=1,
        against="",
        python=sys.executable,
    )
    checkpoint = Path(given.checkpoint).resolve()
    versions = {"this version": {"version": Path(__file__).parents[2]}}
    if given.against:
        versions["the other one"] = {"version": given.against, "python": given.python}
    print(f"| version | {' | '.join(HEADINGS)} |\n|---{len(HEADINGS) * '|---'}|")
    for clients in given.clients:
        measure = partial(load, clients=clients, seconds=given.seconds, length=given.length)
        for name, figures in compare(versions, given.rounds, measure, checkpoint, "--pace", given.pace):
            rate, p50, p99, gap, time_used, threads, memory = figures
            print(
                f"| {name} | {clients} | {rate:,.0f} | {p50:.0f}, {p99:.0f} | {gap:.0f} | {time_used:.1f} "
                f"| {threads:.0f} | {memory:.0f} |",
                flush=True,
            )
    for name, (typical, longest) in compare(versions, given.rounds, silent, checkpoint):
        print(
            f"{name}, {SILENT:,} silent clients: page {typical:.1f} ms (median), {longest:.0f} ms (maximum)"
        )


if __name__ == "__main__":
    main()
