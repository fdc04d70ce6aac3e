"""Texts to begin with: two that every Python carries, three to download, each checked."""

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

from minichar.errors import MinicharError
from minichar.files import replacing
from minichar.text.download import Progress, download

BASE_URL = "https://raw.githubusercontent.com"
CHAR_RNN = "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
CHINESE_POETRY = "chinese-poetry/chinese-poetry/99ebbef7e1345c0985c44b9fd96a3f9e776f117b/全唐诗"

# Left out of the standard library's text: tests, tables, generated files and two old tools.
NOT_SOURCE = {"test", "tests", "encodings", "idlelib", "lib2to3", "pydoc_data"}


def pydocs_text() -> str:
    """Return Python's own help topics: some 465,000 characters of English prose, fixed for each version.

    Raises
    ------
    MinicharError
        If this Python was installed without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise MinicharError("this Python comes without its help topics: name a text with --data") from None
    return "\n".join(topics[name] for name in sorted(topics))


def pystdlib_text() -> str:
    """Return the source of the standard library: several million characters of Python.

    Files are in the order of their paths; tests, tables and generated files are left out.

    Raises
    ------
    MinicharError
        If this Python keeps no source files.
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
        raise MinicharError(f"{str(root)!r} holds no source files: name a text with --data")
    return "\n".join(sources)


def poems_text(sources: list[bytes]) -> str:
    """Lay out poems given as JSON: the title, then a line for each verse; blank lines between poems."""
    poems = [poem for source in sources for poem in json.loads(source)]
    return "\n\n".join("\n".join([poem["title"], *poem["paragraphs"]]) for poem in poems) + "\n"


@dataclass(frozen=True)
class Dataset:
    """A named text.

    Attributes
    ----------
    name, description, language, source, licence : str
        What it is, for people.
    characters : int
        How long the text is; roughly, where it depends on the version of Python.
    make : callable
        Makes the text from the downloaded files, a list of bytes.
    files : tuple of str
        What to download, below the base URL; empty for a text that is made without a network.
    download_bytes : int
        The size of those files together.
    sha256 : str or None
        SHA-256 of the finished text in UTF-8; None where it depends on the version of Python.
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


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="pydocs",
            description="Python's help topics, the default text",
            language="English",
            source="this Python, offline",
            licence="PSF",
            characters=465_000,
            make=lambda sources: pydocs_text(),
        ),
        Dataset(
            name="pystdlib",
            description="source code of Python's standard library",
            language="Python",
            source="this Python, offline",
            licence="PSF",
            characters=8_800_000,
            make=lambda sources: pystdlib_text(),
        ),
        Dataset(
            name="tinyshakespeare",
            description="scenes from Shakespeare's plays, char-rnn's example",
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
            licence="public domain, compiled under MIT",
            characters=29_933,
            make=poems_text,
            files=(f"{CHINESE_POETRY}/唐诗三百首.json",),
            download_bytes=190_787,
            sha256="e117167453ff1e315115fc15a9159afd3dc688eaca060f44522e736cfb443c09",
        ),
        Dataset(
            name="quantangshi",
            description="eighteen thousand poems of the Complete Tang Poems",
            language="Chinese",
            source="github.com/chinese-poetry/chinese-poetry",
            licence="public domain, compiled under MIT",
            characters=1_451_005,
            make=poems_text,
            files=tuple(f"{CHINESE_POETRY}/poet.tang.{first}.json" for first in range(0, 18_000, 1000)),
            download_bytes=8_325_563,
            sha256="b387902031f902f743379af4f5a09c134b5d112a87f92c96fc6295b84ec27e38",
        ),
    )
}


def dataset_path(name: str, folder: str | os.PathLike[str] = "data") -> Path:
    """Where `fetch` puts the text: ``folder/name/input.txt``."""
    return Path(folder, name, "input.txt")


def place(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and the folders above it; what fails raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def fetch(
    name: str,
    folder: str | os.PathLike[str] = "data",
    *,
    force: bool = False,
    progress: Progress | None = None,
    base_url: str | None = None,
) -> Path:
    """Make or download a named text, check it and put it in its place.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    folder : path
        The text goes to ``folder/name/input.txt``. A file of the same content is kept as it is.
    force : bool
        Replace a file of another content.
    progress : callable, optional
        Called with the number of bytes in each block that is downloaded.
    base_url : str, optional
        Another server with the same files, in place of `BASE_URL`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MinicharError
        If there is no such data set; another text is there already; the download fails or is not the
        text it should be; the folder cannot be written. Nothing is left behind.
    """
    if name not in DATASETS:
        raise MinicharError(f"no data set is called {name!r}: choose one of {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    path = dataset_path(name, folder)
    if os.path.lexists(path) and not force:
        wanted = dataset.sha256 or _sha256(dataset.make([]).encode())
        if _holds(path, wanted):
            return path
        raise MinicharError(f"{str(path)!r} holds another text: move it away, or use --force")
    content = _make(dataset, progress, base_url or BASE_URL)
    try:
        place(path, content)
    except OSError as exc:
        raise MinicharError(f"cannot write {str(path)!r}: {exc.strerror}") from None
    return path


def _make(dataset: Dataset, progress: Progress | None, base_url: str) -> bytes:
    if not dataset.files:
        return dataset.make([]).encode()
    sources = download(base_url, dataset.files, dataset.download_bytes, progress)
    try:
        content = dataset.make(sources).encode()
    except (ValueError, LookupError, TypeError, RecursionError):  # not JSON, or not poems
        content = b""
    if _sha256(content) != dataset.sha256:
        raise MinicharError(f"what {base_url} sent is not {dataset.name}: SHA-256 differs; try again later")
    return content


def _holds(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and _sha256(path.read_bytes()) == sha256
    except OSError:
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
