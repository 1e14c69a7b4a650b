"""The head's packages on disk: working directories of jobs as archives, named by their content.

Invariant: an archive is there whole or not at all, and all together never exceed their limit.
Light to import: making and reading archives is ``shoal.jobs.packages``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

MAX_PACKAGE_BYTES: Final = 64 * 1024 * 1024
MAX_STORED_BYTES: Final = 2 * 1024 * 1024 * 1024
_HASH: Final = re.compile(r"[A-Za-z0-9_-]{8,128}")


class PackageError(ValueError):
    """A directory cannot be packaged or a package cannot be kept.

    ``kind``: Unreadable, TooLarge, BadHash, Full.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class PackageStore:
    """Archives on the head's disk, by hash.

    Args:
        directory: made with mode 0700.
        max_bytes: the sum of all archives; the one unused longest goes first.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._directory, self._max_bytes = directory, max_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, digest: str, data: bytes) -> None:
        """Keep an archive; the same hash again costs nothing. Raises PackageError (BadHash, TooLarge)."""
        path = self._path(digest)
        if len(data) > MAX_PACKAGE_BYTES:
            raise PackageError(
                "TooLarge", f"package {digest} has {len(data)} bytes, at most {MAX_PACKAGE_BYTES} are taken"
            )
        if path.exists():
            os.utime(path)
            return
        self._make_room(len(data))
        fresh = self._directory / f".{os.urandom(8).hex()}"
        fresh.write_bytes(data)
        os.replace(fresh, path)

    def get(self, digest: str) -> bytes | None:
        """The archive, or None when it is not kept. Raises PackageError (BadHash)."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        return data

    def _path(self, digest: str) -> Path:
        if not _HASH.fullmatch(digest):
            raise PackageError("BadHash", f"{digest[:200]!r} is not the hash of a package")
        return self._directory / f"{digest}.zip"

    def _make_room(self, size: int) -> None:
        kept = sorted((p.stat().st_mtime, p.stat().st_size, p) for p in self._directory.glob("*.zip"))
        total = sum(entry[1] for entry in kept)
        for _, entry_size, path in kept:
            if total + size <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= entry_size
