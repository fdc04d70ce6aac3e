"""Measure how long the first character takes if a reader resumes a text near its end.

    python tests/stress/resume.py cv [--position 19000] [--within 10]

The server generates the text before the position again. The exit status is 1 if the first character takes
longer than ``--within``.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from crowd import message, port_of, serve

ROUNDS = 5


async def first_character(port, data):
    """Request a stream, and return the seconds until its first text and that text."""
    start = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message("POST", "/api/generate", data))
    try:
        while line := await reader.readline():
            if line.startswith(b"data: ") and (text := json.loads(line[6:]).get("text")):
                return time.monotonic() - start, text
    finally:
        writer.close()
    raise SystemExit("the stream ended without text")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--position", type=int, default=19000)
    parser.add_argument("--within", type=float, default=300.0, help="maximum time, in seconds")
    options = parser.parse_args()
    position = options.position
    seconds = []
    with serve(options.checkpoint) as server:
        port = port_of(server)
        for seed in range(ROUNDS):
            data = {"length": position + 1000, "seed": seed, "stop": [], "from": position}
            seconds.append(asyncio.run(first_character(port, data))[0])
    print(f"median {sorted(seconds)[ROUNDS // 2]:.3f} s, longest {max(seconds):.3f} s")
    if max(seconds) > options.within:
        sys.exit(f"resuming took more than {options.within:g} s")


if __name__ == "__main__":
    main()
