"""Built-in datasets: two generated from the Python installation, and five downloaded and verified."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from minichar.checks import did_you_mean
from minichar.errors import MinicharError, Option
from minichar.files import replacing
from minichar.text.download import Progress, download
from minichar.text.pydocs import pydocs_text


def poems_text(sources: list[bytes]) -> str:
    """Convert poems from JSON to text: one title or paragraph per line, with a blank line between poems."""
    poems = [poem for source in sources for poem in json.loads(source)]
    return "\n\n".join("\n".join([poem["title"], *poem["paragraphs"]]) for poem in poems) + "\n"


def names_text(sources: list[bytes]) -> str:
    """Convert tables with upper-case names in the first column to plain text, with one name per line.

    The tables are sorted by frequency. Sorting the names by hash shuffles them reproducibly. Without
    shuffling, the end of the text would be harder to predict than the rest.
    """
    rows = [line.split() for source in sources for line in source.decode().splitlines()]
    names = {row[0].capitalize() for row in rows}
    shuffled = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return "".join(f"{name}\n" for name in shuffled)


def joined_text(sources: list[bytes]) -> str:
    """Join text files with newlines."""
    return "\n".join(source.decode() for source in sources)


BASE_URL = "https://raw.githubusercontent.com"
CHAR_RNN = "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
CHINESE_POETRY = "chinese-poetry/chinese-poetry/99ebbef7e1345c0985c44b9fd96a3f9e776f117b/全唐诗"
NAMES = "treyhunner/names/0f51b66ae0661302f742ddae25f21c1f1266902d/names"
LINUX = "gregkh/linux/f717995cb7dcd8998ab15516b8006aea09cfde0d"  # v6.12.107
KERNEL = "cpu exit fork sched/core sched/fair signal sys workqueue"
MM = "filemap memory mmap page_alloc shmem slub vmalloc vmscan"

# Directories excluded from pystdlib: tests, tables, generated files, IDLE and lib2to3.
NOT_SOURCE = {"test", "tests", "encodings", "idlelib", "lib2to3", "pydoc_data"}


def pystdlib_text() -> str:
    """Return the source code of Python's standard library, sorted by path (several million characters).

    Tests, tables and generated files are excluded. Raises a `MinicharError` if there are no source files.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names = sys.stdlib_module_names
    found = [path for name in names for path in (root / f"{name}.py", *(root / name).rglob("*.py"))]
    sources = []
    for path in sorted(found, key=Path.as_posix):
        if path.is_file() and NOT_SOURCE.isdisjoint(path.relative_to(root).parts):
            with suppress(UnicodeDecodeError):
                sources.append(path.read_text(encoding="utf-8"))
    if not sources:
        raise MinicharError(f"{str(root)!r} has no source files: choose a text file with ", Option("data"))
    return "\n".join(sources)


@dataclass(frozen=True)
class Dataset:
    """A named dataset.

    The character count is approximate if the text depends on the version of Python. Only texts that are the
    same everywhere have a `sha256`, of their UTF-8 bytes. `make` creates the text from the contents of the
    downloaded `files`, whose paths are relative to the base URL and whose total size is `download_bytes`.
    `options` are options of ``minichar train`` that suit the text, such as ``--reset-on``.
    """

    name: str
    description: str
    language: str
    source: str
    licence: str
    characters: int
    make: Callable[[list[bytes]], str]
    files: tuple[str, ...] = ()
    download_bytes: int = 0
    sha256: str | None = None
    options: str = ""


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="pydocs",
            description="the prose of Python's help topics, the default text",
            language="English",
            source="included in Python",
            licence="PSF",
            characters=300_000,
            make=lambda sources: pydocs_text(),
        ),
        Dataset(
            name="pystdlib",
            description="source code of Python's standard library",
            language="Python",
            source="included in Python",
            licence="PSF",
            characters=8_800_000,
            make=lambda sources: pystdlib_text(),
        ),
        Dataset(
            name="tinyshakespeare",
            description="scenes from Shakespeare's plays",
            language="English",
            source="github.com/karpathy/char-rnn",
            licence="public domain",
            characters=1_115_394,
            make=lambda sources: sources[0].decode(),
            files=(f"{CHAR_RNN}/data/tinyshakespeare/input.txt",),
            download_bytes=1_115_394,
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
        Dataset(
            name="tang300",
            description="the anthology Three Hundred Tang Poems",
            language="Chinese",
            source="github.com/chinese-poetry/chinese-poetry",
            licence="public domain (compilation: MIT)",
            characters=29_933,
            make=poems_text,
            files=(f"{CHINESE_POETRY}/唐诗三百首.json",),
            download_bytes=190_787,
            sha256="e117167453ff1e315115fc15a9159afd3dc688eaca060f44522e736cfb443c09",
        ),
        Dataset(
            name="quantangshi",
            description="18,000 poems from the Complete Tang Poems",
            language="Chinese",
            source="github.com/chinese-poetry/chinese-poetry",
            licence="public domain (compilation: MIT)",
            characters=1_451_005,
            make=poems_text,
            files=tuple(f"{CHINESE_POETRY}/poet.tang.{first}.json" for first in range(0, 18_000, 1000)),
            download_bytes=8_325_563,
            sha256="b387902031f902f743379af4f5a09c134b5d112a87f92c96fc6295b84ec27e38",
        ),
        Dataset(
            name="names",
            description="91,910 given names and surnames, one per line",
            language="names",
            source="1990 US census, github.com/treyhunner/names",
            licence="public domain",
            characters=718_110,
            make=names_text,
            files=tuple(f"{NAMES}/dist.{part}" for part in ("female.first", "male.first", "all.last")),
            download_bytes=3_300_255,
            sha256="7292c56ba7466c0d4e2f75af47366aa8355c7d9dbf58af139057430855fb9da4",
            options=r"--reset-on '\n'",
        ),
        Dataset(
            name="linux",
            description="16 source files of the Linux kernel",
            language="C",
            source="github.com/gregkh/linux, v6.12.107",
            licence="GPL-2.0-only",
            characters=2_602_398,
            make=joined_text,
            files=tuple(
                f"{LINUX}/{d}/{n}.c" for d, names in (("kernel", KERNEL), ("mm", MM)) for n in names.split()
            ),
            download_bytes=2_602_388,
            sha256="7b8d57bc4ee84d877ffa06b80f6d2534ee15ad932bc3687b8338762fc9cd27df",
        ),
    )
}


def dataset_path(name: str, folder: Path = Path("data")) -> Path:
    """Return the path where `fetch` saves a dataset: ``folder/name/input.txt``."""
    return folder / name / "input.txt"


def is_dataset_folder(path: Path) -> bool:
    """Return whether `path` is a directory where `fetch` saves a dataset by default. It need not exist."""
    return path.name in DATASETS and path.absolute() == dataset_path(path.name).parent.absolute()


def place(path: Path, content: bytes) -> None:
    """Write a file atomically, creating its parent directories. Raises OSError on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def save_pydocs() -> None:
    """Save the default text in ``data/pydocs``, if it can be written. An existing file is never changed."""
    path = dataset_path("pydocs")
    with suppress(OSError):
        if not path.exists():
            place(path, pydocs_text().encode())


def fetch(
    name: str,
    folder: Path = Path("data"),
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Create or download a dataset, verify it, write it to ``folder/name/input.txt`` and return this path.

    An existing file with the correct content is kept; one with different content is overwritten only with
    `force`. `progress` is called with the size, in bytes, of each downloaded block. Raises a `MinicharError`
    if the name is unknown, a file with different content already exists, the download fails or its SHA-256
    does not match, or the file cannot be written. No partial file is left behind.
    """
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise MinicharError(f"unknown dataset {name!r}: choose one of {known}{did_you_mean(name, DATASETS)}")
    dataset = DATASETS[name]
    path = dataset_path(name, folder)
    if os.path.lexists(path) and not force:
        wanted = dataset.sha256 or _sha256(dataset.make([]).encode())
        if _holds(path, wanted):
            return path
        raise MinicharError(
            f"{str(path)!r} already exists with different content: move it, or use ", Option("force", True)
        )
    content = _make(dataset, progress)
    try:
        place(path, content)
    except OSError as exc:
        raise MinicharError(f"cannot write {str(path)!r}: {exc.strerror}") from None
    return path


def _make(dataset: Dataset, progress: Progress | None) -> bytes:
    if not dataset.files:
        return dataset.make([]).encode()
    sources = download(BASE_URL, dataset.files, dataset.download_bytes, progress)
    try:
        content = dataset.make(sources).encode()
    except (ValueError, LookupError, TypeError, RecursionError):  # the content is not in the expected format
        content = b""
    if _sha256(content) != dataset.sha256:
        raise MinicharError(
            f"the download from {BASE_URL} does not match {dataset.name}: its SHA-256 differs; "
            "try again later"
        )
    return content


def _holds(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and _sha256(path.read_bytes()) == sha256
    except OSError:
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
