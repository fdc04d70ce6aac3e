"""Take the site's fonts from pinned npm packages. Without them, readers see their system's fonts.

The fonts and their licences are not committed. Nothing is requested from another server when a page is read.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

TEXT, MATHS = "@fontsource-variable/stix-two-text", "@fontsource/stix-two-math"
PACKAGES = {
    TEXT: (
        "5.3.0",
        "JuxhBSw0ZLxFdcBdIFyTclqJVFN1IxM73E11+TgDQXGf+h51zFhxwC+Z2/1UVli+W9pt/flHP0ZpzpIu1aLUDw==",
    ),
    MATHS: (
        "5.3.0",
        "negoeozw6VSXjZMozwKRSm/dhCQT62csZcuea9I8KYqPaZq/8KbbBBrA02ZHF7AyuR5mVML/p+q0bwFuSIf2GQ==",
    ),
}
"""Version and SHA-512 of each package's archive."""
LATIN, GREEK = "U+0000-024F, U+2000-206F, U+20A0-20CF, U+2100-214F, U+2212", "U+0370-03FF"
FACES = {
    "stix-two-text-latin-wght-normal": (TEXT, "STIX Two Text", "normal", "400 700", LATIN),
    "stix-two-text-latin-wght-italic": (TEXT, "STIX Two Text", "italic", "400 700", LATIN),
    "stix-two-text-greek-wght-normal": (TEXT, "STIX Two Text", "normal", "400 700", GREEK),
    "stix-two-math-latin-400-normal": (MATHS, "STIX Two Math", "normal", "400", "U+0-10FFFF"),
}
"""Package, family, style, weights and characters of each file."""
FACE = """\
@font-face {{ font-family: "{family}"; font-style: {style}; font-weight: {weight}; font-display: swap;
  src: url("{file}.woff2") format("woff2"); unicode-range: {characters}; }}
"""


def write_fonts(folder: Path) -> bool:
    """Write the fonts, their licences and ``fonts.css`` in `folder`, and return whether they are there."""
    if not (folder / "fonts.css").exists() and (npm := shutil.which("npm")):
        with tempfile.TemporaryDirectory() as temporary:
            archives = {package: fetch(npm, package, Path(temporary)) for package in PACKAGES}
            if all(archives.values()):
                unpack(archives, folder)
    return (folder / "fonts.css").exists()


def fetch(npm: str, package: str, folder: Path) -> Path | None:
    """Return the archive of a package, or None if the registry cannot be reached.

    Raises
    ------
    ValueError
        If the archive is not the expected one.
    """
    version, expected = PACKAGES[package]
    command = [npm, "pack", "--silent", "--pack-destination", str(folder), f"{package}@{version}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if result.returncode:
        return None
    archive = folder / result.stdout.strip()
    if b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != expected:
        raise ValueError(f"{package} {version}: the archive does not have the expected SHA-512")
    return archive


def unpack(archives: dict[str, Path | None], folder: Path) -> None:
    """Write the needed files of the archives, and the style sheet last."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = ""
    for package, archive in archives.items():
        with tarfile.open(archive) as files:
            wanted = {
                f"files/{name}.woff2": f"{name}.woff2" for name, face in FACES.items() if face[0] == package
            }
            for name, saved in {**wanted, "LICENSE": f"LICENSE-{package.rpartition('/')[2]}"}.items():
                file = files.extractfile(f"package/{name}")
                assert file is not None
                (folder / saved).write_bytes(file.read())
    for name, (_, family, style, weight, characters) in FACES.items():
        rules += FACE.format(family=family, style=style, weight=weight, file=name, characters=characters)
    (folder / "fonts.css").write_text(rules, encoding="utf-8")
