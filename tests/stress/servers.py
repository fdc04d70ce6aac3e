"""Servers for the stress scripts, requests to them, and what they use."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

TIMEOUT = 300


@contextmanager
def minichar(*arguments, ready, python=sys.executable, version=None):
    """Run a command, and yield its process once a line of its output matches `ready`.

    `version` is the directory with the version to run; by default, it is the installed one.
    """
    command = [python, "-m", "minichar", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log, cwd=version) as child:
        try:
            end = time.monotonic() + 60
            while not (found := re.search(ready, output(log))):
                if child.poll() is not None or time.monotonic() > end:
                    sys.exit(output(log))
                time.sleep(0.1)
            child.found, child.log = found, lambda: output(log)
            yield child
        finally:
            child.terminate()


def output(log):
    log.seek(0)
    return log.read()


def serve(*arguments, **options):
    ready = r"serving at .*:(\d+)/"
    return minichar("serve", "--port", 0, "--per-client", 0, *arguments, ready=ready, **options)


def port_of(server):
    return int(server.found[1])


def message(path, data=None):
    """Return the bytes of a request, which is a POST request if it has data."""
    if data is None:
        return f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    body = json.dumps(data)
    head = f"POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def fetch(port, path, data=None, seconds=TIMEOUT):
    """Send a request, and return the status and the body of the response."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        try:
            writer.write(message(path, data))
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def events(port, data):
    """Request a text, and yield the data of each event. Another status than 200 is the reason for the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message("/api/generate", data))
        status = b"".join((await reader.readline()).split()[1:2]).decode()
        if status != "200":
            yield {"reason": f"status {status or 'missing'}"}
            return
        while line := await reader.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        writer.close()


async def generate(port, data, seconds=TIMEOUT):
    """Request a text. Return what is received of it, and why it ended."""
    text, reason = "", "cut off"
    try:
        async with asyncio.timeout(seconds):
            async for event in events(port, data):
                text += event.get("text", "")
                reason = event.get("reason", reason)
    except OSError as error:  # including TimeoutError
        reason = type(error).__name__
    return text, reason


def cpu(pid):
    """Return the CPU time of a server and its workers, in seconds."""
    texts = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in tree(pid)]
    return sum(int(fields[11]) + int(fields[12]) for fields in texts) / os.sysconf("SC_CLK_TCK")


def memory_of(process):
    """Return the memory that a server and its workers use together, in MiB.

    The pages of a library are used by all processes, but counted once (Pss in proc(5)).
    """
    maps = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in tree(process.pid)]
    return sum(int(re.search(r"^Pss:\s+(\d+) kB", each, re.M)[1]) for each in maps) // 1024


def tree(pid):
    """Return a process and its descendants."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return [pid, *(each for child in children for each in tree(child))]
