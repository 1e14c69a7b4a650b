"""What can go wrong when speaking to an API server, as types.

    ApiError
    ├── NotFoundError           404
    ├── ConflictError           409: somebody else changed the object, or a precondition failed
    │   ├── AlreadyExistsError  409 AlreadyExists
    │   └── FieldConflictError  409: another manager has set the fields to be applied
    ├── InvalidError            422, 400: the server refuses the object itself; trying again changes nothing
    ├── GoneError               410: the resource version is too old, list again
    ├── UnauthorizedError       401: the credentials are not (or no longer) valid
    ├── ForbiddenError          403: the operator's roles do not allow it
    ├── TooManyRequestsError    429, with the seconds to wait
    └── UnavailableError        no connection, a timeout, 5xx
        └── NotLeaderError      the write was not sent: another operator may lead by now

Invariant: HTTP status codes are turned into these types in ``from_status`` and nowhere else; no caller sees
HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final


class ApiError(Exception):
    """A request to the API server failed.

    Attributes:
        message: the server's words, or ours when there was no answer.
        request: what was asked: ``POST /api/v1/namespaces/ml/pods``.
        code: the HTTP status, 0 when there was no answer.
        reason: the server's machine-readable reason: ``AlreadyExists``.
    """

    retryable = False

    def __init__(self, message: str, *, request: str = "", code: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.request = request
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        where = f" ({self.request})" if self.request else ""
        return f"{self.message}{where}"


class NotFoundError(ApiError):
    """The object, or the whole kind, does not exist."""


class ConflictError(ApiError):
    """The object changed meanwhile, a UID precondition failed, or another manager owns a field."""

    retryable = True


class AlreadyExistsError(ConflictError):
    """An object of that name exists."""


class FieldConflictError(ConflictError):
    """Somebody else has set fields that were to be applied without force; ``message`` names who and which."""

    retryable = False


class InvalidError(ApiError):
    """The server refuses the object itself; ``message`` names the fields."""


class GoneError(ApiError):
    """The server no longer knows that resource version: list again."""

    retryable = True


class UnauthorizedError(ApiError):
    """The credentials are not valid, or no longer."""


class ForbiddenError(ApiError):
    """The operator's roles (or a quota, or an admission policy) do not allow it."""


class TooManyRequestsError(ApiError):
    """The server asks for patience.

    Attributes:
        retry_after_seconds: how long.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(ApiError):
    """No connection, no answer in time, or an error inside the server."""

    retryable = True


class NotMappedError(UnavailableError):
    """The server does not know the kind of an object's owner yet: the definitions have just been installed."""


class NotLeaderError(UnavailableError):
    """The write was not sent, because this process does not hold the lease; its pass ends here."""


_BY_CODE: Final[Mapping[int, type[ApiError]]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
}


_NOT_MAPPED: Final = "cannot find RESTMapping for APIVersion"
"""Said by OwnerReferencesPermissionEnforcement for up to 30 s after a kind was defined; the words are all it gives."""


def _causes(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    causes = (status.get("details") or {}).get("causes")
    return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []


def from_status(code: int, status: Mapping[str, Any], *, request: str, retry_after: str | None = None) -> ApiError:
    """The error for an answer of the server.

    Args:
        code: HTTP status, or the ``code`` of an ERROR event of a watch.
        status: the body, a ``Status`` object; anything else is taken as having no message.
        request: what was asked, for the text.
        retry_after: the Retry-After header, in seconds.
    """
    message = str(status.get("message") or f"the API server answered {code}")
    reason = str(status.get("reason") or "")
    if code == 429:
        return TooManyRequestsError(
            message, retry_after_seconds=_seconds(retry_after), request=request, code=code, reason=reason
        )
    if code == 409 and reason == "AlreadyExists":
        return AlreadyExistsError(message, request=request, code=code, reason=reason)
    if code == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in _causes(status)):
        return FieldConflictError(message, request=request, code=code, reason=reason)
    if code == 403 and _NOT_MAPPED in message:
        return NotMappedError(message, request=request, code=code, reason=reason)
    kind = _BY_CODE.get(code, UnavailableError if code >= 500 else ApiError)
    return kind(message, request=request, code=code, reason=reason)


def _seconds(header: str | None, default: float = 1.0, most: float = 60.0) -> float:
    try:
        return min(most, max(0.0, float(header))) if header is not None else default
    except ValueError:
        return default
