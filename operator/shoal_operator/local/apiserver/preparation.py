"""From what a client sent to what may be stored: unknown fields, defaults, validation.

Invariant: nothing reaches the store but through `prepare`; what it returns satisfies the kind's schema and rules.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.local.apiserver import admission, cel, crd, errors, metadata
from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.context import Context, WriteOptions
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.kinds import CRD_COLLECTION, Resource
from shoal_operator.local.apiserver.schemas import schema_of
from shoal_operator.local.apiserver.values import MISSING, Document

_OBJECT_META = schema_of("ObjectMeta")


def check_envelope(resource: Resource, body: Any, namespace: str | None, name: str) -> None:
    """The body is an object of this kind, and of the namespace and name that the path says.

    Fills in what the path implies (namespace, name); StatusError 400 for a contradiction.
    """
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: the body must be a JSON object")
    for field in ("kind", "apiVersion"):
        if not body.get(field):
            shown = "Kind" if field == "kind" else field
            raise errors.bad_request(f"Object '{shown}' is missing in the request's body")
    if (body["apiVersion"], body["kind"]) != (resource.api_version, resource.kind):
        text = (
            f"the API version and kind in the data ({body['apiVersion']}, Kind={body['kind']}) do not match "
            f"the expected ones ({resource.api_version}, Kind={resource.kind})"
        )
        raise errors.bad_request(text)
    meta = body.get("metadata")
    if meta is None:
        meta = body["metadata"] = {}
    if not isinstance(meta, dict):
        raise errors.bad_request("metadata must be an object")
    if resource.namespaced:
        if meta.setdefault("namespace", namespace) != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    else:
        meta.pop("namespace", None)
    if name and meta.setdefault("name", name) != name:
        text = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        raise errors.bad_request(text)


def refuse_unknown(resource: Resource, document: Document, options: WriteOptions) -> None:
    """Prune fields nobody knows; refuse, warn or stay silent about them as the client asked."""
    unknown = metadata.unknown_fields(document)
    if resource.schema:
        unknown += schemas.prune(resource.schema, document)
    if not unknown or options.field_validation == "Ignore":
        return
    texts = [f'unknown field "{path}"' for path in unknown]
    if options.field_validation == "Strict":
        text = (
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {', '.join(texts)}"
        )
        raise errors.bad_request(text)
    options.warnings.extend(texts)


def prepare(
    context: Context, resource: Resource, document: Document, old: Document | None, options: WriteOptions
) -> None:
    """Prune, default and validate `document` in place; StatusError 422 with every problem."""
    normalise(resource, document)
    refuse_unknown(resource, document, options)
    meta = document["metadata"]
    for empty in ("labels", "annotations", "finalizers", "ownerReferences"):
        if empty in meta and not meta[empty]:
            del meta[empty]
    _refuse_wrong_types(resource, document)
    problems = metadata.validate(resource, document)
    problems += _kind_problems(context, resource, document, old)
    if problems:
        raise errors.invalid(resource.qualified_kind, meta.get("name", ""), problems)


def normalise(resource: Resource, document: Document) -> None:
    """Read metadata, and all of a built-in object, as Go's decoder would (see `schema.normalise`), in place."""
    _replace(document["metadata"], schemas.normalise(_OBJECT_META, document["metadata"]))
    if _decoded_by_go(resource):
        fields = {name: value for name, value in document.items() if name != "metadata"}
        _replace(document, schemas.normalise(resource.schema, fields) | {"metadata": document["metadata"]})


def _replace(document: Document, content: Document) -> None:
    document.clear()
    document.update(content)


def _decoded_by_go(resource: Resource) -> bool:
    return not resource.custom and resource.collection != CRD_COLLECTION


def _refuse_wrong_types(resource: Resource, document: Document) -> None:
    """An object that Go could not decode is a bad request, not an invalid object."""
    found = schemas.validate(_OBJECT_META, document["metadata"], "metadata")
    if _decoded_by_go(resource):
        fields = {name: value for name, value in document.items() if name != "metadata"}
        found += schemas.validate(resource.schema, fields)
    problems = [p for p in found if p.reason == "FieldValueTypeInvalid" or "of type quantity" in p.message]
    if problems:
        words = "; ".join(problem.text() for problem in problems)
        text = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {words}'
        raise errors.bad_request(text)


def _kind_problems(context: Context, resource: Resource, document: Document, old: Document | None) -> list[FieldError]:
    if resource.custom:
        return _custom_problems(resource, document, old)
    if resource.collection == CRD_COLLECTION:
        crd.default_definition(document)
        problems = crd.validate_definition(document, old, context.registry)
        if not problems:
            crd.set_status(document, context.now())
        return problems
    admission.apply_defaults(resource, document)
    return admission.validate(resource, document, old)


def _custom_problems(resource: Resource, document: Document, old: Document | None) -> list[FieldError]:
    schemas.apply_defaults(resource.schema, document)
    problems = schemas.validate(resource.schema, document)
    # Rules run only on values that have the right shape, as in the real server.
    if not problems and resource.rules is not None:
        problems = cel.evaluate(resource.rules, document, MISSING if old is None else old)
    return problems
