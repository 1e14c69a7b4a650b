"""What a request says beside its path: body, options, numbers.

Invariant: whatever is wrong with it is a StatusError of the client's making, never an exception of ours.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from shoal_operator.local.apiserver import bodies, errors, negotiation, protobuf
from shoal_operator.local.apiserver.context import WriteOptions
from shoal_operator.local.apiserver.values import Document

BODY_LIMIT_BYTES = 3 * 1024 * 1024
MEDIA_TYPES = negotiation.MEDIA_TYPES
MANAGER_LIMIT = 128
_OPTIONS_KINDS = {"PATCH": "PatchOptions", "POST": "CreateOptions", "PUT": "UpdateOptions"}
_UNRECOGNIZED = "the object provided is unrecognized: couldn't get version/kind; json parse error"


class Request(web.BaseRequest):
    """A request that remembers what a strict reader minds in its body, for the options that are read after it."""

    repeated: tuple[str, ...] = ()


def integer(request: web.BaseRequest, name: str) -> int:
    """A whole number from the query, 0 where it is absent or below."""
    text = request.query.get(name, "")
    if text and not text.removeprefix("-").isdigit():
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return max(0, int(text)) if text else 0


def write_options(request: web.BaseRequest) -> WriteOptions:
    """The options of a create, update or patch; the manager is the client's name where none is given."""
    query = request.query
    dry_run, manager = query.get("dryRun", ""), query.get("fieldManager", "")
    validation = query.get("fieldValidation") or "Warn"
    applies = request.content_type == "application/apply-patch+yaml"
    problems = []
    if applies and not manager:
        problems.append(errors.required("fieldManager", "is required for apply patch"))
    if request.method == "PATCH" and not applies and "force" in query:
        problems.append(errors.forbidden_field("force", "may not be specified for non-apply patch"))
    if len(manager) > MANAGER_LIMIT:
        problems.append(errors.too_long("fieldManager", MANAGER_LIMIT))
    if dry_run not in ("", "All"):
        problems.append(errors.not_supported("dryRun", [dry_run], ["All"]))
    if validation not in ("Ignore", "Strict", "Warn"):
        problems.append(errors.not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    if problems:
        raise errors.invalid(f"{_OPTIONS_KINDS.get(request.method, 'UpdateOptions')}.meta.k8s.io", "", problems)
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return WriteOptions(
        field_manager=manager or agent[:MANAGER_LIMIT],
        dry_run=dry_run == "All",
        field_validation=validation,
        force=query.get("force") in ("true", "1"),
        repeated=request.repeated if isinstance(request, Request) else (),
    )


async def body(request: web.BaseRequest, *, optional: bool = False) -> Any:
    """The decoded body (JSON, YAML or protobuf); {} where an optional one is absent."""
    raw = await request.read()
    if not raw and optional:
        return {}
    media_type = request.content_type if "Content-Type" in request.headers else negotiation.JSON
    if media_type == protobuf.MEDIA_TYPE:
        return _from_protobuf(raw)
    if request.method != "PATCH" and media_type not in MEDIA_TYPES:
        raise errors.unsupported_media_type(MEDIA_TYPES)
    try:
        if media_type.endswith("yaml"):
            found, repeated = bodies.from_yaml(raw)
        else:
            found, repeated = bodies.from_json(raw)
    except bodies.BodyError as error:
        words = "error decoding patch" if request.method == "PATCH" else _UNRECOGNIZED
        words = "error decoding YAML" if media_type == "application/apply-patch+yaml" else words
        raise errors.bad_request(f"{words}: {error}") from error
    if isinstance(request, Request):
        request.repeated = tuple(repeated)
    return found


def _from_protobuf(raw: bytes) -> Document:
    try:
        return protobuf.decode(raw)
    except protobuf.ProtobufError as error:
        refusal = errors.unsupported_media_type(MEDIA_TYPES)
        refusal.message += f" ({error})"
        raise refusal from error
