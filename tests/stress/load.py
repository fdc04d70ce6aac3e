"""Load test for ``minichar serve``: throughput and latency as the number of clients increases.

    python tests/stress/load.py cv              at most 2,000 characters/s per request (the default)
    python tests/stress/load.py cv --pace 0     no limit

For a fixed duration, each client repeatedly sends a request and reads the streamed response. The server
and the clients run on the same machine and communicate over 127.0.0.1.
"""

import argparse
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

HEADINGS = "| clients | characters/s | vs. 1 client | first, ms (p50, p99) | gap, ms (p99) | failed |"
TIMEOUT = 60.0
"""Maximum time to wait for data from the server, in seconds."""
RETRY_AFTER = 0.1
"""Seconds to wait after a failed request."""
WARM_UP = 1.0
"""Duration of the warm-up, in seconds. The first request initialises the model."""


@dataclass
class Measurement:
    """Measurements from one or more clients.

    Attributes
    ----------
    characters : int
        Number of characters received before the end of the test.
    first, gaps : list of float
        Times in seconds from each request to its first character, and between successive updates.
    dropped : list of str
        Reason for each failed request.
    """

    characters: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def add(self, other: "Measurement") -> None:
        """Add another client's measurements."""
        self.characters += other.characters
        self.first += other.first
        self.gaps += other.gaps
        self.dropped += other.dropped


@dataclass(frozen=True)
class Load:
    """Request parameters used by every client.

    Attributes
    ----------
    length : int
        Number of characters per request.
    alternatives : bool
        Whether to request the most likely alternatives to each character.
    """

    length: int
    alternatives: bool

    def request(self, seed: int) -> bytes:
        """Return an HTTP request to generate text with the given seed."""
        fields = {"prime": "The ", "length": self.length, "seed": seed, "alternatives": self.alternatives}
        body = json.dumps(fields)
        headers = (
            "POST /api/generate HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        return ("\r\n".join(headers) + "\r\n\r\n" + body).encode()


class Client(threading.Thread):
    """A client that sends requests one after another until the end of the test.

    Parameters
    ----------
    port : int
    seeds : iterator of int
        Request seeds.
    load : Load
    end : float
        Time at which to stop, as measured by ``time.monotonic()``.
    """

    def __init__(self, port: int, seeds: Iterator[int], load: Load, end: float) -> None:
        super().__init__()
        self.port, self.seeds, self.load, self.end = port, seeds, load, end
        self.measured = Measurement()

    def run(self) -> None:
        """Send requests until the end of the test.

        The last response is read in full, but characters received after the test has ended are not counted.
        """
        while time.monotonic() < self.end:
            try:
                reason = self.read_text(next(self.seeds))
            except (OSError, ValueError) as error:
                reason = repr(error)
            if reason not in ("length", "stop"):
                self.measured.dropped.append(reason)
                time.sleep(RETRY_AFTER)

    def read_text(self, seed: int) -> str:
        """Send one request, read the response, and return the reason why generation ended."""
        sent, previous, reason = time.monotonic(), 0.0, "the connection was closed"
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as connection:
            connection.sendall(self.load.request(seed))
            with connection.makefile("rb") as lines:
                for line in lines:
                    if line.startswith(b'data: {"text"'):
                        now = time.monotonic()
                        if previous:
                            self.measured.gaps.append(now - previous)
                        else:
                            self.measured.first.append(now - sent)
                        previous = now
                        if now < self.end:
                            self.measured.characters += len(json.loads(line.removeprefix(b"data: "))["text"])
                    elif line.startswith(b'data: {"reason"'):
                        reason = json.loads(line.removeprefix(b"data: "))["reason"]
        return reason


def measure(port: int, clients: int, seconds: float, load: Load) -> Measurement:
    """Run clients concurrently and return their combined measurements."""
    end = time.monotonic() + seconds
    threads = [Client(port, count(1_000_000 * i), load, end) for i in range(clients)]
    for thread in threads:
        thread.start()
    total = Measurement()
    for thread in threads:
        thread.join()
        total.add(thread.measured)
    return total


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the `fraction` quantile of `values`, or NaN if `values` is empty."""
    return sorted(values)[min(len(values) - 1, int(fraction * len(values)))] if values else float("nan")


def row(clients: int, measured: Measurement, seconds: float, single: float) -> str:
    """Return a row of the Markdown table of results.

    Parameters
    ----------
    clients : int
    measured : Measurement
    seconds : float
        Duration of the test.
    single : float
        Throughput in the first row, in characters per second.
    """
    rate = measured.characters / seconds
    first = [1000 * percentile(measured.first, fraction) for fraction in (0.5, 0.99)]
    gap = 1000 * percentile(measured.gaps, 0.99)
    return (
        f"| {clients} | {rate:,.0f} | {rate / single:.1f}× | {first[0]:.0f}, {first[1]:.0f} "
        f"| {gap:.0f} | {len(measured.dropped)} |"
    )


@contextmanager
def server(checkpoint: str, pace: float) -> Iterator[int]:
    """Run ``minichar serve`` on a free port and yield the port."""
    options = ["--port", "0", "--per-client", "0", "--pace", str(pace)]
    command = [sys.executable, "-m", "minichar", "serve", checkpoint, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            output = ""
            for line in process.stderr:
                output += line
                if found := re.search(r"serving at .*:(\d+)/", line):
                    yield int(found[1])
                    break
            else:
                sys.exit(output.rstrip())
        finally:
            process.terminate()


def main() -> None:
    """Parse the command line, run the load test, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="checkpoint, or directory of checkpoints")
    parser.add_argument("--pace", type=float, default=2000, help="see `minichar serve` (default: 2000)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 256], help="client counts")
    parser.add_argument("--seconds", type=float, default=30, help="duration of each test (default: 30)")
    parser.add_argument("--length", type=int, default=2000, help="characters per request (default: 2000)")
    parser.add_argument("--alternatives", action="store_true", help="also request alternatives")
    options = parser.parse_args()
    load = Load(options.length, options.alternatives)
    with server(options.checkpoint, options.pace) as port:
        measure(port, 1, WARM_UP, Load(200, False))
        print(f"{HEADINGS}\n|---|---|---|---|---|---|")
        single = 0.0
        for clients in options.clients:
            measured = measure(port, clients, options.seconds, load)
            single = single or measured.characters / options.seconds or float("nan")
            print(row(clients, measured, options.seconds, single), flush=True)
            for reason in sorted(set(measured.dropped)):
                print(f"failed: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
