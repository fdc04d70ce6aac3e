"""Install the site's fonts, with their licences, from pinned npm packages.

Nothing is requested from another server when a page is read. Without the fonts, readers see their system's.
"""

import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "static" / "fonts"


def style_sheets() -> list[str]:
    """Return the style sheet of the fonts, or nothing if they are missing and npm cannot install them."""
    npm = shutil.which("npm")
    if npm and not (FOLDER / "node_modules").exists():
        subprocess.run([npm, "ci", "--no-audit", "--loglevel=error"], cwd=FOLDER, timeout=120, check=False)
    return ["fonts/fonts.css"] * (FOLDER / "node_modules").exists()
