"""Errors as the Kubernetes API states them: `metav1.Status` with code, reason, message and causes.

Invariant: every refusal of this server is a `StatusError`; clients branch on `reason`, people read `message`,
and both are word for word what a real API server would send in the same case.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shoal_operator.local.apiserver.values import Document


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with one field: its path, a metav1 cause reason, and the words."""

    path: str
    reason: str
    message: str

    def text(self) -> str:
        return f"{self.path}: {self.message}"

    def cause(self) -> Document:
        return {"reason": self.reason, "message": self.message, "field": self.path}


def show(value: Any) -> str:
    """A value as Go's field errors print it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(path: str, detail: str = "") -> FieldError:
    """A field that must be there is not."""
    return FieldError(path, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def invalid_value(path: str, value: Any, detail: str) -> FieldError:
    """A field's value breaks a rule; `detail` says which."""
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {show(value)}: {detail}")


def not_supported(path: str, value: Any, supported: Iterable[Any]) -> FieldError:
    """A field's value is none of those allowed, which are listed in the order given."""
    listed = ", ".join(show(item) for item in supported)
    text = f"Unsupported value: {show(value)}: supported values: {listed}"
    return FieldError(path, "FieldValueNotSupported", text)


def duplicate_value(path: str, value: Any) -> FieldError:
    """A field's value must be unique and is not."""
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {show(value)}")


def forbidden_field(path: str, detail: str) -> FieldError:
    """A field may not be set, or not be changed."""
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(path: str, limit: int) -> FieldError:
    """A text is longer than `limit` allows."""
    return FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    """A list or map has more items than `limit` allows."""
    return FieldError(path, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


@dataclass(slots=True)
class StatusError(Exception):
    """A refusal. `details` is metav1.StatusDetails; `retry_after_seconds` also becomes a header.

    `reason` is "" where the real server has none (a plain Go error, which it sends as 500).
    """

    code: int
    reason: str
    message: str
    details: Document | None = None
    retry_after_seconds: int | None = None

    def __str__(self) -> str:
        return self.message

    def document(self) -> Document:
        """The metav1.Status to send."""
        status: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        }
        if self.reason:
            status["reason"] = self.reason
        details = self.details
        if self.retry_after_seconds is not None:
            details = {**(details or {}), "retryAfterSeconds": self.retry_after_seconds}
        if details is not None:
            status["details"] = details
        return status


def _details(resource: str, name: str) -> Document:
    plural, _, group = resource.partition(".")
    details = ({"name": name} if name else {}) | {"kind": plural}
    return {**details, "group": group} if group else details


def not_found(resource: str, name: str) -> StatusError:
    """`resource` is "pods" or "computejobs.shoal.dev"."""
    return StatusError(404, "NotFound", f'{resource} "{name}" not found', _details(resource, name))


def no_such_path() -> StatusError:
    """404 for a path that no resource has."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, name: str) -> StatusError:
    """409 for a create with a name that is taken."""
    text = f'{resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", text, _details(resource, name))


def conflict(resource: str, name: str, detail: str) -> StatusError:
    """409 for a write that a newer state of the object contradicts."""
    text = f'Operation cannot be fulfilled on {resource} "{name}": {detail}'
    return StatusError(409, "Conflict", text, _details(resource, name))


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(kind: str, name: str, problems: Sequence[FieldError]) -> StatusError:
    """`kind` is "Pod" or "ComputeJob.shoal.dev"."""
    texts = [problem.text() for problem in problems]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(kind, name) | {"causes": [problem.cause() for problem in problems]}
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {joined}', details)


def bad_request(message: str) -> StatusError:
    """400 for what cannot be understood."""
    return StatusError(400, "BadRequest", message)


def forbidden(resource: str, name: str, detail: str) -> StatusError:
    """403 for what is not allowed in this state."""
    text = f'{resource} "{name}" is forbidden: {detail}'
    return StatusError(403, "Forbidden", text, _details(resource, name))


def expired(message: str) -> StatusError:
    """410: the client has to list again."""
    return StatusError(410, "Expired", message)


def unauthorized() -> StatusError:
    """401 without the right token."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def too_large(limit_bytes: int) -> StatusError:
    """413 for a body over the limit."""
    text = f"Request entity too large: limit is {limit_bytes}"
    return StatusError(413, "RequestEntityTooLarge", text)


def method_not_allowed() -> StatusError:
    """405 for a verb that the resource lacks."""
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_media_type(accepted: Iterable[str]) -> StatusError:
    """415 for a body in a form this server does not read."""
    text = "the body of the request was in an unknown format - accepted media types include: "
    return StatusError(415, "UnsupportedMediaType", text + ", ".join(accepted))


def unsupported_patch() -> StatusError:
    """415 for a patch of a type that the resource does not take."""
    return StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def not_acceptable(accepted: Iterable[str], *, known: bool) -> StatusError:
    """406 for an answer in a form this server does not write, of a media type it knows or not."""
    before = "only the following media types are accepted: "
    if not known:
        before = "406: Not Acceptable\n\nAvailable representations: "
    return StatusError(406, "NotAcceptable", before + ", ".join(accepted), None if known else {})


def unavailable(message: str) -> StatusError:
    """503 for what may work later."""
    return StatusError(503, "ServiceUnavailable", message, retry_after_seconds=1)


def not_offered(subresource: str) -> StatusError:
    """501 for what a cluster's kubelets do and this server does not."""
    text = (
        f"{subresource} is not offered by the embedded API server: its pods are processes of this machine, "
        "on addresses of 127.0.0.0/8"
    )
    return StatusError(501, "NotImplemented", text)


def internal(message: str) -> StatusError:
    """500 for our own mistake."""
    return StatusError(500, "InternalError", f"Internal error occurred: {message}")


def plain(message: str) -> StatusError:
    """500 without a reason: what the real server makes of a Go error that says nothing about its kind."""
    return StatusError(500, "", message)
