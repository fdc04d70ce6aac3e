"""Load-test the server, and report its response times, errors, memory use and CPU time.

The exit status is 1 if a request that should succeed fails, if texts with the same seed differ, if all
processes of the server use more than 250 MB of memory or still use 40 MiB more than at the start one minute
after the load, or if loading the page among slow clients, or the first character of a stream that is resumed
at ``--position``, takes longer than ``--within`` seconds.

    python tests/stress/crowd.py readers cv --clients 512              with Redis and two workers
    python tests/stress/crowd.py readers cv --clients 1024 --servers 2
    python tests/stress/crowd.py memory cv --clients 48 --seconds 600  the longest texts with alternatives
    python tests/stress/crowd.py memory cv --clients 48 --documents 24 --slow 500   with slow clients as well
    python tests/stress/crowd.py slow cv --clients 1000 --seconds 60 --within 1   slow and silent clients
    python tests/stress/crowd.py resume cv --position 19000 --within 10   generates the text before it again

Servers, workers and clients run on this machine and communicate over 127.0.0.1. ``readers`` requires
redis-server.
"""

import asyncio
import multiprocessing
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from common import options
from optional import free_port
from servers import TIMEOUT, cpu, events, fetch, generate, memory_of, message, minichar, port_of, serve
from web_helpers import redis_server

LENGTH = 100
LONGEST = {"length": 20000, "alternatives": True, "stop": []}
SHORT = LONGEST | {"length": 1000}
MOST_MEMORY = 250e6
"""Maximum memory use of the server in ``memory``, in bytes."""
MOST_KEPT = 40
"""Maximum increase in memory use from the start of ``memory`` to one minute after its load, in MiB."""
SAMPLE_EVERY = 0.5
"""Time between measurements of memory use, in seconds."""
VISIT_EVERY = 0.5
ROUNDS = 5
"""Number of streams in ``resume``."""
PART, PAUSE = 2**15, 2.0
"""Number of bytes that a slow client reads at a time, and the time between reads in seconds."""


async def read_slowly(port, data):
    """Request a text, and read the response in small parts. Return the status."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PART)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(connection, message("/api/generate", data))
        first = part = await loop.sock_recv(connection, PART)
        while part:
            await asyncio.sleep(PAUSE)
            part = await loop.sock_recv(connection, PART)
    return int(first.split()[1])


async def visit(port, times, within):
    """Load the page and /healthz until cancelled, and record the time and status of each request."""
    while True:
        for path in ("/", "/healthz"):
            start = time.monotonic()
            try:
                status, _ = await fetch(port, path, seconds=within)
            except (OSError, IndexError) as error:
                status = repr(error)
            times.append((time.monotonic() - start, status))
        await asyncio.sleep(VISIT_EVERY)


def report(times, within):
    statuses = dict(Counter(status for _, status in times))
    seconds = sorted(t for t, _ in times)
    median = seconds[len(seconds) // 2]
    print(f"  page and /healthz: median {median:.3f} s, longest {seconds[-1]:.2f} s, statuses {statuses}")
    if set(statuses) != {200}:
        sys.exit("the page or /healthz could not be loaded")
    if seconds[-1] > within:
        sys.exit(f"loading the page or /healthz took more than {within:g} s")


@contextmanager
def visitor(port, within=TIMEOUT):
    times = []
    task = asyncio.ensure_future(visit(port, times, within))
    try:
        yield
    finally:
        task.cancel()
    report(times, within)


def readers(given):
    """Have many clients generate text through Redis, and count the distinct texts for eight seeds."""
    with ExitStack() as stack:
        redis = free_port()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(redis_server(redis, folder))
        shared = ("--redis", f"redis://127.0.0.1:{redis}/0")
        for _ in range(2):
            stack.enter_context(
                minichar("worker", *shared, "--columns", 512, given.checkpoint, ready="waiting for")
            )
        ports = [port_of(stack.enter_context(serve(*shared, "--queue", 1024))) for _ in range(given.servers)]

        async def run():
            with visitor(ports[0]):
                start = time.monotonic()
                tasks = [
                    generate(ports[i % len(ports)], {"length": LENGTH, "seed": i % 8, "stop": []})
                    for i in range(given.clients)
                ]
                answers = await asyncio.gather(*tasks)
            seconds = time.monotonic() - start
            print(f"{given.clients} readers, {len(ports)} servers: {seconds:.1f} s")
            print(f"  reasons: {dict(Counter(reason for _, reason in answers))}")
            texts = {(i % 8, text) for i, (text, reason) in enumerate(answers) if reason == "length"}
            print(f"  distinct texts for 8 seeds: {len(texts)}")
            if any(reason != "length" for _, reason in answers) or len(texts) != min(8, given.clients):
                sys.exit("not all texts are complete and correct")

        asyncio.run(run())


def memory(given):
    """Request texts with alternatives, and report memory use during and after the load."""

    async def stream(port):
        # No time limit: it could be reached just before the clients are cancelled at the end.
        status, _ = await fetch(port, "/api/generate", LONGEST, None)
        return status

    async def document(port):
        return await read_slowly(port, LONGEST | {"stream": False})

    async def slow_stream(port):
        return await read_slowly(port, SHORT)

    async def client(port, end, read):
        while time.monotonic() < end:
            try:
                status = await read(port)
            except (OSError, IndexError) as error:
                status = repr(error)
            statuses[read.__name__, status] += 1
            if status != 200:
                await asyncio.sleep(1)

    async def run(server):
        await generate(port := port_of(server), {"length": LENGTH})  # when the worker has started
        before = memory_of(server)
        start = time.monotonic()
        end = start + given.seconds
        reads = [stream] * given.clients + [document] * given.documents + [slow_stream] * given.slow
        clients = [asyncio.ensure_future(client(port, end, read)) for read in reads]
        monitor = asyncio.ensure_future(watch(server, start))
        await asyncio.sleep(given.seconds)
        for each in clients:
            each.cancel()
        found = await asyncio.gather(*clients, return_exceptions=True)
        rest = min(60, given.seconds)
        await asyncio.sleep(rest)
        monitor.cancel()
        found += await asyncio.gather(monitor, return_exceptions=True)
        now, after = time.monotonic() - start, memory_of(server)
        print(f"  {now:4.0f} s: {after} MiB, {rest:.0f} s after the end; at the start {before} MiB")
        print(f"  maximum: {most} MiB")
        if most * 2**20 > MOST_MEMORY:
            sys.exit(f"the server used more than {MOST_MEMORY / 1e6:.0f} MB")
        if rest == 60 and after > before + MOST_KEPT:
            sys.exit(f"after {rest} s, the server still uses {after - before} MiB more than at the start")
        if any(not isinstance(result, asyncio.CancelledError | None) for result in found):
            sys.exit("a client failed")
        if failed := {key: count for key, count in statuses.items() if key[1] not in (200, 503)}:
            sys.exit(f"requests failed: {failed}")

    async def watch(server, start):
        nonlocal most
        shown = start
        while True:
            now, used = time.monotonic(), memory_of(server)
            most = max(most, used)
            if now >= shown:
                print(f"  {now - start:4.0f} s: {used} MiB, {dict(statuses)}", flush=True)
                shown = now + max(10.0, given.seconds / 20)
            await asyncio.sleep(SAMPLE_EVERY)

    statuses, most = Counter(), 0
    with serve(given.checkpoint) as server:
        asyncio.run(run(server))


def slow(given):
    """Load the page while many clients send one byte every two seconds and just as many send nothing."""

    async def run(port):
        with visitor(port, given.within):
            await asyncio.sleep(given.seconds)

    with serve(given.checkpoint) as server:
        start = cpu(server.pid)
        attack = multiprocessing.Process(
            target=send_slowly, args=(port_of(server), given.clients), daemon=True
        )
        attack.start()
        time.sleep(3)
        asyncio.run(run(port_of(server)))
        used = cpu(server.pid) - start
        print(f"  {given.clients} slow, {given.clients} silent clients: {used:.1f} s of CPU time")
        print(f"  log: {server.log().count(chr(10))} lines")
        attack.terminate()


def resume(given):
    """Resume streams near their ends, one after another, and report when the first character arrives."""

    async def first_character(port, data):
        start = time.monotonic()
        async for event in events(port, data):
            if event.get("text"):
                return time.monotonic() - start
        sys.exit("the stream ended without text")

    position = given.position
    with serve(given.checkpoint) as server:
        rest = {"length": position + 1000, "stop": [], "from": position}
        requests = (first_character(port_of(server), rest | {"seed": seed}) for seed in range(ROUNDS))
        seconds = sorted(map(asyncio.run, requests))
    print(f"median {seconds[ROUNDS // 2]:.3f} s, longest {seconds[-1]:.3f} s")
    if seconds[-1] > given.within:
        sys.exit(f"resuming took more than {given.within:g} s")


def send_slowly(port, clients):
    async def client(byte):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    while True:
                        writer.write(byte)
                        await writer.drain()
                        await asyncio.sleep(2)
                finally:
                    writer.close()
            await asyncio.sleep(0.1)

    async def run():
        await asyncio.gather(*(client(byte) for byte in (b"G", b"") for _ in range(clients)))

    asyncio.run(run())


CHECKS = {check.__name__: check for check in (readers, memory, slow, resume)}


def main():
    given = options(
        __doc__,
        "check",
        "checkpoint",
        clients=512,
        seconds=600.0,
        documents=0,  # clients that read JSON documents slowly
        slow=0,  # clients that read streams of short texts slowly
        servers=1,
        within=float(TIMEOUT),
        position=19000,  # characters before a resumed stream
    )
    CHECKS[given.check](given)


if __name__ == "__main__":
    main()
