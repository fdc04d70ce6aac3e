"""Scroll through a long text coloured by surprisal in headless Chromium, and report the frame times.

    python tests/stress/scroll.py cv [--length 20000] [--frame 100]

The exit status is 1 if a frame takes longer than ``--frame`` milliseconds. Requires Chromium and Playwright.
"""

import os
import sys

from common import options
from optional import chromium
from servers import port_of, serve

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
    given = options(__doc__, "checkpoint", length=20000, frame=100)
    with serve(given.checkpoint) as server, chromium() as browser:
        page = browser.new_page(locale="en", bypass_csp=True)
        measure(page, port_of(server), given.length, given.frame)


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
