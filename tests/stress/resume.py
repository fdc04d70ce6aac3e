"""Measure how long the first character takes if a reader resumes a text near its end.

    python tests/stress/resume.py cv [--position 19000] [--within 1]

``no saved state`` is measured after a restart of the server, ``saved state`` after the complete text has been
generated, and ``other branch`` also after this, but with another character just before the position. The exit
status is 1 if the first character takes longer than ``--within`` even though there is a saved state.
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


async def complete(port, data):
    """Generate a complete text, and return it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message("POST", "/api/generate", data | {"stream": False}))
    answer = await reader.read()
    writer.close()
    return json.loads(answer.partition(b"\r\n\r\n")[2])["text"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--position", type=int, default=19000)
    parser.add_argument("--within", type=float, default=300.0, help="maximum time, in seconds")
    options = parser.parse_args()
    position = options.position
    seconds = {"no saved state": [], "saved state": [], "other branch": []}
    for seed in range(ROUNDS):
        data = {"length": position + 1000, "seed": seed, "stop": []}
        later = data | {"from": position}
        with serve(options.checkpoint) as server:
            port = port_of(server)
            seconds["no saved state"].append(asyncio.run(first_character(port, later))[0])
            text = asyncio.run(complete(port, data))
            seconds["saved state"].append(asyncio.run(first_character(port, later))[0])
            other = next(c for c in text if c != text[position - 1])
            branch = later | {"branches": [[position - 1, other]]}
            seconds["other branch"].append(asyncio.run(first_character(port, branch))[0])
    for name, found in seconds.items():
        print(f"{name:15} median {sorted(found)[ROUNDS // 2]:.3f} s, longest {max(found):.3f} s")
    if max(seconds["saved state"] + seconds["other branch"]) > options.within:
        sys.exit(f"resuming from a saved state took more than {options.within:g} s")


if __name__ == "__main__":
    main()
