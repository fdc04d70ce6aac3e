"""Record the terminal session at the top of the README: ``python docs/measured/terminal.py``.

The script runs the commands in `COMMANDS`, which takes a few minutes, and writes their output to
``terminal.svg``. The training log is shortened and plays back at reading speed. The SVG is animated with CSS.
Where CSS animations are unsupported or disabled, the whole session is shown at once.
"""

import os
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

COMMANDS = (
    "minichar train --max-epochs 6",
    'minichar sample --primetext "The " --length 600 --temperature 0.8 --seed 2',
    "minichar sample -o story.txt",  # an error that says what to type
    "minichar sample > story.txt",
)
COLUMNS, WIDTH, HEIGHT, MARGIN = 84, 8.4, 19, 16
"""Characters per line; size of a character and margin, in pixels."""
LINE, CHARACTER, PAUSE = 0.2, 0.008, 0.6
"""Seconds per line of training, per generated character, and before and after a command."""
STYLE = f"""\
text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }}
text {{ white-space: pre; fill: #adbac7; }}
.command {{ fill: #6bc46d; }}
.generated {{ fill: #f0f3f6; }}
.error {{ fill: #f69d50; }}
text {{ animation: appear 1ms backwards; }}
rect.cover {{ fill: #1c2128; transform: scaleX(0); transform-box: fill-box; transform-origin: right; }}
rect.cover {{ animation: uncover {COLUMNS * CHARACTER}s steps({COLUMNS}) backwards; }}
@keyframes appear {{ from {{ opacity: 0; }} }}
@keyframes uncover {{ from {{ transform: scaleX(1); }} }}
@media (prefers-reduced-motion) {{ text, rect.cover {{ animation: none; }} }}
"""


def run(command: str, folder: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, with one thread so that losses can be repeated, and capture its output."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        f"{sys.executable} -m {command}",
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )


def excerpt(log: str) -> list[str]:
    """Return the lines to show from a training log: three from the header, two per epoch, and the result.

    Progress lines and samples within an epoch are left out, because a terminal updates them in place.
    """
    header, *epochs = re.split(r"^(?=epoch )", log, flags=re.MULTILINE)
    shown = re.findall(r"^(?:text|model|initial) .*", header, re.MULTILINE)
    for block in epochs:
        if re.match(r"epoch \d+\.00 .* train ", block):
            shown += re.findall(r"^(?:epoch|\s+sample|result).*", block, re.MULTILINE)
    return shown


class Screen:
    """The lines recorded so far, and the time at which the next line will appear."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.rows, self.time = 0, 0.0

    def add(self, words: str, kind: str, seconds: float) -> None:
        """Add a line at the current time, then advance the time by `seconds`."""
        self.rows += 1
        y = MARGIN + self.rows * HEIGHT
        # Fix the width of the line, because the reader's font may be wider than `WIDTH`.
        place = f'x="{MARGIN}" y="{y}" textLength="{len(words) * WIDTH:.1f}"'
        delay = f'style="animation-delay: {self.time:.2f}s"'
        self.parts.append(f'<text class="{kind}" {place} {delay}>{escape(words)}</text>')
        if kind == "generated":  # revealed from left to right
            box = f'x="{MARGIN}" y="{y - 15}" width="{COLUMNS * WIDTH}" height="{HEIGHT}"'
            self.parts.append(f'<rect class="cover" {box} {delay}/>')
        self.time += seconds

    def svg(self) -> str:
        """Return the recording as an SVG image, with a frame that is visible on both light and dark pages."""
        width, height = COLUMNS * WIDTH + 2 * MARGIN, self.rows * HEIGHT + 2.5 * MARGIN
        frame = f'<rect x="1" y="1" width="{width - 2:.0f}" height="{height - 2:.0f}" rx="8"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">',
                f"<style>\n{STYLE}</style>",
                f'{frame} fill="#1c2128" stroke="#545d68"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def main() -> None:
    """Run the commands in `COMMANDS` and record them in ``terminal.svg``."""
    with tempfile.TemporaryDirectory() as folder:
        results = [run(command, folder) for command in COMMANDS]
    screen = Screen()
    for command, result in zip(COMMANDS, results, strict=True):
        screen.time += PAUSE
        screen.add(f"$ {command}", "command", PAUSE)
        if " train" in command:
            for line in excerpt(result.stderr):
                screen.add(line.rstrip(), "training", LINE)
            continue
        for line in re.findall("^Error.*", result.stderr, re.MULTILINE):
            screen.add(line, "error", LINE)
        for line in result.stdout.splitlines():
            for start in range(0, max(len(line), 1), COLUMNS):  # wrap as a terminal does
                screen.add(line[start : start + COLUMNS], "generated", COLUMNS * CHARACTER)
    Path(__file__).with_name("terminal.svg").write_text(screen.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
