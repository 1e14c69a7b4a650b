"""What can be wrong with the head's state, with what to do about it.

Invariant: an error of this kind means that nothing was changed. Light to import: it knows no database.
"""

from __future__ import annotations

from pathlib import Path


class StateError(OSError):
    """The state cannot be used. ``kind``: Missing, NotWritable, InUse, Unreadable or Newer; ``path`` is the file's.

    Nothing was changed.
    """

    def __init__(self, kind: str, path: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.path, self.message = kind, path, message

    def __reduce__(self) -> tuple[type[StateError], tuple[str, str, str]]:
        return StateError, (self.kind, self.path, self.message)


def unreadable(path: Path, error: object) -> StateError:
    """The error for a file whose content makes no sense."""
    words = (
        f"the state {path} cannot be read: {error}; restore it from a copy, or move the file away to start with nothing"
    )
    return StateError("Unreadable", str(path), words)
