"""A job's working directory as one zip archive, named by its content.

Invariant: the same files give the same archive and so the same hash on every machine; nothing outside the
directory gets in, and nothing larger than the limits is ever held in memory.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shoal.jobs.package_store import MAX_PACKAGE_BYTES, PackageError

MAX_SOURCE_BYTES: Final = 512 * 1024 * 1024
MAX_FILES: Final = 20_000
EXCLUDED_DIRECTORIES: Final = frozenset({".git", ".venv", "__pycache__"})
EXCLUDED_SUFFIX: Final = ".pyc"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def pack(directory: str) -> tuple[str, bytes]:
    """The archive of a directory: (hash, zip bytes).

    Raises:
        PackageError: the directory is missing, unreadable or too large. The text names the directory.
    """
    check_readable(directory)
    buffer = io.BytesIO()
    source_bytes = 0
    try:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for count, (name, path) in enumerate(_files(directory)):
                data = path.read_bytes()
                source_bytes += len(data)
                too_large = source_bytes > MAX_SOURCE_BYTES or buffer.tell() > MAX_PACKAGE_BYTES
                if too_large or count >= MAX_FILES:
                    raise _too_large(directory)
                info = zipfile.ZipInfo(name, _EPOCH)
                info.external_attr = (stat.S_IFREG | (0o755 if os.access(path, os.X_OK) else 0o644)) << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data, compresslevel=1)
    except OSError as error:
        raise PackageError("Unreadable", f"working directory {directory}: {error}") from error
    data = buffer.getvalue()
    if len(data) > MAX_PACKAGE_BYTES:
        raise _too_large(directory)
    return hashlib.sha256(data).hexdigest()[:32], data


def _too_large(directory: str) -> PackageError:
    return PackageError(
        "TooLarge",
        f"working directory {directory} is too large for a package: at most {MAX_FILES} files and"
        f" {MAX_PACKAGE_BYTES >> 20} MiB zipped; keep data elsewhere (.git, .venv and __pycache__ do not count)",
    )


def check_readable(directory: str) -> None:
    """Raises PackageError when the directory is missing or cannot be listed."""
    if not os.path.isdir(directory):
        raise PackageError("Unreadable", f"working directory {directory} is not a directory that the head can see")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise PackageError("Unreadable", f"working directory {directory} cannot be read by the head: check its mode")


def _files(directory: str) -> Iterator[tuple[str, Path]]:
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(d for d in directories if not _is_excluded(d))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.endswith(EXCLUDED_SUFFIX) and path.is_file():
                yield str(path.relative_to(directory)), path


def _is_excluded(directory: str) -> bool:
    """Also the hidden copies (``..data``) behind the links of a mounted ConfigMap, whose files are there already."""
    return directory in EXCLUDED_DIRECTORIES or directory.startswith("..")


def unpack(data: bytes, directory: Path) -> None:
    """Write the files of an archive below ``directory`` (made, 0700).

    Raises zipfile.BadZipFile or OSError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            written = archive.extract(info, directory)  # keeps names inside the directory
            mode = info.external_attr >> 16 & 0o777
            if mode and not info.is_dir():
                os.chmod(written, mode)
