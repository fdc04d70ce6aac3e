"""Visitors of ``minichar serve``: how many characters a second they get, and how long they wait.

    python -m minichar.bench.load cv                     as it is used: a text gets 2,000 characters a second at most
    python -m minichar.bench.load cv --pace 0            as fast as it can

Each client asks for a text, reads it as it is written, and asks for the next, for some seconds.
The server is started for it, and both run on this machine, on 127.0.0.1.
"""

import argparse
import json
import re
import socket
import subprocess
import sys
import threading
import time

BODY = '{"prime": "The ", "length": %d, "seed": %d, "alternatives": %s}'


class Client(threading.Thread):
    """One visitor.

    Attributes
    ----------
    characters, texts : int
        What he got.
    firsts, gaps : list of float
        Seconds to the first character of each text, and between two pieces.
    dropped : list of str
        What ended otherwise than it should.
    """

    def __init__(self, port, number, length, alternatives, begin, end):
        super().__init__()
        self.port, self.number, self.length, self.alternatives = port, number, length, alternatives
        self.begin, self.end = begin, end
        self.characters, self.texts, self.firsts, self.gaps, self.dropped = 0, 0, [], [], []

    def run(self):
        """Ask until the time is over."""
        self.begin.wait()
        while time.monotonic() < self.end[0]:
            try:
                self.ask()
            except Exception as error:
                self.dropped.append(repr(error))

    def ask(self):
        """Read one text, or what comes of it in time."""
        seed = 1000 * self.number + self.texts
        body = BODY % (self.length, seed, str(self.alternatives).lower())
        head = "POST /api/generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        asked, before, reason = time.monotonic(), None, None
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall((head + body).encode())
            for line in connection.makefile("rb"):
                if line.startswith(b'data: {"text"'):
                    now = time.monotonic()
                    if before is None:
                        self.firsts.append(now - asked)
                    else:
                        self.gaps.append(now - before)
                    before = now
                    if now < self.end[0]:
                        self.characters += len(json.loads(line[6:])["text"])
                elif line.startswith(b'data: {"reason"'):
                    reason = json.loads(line[6:])["reason"]
        if reason not in ("length", "stop"):
            self.dropped.append(f"ended with {reason}")
        self.texts += 1


def measure(port, number, seconds, length, alternatives):
    """Let so many clients ask for so long; return them."""
    begin, end = threading.Event(), [0.0]
    clients = [Client(port, i, length, alternatives, begin, end) for i in range(number)]
    for client in clients:
        client.start()
    end[0] = time.monotonic() + seconds
    begin.set()
    for client in clients:
        client.join()
    return clients


def percentile(values, share):
    """Return the value that this share of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def main():
    """Print a table, a line a number of clients."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("checkpoint")
    parser.add_argument("--pace", type=float, default=2000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--length", type=int, default=2000, help="characters of a text")
    parser.add_argument("--alternatives", action="store_true", help="with the likeliest of each character")
    options = parser.parse_args()
    command = ["serve", options.checkpoint, "--port", "0", "--per-client", "0", "--pace", str(options.pace)]
    with subprocess.Popen(
        [sys.executable, "-m", "minichar", *command], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            said = (re.search(r"serving at .*:(\d+)/", line) for line in server.stderr)
            port = int(next(filter(None, said))[1])
            measure(port, 1, 1, 200, False)  # the model is made ready by the first text
            print("| clients | characters/s | of one | first, ms: median, 99 % | gaps, ms: 99 % | dropped |")
            print("|---|---|---|---|---|---|")
            one = None
            for number in options.clients:
                clients = measure(port, number, options.seconds, options.length, options.alternatives)
                rate = sum(client.characters for client in clients) / options.seconds
                one = one or rate
                firsts = [1000 * first for client in clients for first in client.firsts]
                gaps = [1000 * gap for client in clients for gap in client.gaps]
                dropped = [reason for client in clients for reason in client.dropped]
                print(
                    f"| {number} | {rate:,.0f} | {rate / one:.1f} × | {percentile(firsts, 0.5):.0f}, "
                    f"{percentile(firsts, 0.99):.0f} | {percentile(gaps, 0.99):.0f} | {len(dropped)} |",
                    flush=True,
                )
                for reason in sorted(set(dropped)):
                    print(f"dropped: {reason}", file=sys.stderr)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
