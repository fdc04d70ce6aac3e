"""Scroll through a long text coloured by surprisal in headless Chromium, and report the frame times.

    python tests/stress/scroll.py cv [--length 20000] [--frame 100]

The exit status is 1 if a frame takes longer than ``--frame``. Requires Chromium and Playwright.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import optional

TIMEOUT = 300_000
SCROLL = """async () => {
    const area = document.getElementById("text");
    const frame = () => new Promise(requestAnimationFrame);
    area.scrollTop = 0;
    let last = await frame();
    const times = [];
    const bottom = () => area.scrollTop + area.clientHeight >= area.scrollHeight - 1;
    while (!bottom()) {
        area.scrollTop += 60;
        const now = await frame();
        times.push(now - last);
        last = now;
    }
    return times;
}"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--length", type=int, default=20000)
    parser.add_argument("--frame", type=int, default=100, help="maximum time per frame, in milliseconds")
    options = parser.parse_args()
    command = [sys.executable, "-m", "minichar", "serve", "--port", "0", options.checkpoint]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            lines = iter(server.stderr.readline, "")
            port = next(filter(None, (re.search(r"serving at .*:(\d+)/", line) for line in lines)))[1]
            with optional.chromium() as browser:
                measure(browser.new_page(locale="en", bypass_csp=True), port, options.length, options.frame)
        finally:
            server.terminate()


def measure(page, port, length, most):
    page.set_default_timeout(TIMEOUT)
    page.goto(f"http://127.0.0.1:{port}/#s=5&n={length}&u=[]")
    page.wait_for_function(ended(length), timeout=TIMEOUT)
    page.check("#surprisal")
    all_known = f"document.querySelectorAll('#text .known').length === {length}"
    page.wait_for_function(all_known, timeout=TIMEOUT, polling=1000)
    page.wait_for_function(ended(length), timeout=TIMEOUT)
    times = sorted(page.evaluate(SCROLL))
    print(f"{length} characters, {len(times)} frames, load average {os.getloadavg()[0]:.1f}")
    print(f"  frame: median {times[len(times) // 2]:.1f} ms, 99th percentile {quantile(times, 0.99):.1f} ms,")
    print(f"         longest {times[-1]:.1f} ms, {sum(time > most for time in times)} over {most} ms")
    if times[-1] > most:
        sys.exit(1)


def ended(length):
    return f"document.getElementById('status').textContent.includes('{length} characters')"


def quantile(times, share):
    return times[int(share * (len(times) - 1))]


if __name__ == "__main__":
    main()
