"""Errors of local mode that reach a person: what went wrong, and what to do about it.

Invariant: ``str(error)`` is one sentence without a traceback; ``hint`` is the next step or empty.
"""

from __future__ import annotations


class LocalError(Exception):
    """Something a person can put right.

    Args:
        message: what was wrong and where, without a final full stop.
        hint: what to do, or empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageProblem(LocalError):
    """What was asked for cannot be: a manifest that does not parse, an unknown session. Exit code 2."""
