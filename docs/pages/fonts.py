"""Install the site's fonts, with their licences, from pinned npm packages.

Nothing is requested from another server when a page is read. Without the fonts, readers see their system's.
"""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "static" / "fonts"
INSTALL = ("ci", "--no-audit", "--prefer-offline", "--fetch-retries=0", "--loglevel=error")


def style_sheets() -> list[str]:
    """Return the style sheet of the fonts, or nothing if they are missing and npm cannot install them."""
    npm = shutil.which("npm")
    if npm and not installed():
        with suppress(subprocess.TimeoutExpired):
            subprocess.run([npm, *INSTALL], cwd=FOLDER, timeout=120, check=False)
    return ["fonts/fonts.css"] * installed()


def installed() -> bool:
    """Return whether there are fonts. If npm is interrupted, it leaves empty folders."""
    return any(FOLDER.glob("node_modules/**/*.woff2"))
