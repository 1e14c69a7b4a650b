"""How a controller treats an error of the API server: one table.

Invariant: a conflict is normal life and says nothing; an absent server is one line; the rest is a defect
with a stack trace.
"""

from __future__ import annotations

from typing import Final

from shoal_operator.control.controller import Severity, Verdict
from shoal_operator.kube import errors

REFUSED_RETRY_SECONDS: Final = 30.0
"""What the server refuses for what it is stays refused until somebody changes something: look rarely."""


def judge(error: Exception) -> Verdict:
    """The verdict for an error that a reconcile raised."""
    match error:
        case errors.ConflictError() | errors.GoneError():
            return Verdict(Severity.EXPECTED)
        case errors.TooManyRequestsError():
            return Verdict(Severity.TRANSIENT, error.retry_after_seconds)
        case errors.UnavailableError() | errors.UnauthorizedError() | TimeoutError():
            return Verdict(Severity.TRANSIENT)
        case errors.InvalidError() | errors.ForbiddenError() | errors.NotFoundError():
            return Verdict(Severity.TRANSIENT, REFUSED_RETRY_SECONDS)
        case _:
            return Verdict(Severity.UNEXPECTED)
