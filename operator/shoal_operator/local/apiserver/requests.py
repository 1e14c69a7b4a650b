"""What a request says beside its path: body, options, numbers.

Invariant: whatever is wrong with it is a StatusError of the client's making, never an exception of ours.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from aiohttp import web

from shoal_operator.local.apiserver import errors, negotiation, protobuf
from shoal_operator.local.apiserver.context import WriteOptions
from shoal_operator.local.apiserver.values import Document

BODY_LIMIT_BYTES = 1024 * 1024
MEDIA_TYPES = (negotiation.JSON, "application/yaml")


def integer(request: web.BaseRequest, name: str) -> int:
    """A whole number from the query, 0 where it is absent."""
    text = request.query.get(name, "")
    if text and not text.isdigit():
        raise errors.bad_request(f"{name} must be a whole number, not {text!r}")
    return int(text) if text else 0


def write_options(request: web.BaseRequest) -> WriteOptions:
    """The options of a create, update or patch; the manager is the client's name where none is given."""
    query = request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        problem = errors.not_supported("dryRun", [dry_run], ["All"])
        raise errors.invalid("PatchOptions.meta.k8s.io", "", [problem])
    validation = query.get("fieldValidation") or "Warn"
    if validation not in ("Ignore", "Strict", "Warn"):
        problem = errors.not_supported("fieldValidation", validation, ("Ignore", "Strict", "Warn"))
        raise errors.invalid("CreateOptions.meta.k8s.io", "", [problem])
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return WriteOptions(
        field_manager=(query.get("fieldManager") or agent)[:128],
        dry_run=dry_run == "All",
        field_validation=validation,
        force=query.get("force") in ("true", "1"),
    )


async def body(request: web.BaseRequest, *, optional: bool = False) -> Any:
    """The decoded body (JSON, YAML or protobuf); {} where an optional one is absent."""
    raw = await request.read()
    if not raw and optional:
        return {}
    media_type = request.content_type
    if media_type.endswith("yaml") and not raw.lstrip().startswith((b"{", b"[")):
        return _from_yaml(raw)
    if media_type == protobuf.MEDIA_TYPE:
        return _from_protobuf(raw)
    if "cbor" in media_type:
        raise errors.unsupported_media_type(MEDIA_TYPES)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise errors.bad_request(f"the object provided is unrecognized: json parse error: {error}") from error


def _from_protobuf(raw: bytes) -> Document:
    try:
        return protobuf.decode(raw)
    except protobuf.ProtobufError as error:
        refusal = errors.unsupported_media_type(MEDIA_TYPES)
        refusal.message += f" ({error})"
        raise refusal from error


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: a date stays the text it is."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in held if tag != "tag:yaml.org,2002:timestamp"]
    for first, held in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _from_yaml(raw: bytes) -> Any:
    loader = _Loader(raw)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise errors.bad_request(f"error decoding YAML: {error}") from error
    finally:
        loader.dispose()
