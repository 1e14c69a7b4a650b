"""What can be wrong with the head's state, with what to do about it.

Invariant: an error of this kind means that nothing was changed. Light to import: it knows no database.
"""

from __future__ import annotations


class StateError(OSError):
    """The state cannot be used. ``kind``: Missing, NotWritable, InUse, Unreadable or Newer; ``path`` is the place.

    Nothing was changed.
    """

    def __init__(self, kind: str, path: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.path, self.message = kind, path, message

    def __reduce__(self) -> tuple[type[StateError], tuple[str, str, str]]:
        return StateError, (self.kind, self.path, self.message)


def unreadable(path: str, error: object) -> StateError:
    """The error for a place whose content makes no sense."""
    words = f"the state {path} cannot be read: {error}; restore it from a copy, or move it away to start with nothing"
    return StateError("Unreadable", str(path), words)
