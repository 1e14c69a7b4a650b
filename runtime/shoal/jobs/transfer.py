"""Files between this node and any URL, in a process of its own: ``python -m shoal.jobs.transfer save|fetch ...``.

``save URL FILE`` copies a file to the URL; ``fetch URL DIRECTORY`` unpacks the zip or tar archive at the URL.

Invariant: fsspec and what it brings are imported in this process alone; it ends with its parent (end of file on
standard input), and an error is one line on standard error, without credentials. Exit code ``FINAL`` says that the
same will be said whenever it is tried again; 1 that it may go better next time.
"""

from __future__ import annotations

import base64
import importlib
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

FINAL: Final = 3
HTTP_SECONDS: Final = 60.0
ARCHIVE_BYTES_MAX: Final = 2 * 1024**3
UNPACKED_BYTES_MAX: Final = 4 * 1024**3
UNPACKED_FILES_MAX: Final = 100_000
_CHUNK: Final = 1024 * 1024
_PASSING_HTTP: Final = frozenset({408, 425, 429})
"""Answers about the request (4xx) that another try may get rid of."""
_FINAL_ERRORS: Final = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class TransferError(Exception):
    """What went wrong, in words for people."""


def shown(url: str) -> str:
    """A URL for people: without user, password, query (where signatures are) and fragment.

    Example:
        >>> shown("https://me:secret@example.com/x.zip?signature=abc")
        'https://example.com/x.zip'
    """
    parts = urlsplit(url)
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "").geturl()


def is_final(error: Exception) -> bool:
    """Whether another try would end alike: what is asked for is not there, may not be read, or is no archive."""
    if isinstance(error, urllib.error.HTTPError):
        return 400 <= error.code < 500 and error.code not in _PASSING_HTTP
    # The stores' own packages name it differently, but all of them say that there are no credentials.
    return isinstance(error, (TransferError, *_FINAL_ERRORS)) or type(error).__name__.endswith("CredentialsError")


def save(url: str, file: Path) -> None:
    """Copy ``file`` to ``url``."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        target = Path(unquote(parts.path))
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(file, part)
        part.replace(target)
        return
    with file.open("rb") as source, _fsspec(url).open(url, "wb") as target_file:
        shutil.copyfileobj(source, target_file, _CHUNK)


def fetch(url: str, directory: Path) -> None:
    """Unpack the archive at ``url`` into ``directory``."""
    with tempfile.TemporaryFile(dir=directory.parent) as archive, _open(url) as source:
        size = 0
        while data := source.read(_CHUNK):
            size += len(data)
            if size > ARCHIVE_BYTES_MAX:
                raise TransferError(f"{shown(url)} is larger than {ARCHIVE_BYTES_MAX} bytes, the most that is fetched")
            archive.write(data)
        archive.seek(0)
        _unpack(archive, url, directory)


def _unpack(archive: Any, url: str, directory: Path) -> None:
    if zipfile.is_zipfile(archive):
        archive.seek(0)
        with zipfile.ZipFile(archive) as opened:
            _check_size(url, [member.file_size for member in opened.infolist()])
            opened.extractall(directory)  # noqa: S202 - zipfile drops absolute paths and dots by itself
        return
    archive.seek(0)
    try:
        with tarfile.open(fileobj=archive) as opened_tar:
            _check_size(url, [member.size for member in opened_tar])
            opened_tar.extractall(directory, filter="data")
    except tarfile.TarError as error:
        raise TransferError(f"{shown(url)} is neither a zip nor a tar archive: {error}") from error


def _check_size(url: str, sizes: list[int]) -> None:
    """Before anything is written: a small archive can hold very much."""
    if len(sizes) > UNPACKED_FILES_MAX or sum(sizes) > UNPACKED_BYTES_MAX:
        most = f"{UNPACKED_FILES_MAX} files and {UNPACKED_BYTES_MAX} bytes"
        raise TransferError(f"{shown(url)} holds {len(sizes)} files of {sum(sizes)} bytes; at most {most} are unpacked")


def _open(url: str) -> Any:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).open("rb")
    if parts.scheme in {"http", "https"}:
        return urllib.request.urlopen(_request(url), timeout=HTTP_SECONDS)  # noqa: S310 - the schemes are checked above
    return _fsspec(url).open(url, "rb")


def _request(url: str) -> urllib.request.Request:
    """User and password of a URL go into a header, for its own host alone."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    request = urllib.request.Request(bare)  # noqa: S310 - the schemes are checked by the caller
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
    return request


def _fsspec(url: str) -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError as error:
        words = f"{urlsplit(url).scheme}:// needs the package fsspec in the image: install shoal[output]"
        raise TransferError(words) from error


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Run one transfer."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    action, url, path = arguments
    try:
        (save if action == "save" else fetch)(url, Path(path))
    except Exception as error:  # noqa: BLE001 - fsspec's file systems raise anything; the parent shows the words
        text = str(error) if isinstance(error, TransferError) else f"{type(error).__name__}: {error}"
        sys.stderr.write(" ".join(text.replace(url, shown(url)).split())[:500] + "\n")
        return FINAL if is_final(error) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
