"""From what a client sent to what may be stored: unknown fields, defaults, validation.

Invariant: nothing reaches the store but through `prepare`; what it returns satisfies the kind's schema and rules.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.local.apiserver import admission, cel, crd, decoding, errors, metadata
from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.context import Context, WriteOptions
from shoal_operator.local.apiserver.errors import FieldError, StatusError
from shoal_operator.local.apiserver.kinds import CRD_COLLECTION, Resource
from shoal_operator.local.apiserver.schemas import FIELDS, schema_of
from shoal_operator.local.apiserver.values import MISSING, Document, dig

_OBJECT_META = schema_of("ObjectMeta")


def check_envelope(resource: Resource, body: Any, namespace: str | None, name: str) -> None:
    """The body is an object of this kind, and of the namespace and name that the path says.

    Fills in what the path implies (namespace, name); StatusError 400 for a contradiction.
    """
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: the body must be a JSON object")
    _check_kind(resource, body)
    meta = body.get("metadata")
    if meta is None:
        meta = body["metadata"] = {}
    if not isinstance(meta, dict):
        words = decoding.mismatch("ConfigMap", {"metadata": meta}) or ""
        raise undecodable(resource, words.replace("ConfigMap.", f"{resource.kind}."))
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


def _check_kind(resource: Resource, body: Document) -> None:
    """A built-in kind may be left out, as the path says it; one that is said must be right."""
    if not resource.custom:
        body["kind"] = body.get("kind") or resource.kind
        body["apiVersion"] = body.get("apiVersion") or resource.api_version
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


def undecodable(resource: Resource, words: str) -> StatusError:
    """400 for an object that cannot be read as its kind."""
    return errors.bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {words}'
    )


def refuse_unknown(resource: Resource, document: Document, options: WriteOptions) -> None:
    """Prune fields nobody knows; refuse, warn or stay silent about them as the client asked."""
    unknown = metadata.unknown_fields(document)
    if resource.schema:
        unknown += schemas.prune(resource.schema, document)
    texts = [*options.repeated, *(f'unknown field "{path}"' for path in unknown)]
    if not texts or options.field_validation == "Ignore":
        return
    if options.field_validation == "Strict":
        raise undecodable(resource, f"strict decoding error: {', '.join(texts)}")
    options.warnings.extend(texts)


def prepare(
    context: Context, resource: Resource, document: Document, old: Document | None, options: WriteOptions
) -> None:
    """Decode, default and validate `document` in place: what an update does at once."""
    decode(resource, document, options)
    set_defaults(resource, document)
    admission.admit(resource, document)
    validate(context, resource, document, old)


def decode(resource: Resource, document: Document, options: WriteOptions) -> None:
    """Read a document as its kind: unknown fields, wrong types; StatusError 400."""
    _refuse_wrong_types(resource, document)
    normalise(resource, document)
    refuse_unknown(resource, document, options)
    meta = document["metadata"]
    for empty in ("labels", "annotations", "finalizers", "ownerReferences"):
        if empty in meta and not meta[empty]:
            del meta[empty]


def set_defaults(resource: Resource, document: Document) -> None:
    """What a kind's own types fill in, which counts as the writer's."""
    if resource.custom:
        schemas.apply_defaults(resource.schema, document)
    elif resource.collection == CRD_COLLECTION:
        crd.default_definition(document)
    else:
        admission.apply_defaults(resource, document)


def validate(context: Context, resource: Resource, document: Document, old: Document | None) -> None:
    """StatusError 422 with every problem."""
    problems = metadata.validate(resource, document)
    problems += _kind_problems(context, resource, document, old)
    if problems:
        raise errors.invalid(resource.qualified_kind, document["metadata"].get("name", ""), problems)


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
    if _decoded_by_go(resource) and resource.kind in FIELDS:
        words = decoding.mismatch(resource.kind, document)
    else:
        words = decoding.mismatch("ConfigMap", {"metadata": document["metadata"]})
    if words is None and resource.collection == "secrets":
        words = admission.undecodable_secret(document)
    if words is not None:
        raise undecodable(resource, words)


def _kind_problems(context: Context, resource: Resource, document: Document, old: Document | None) -> list[FieldError]:
    if resource.custom:
        return _custom_problems(resource, document, old)
    if resource.collection == CRD_COLLECTION:
        problems = crd.validate_definition(document, old, context.registry)
        if not problems:
            crd.set_status(document, context.now())
        return problems
    return admission.validate(resource, document, old)


def _custom_problems(resource: Resource, document: Document, old: Document | None) -> list[FieldError]:
    problems = schemas.validate(resource.schema, document)
    problems += _scale_problems(resource, document)
    if resource.rules is None:
        return problems
    # Rules run only on values that have the right shape, as in the real server.
    if any(_hides_rules(problem) for problem in problems):
        return [*problems, FieldError("<nil>", "FieldValueInvalid", f"Invalid value: null: {_RULES_NOT_RUN}")]
    return problems + cel.evaluate(resource.rules, document, MISSING if old is None else old)


_SHAPE_REASONS = frozenset(
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"]
)
"""What keeps the rules from being run."""


def _hides_rules(problem: FieldError) -> bool:
    return problem.reason in _SHAPE_REASONS or " in body must be of type " in problem.message


_RULES_NOT_RUN = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


def _scale_problems(resource: Resource, document: Document) -> list[FieldError]:
    """The numbers that /scale shows must be there and not below zero."""
    problems = []
    for name in ("specReplicasPath", "statusReplicasPath") if resource.scale else ():
        path = (resource.scale or {}).get(name, "")
        value = dig(document, *path.strip(".").split("."))
        if isinstance(value, int) and value < 0:
            problems.append(errors.invalid_value(path, value, "should be a non-negative integer"))
    return problems
