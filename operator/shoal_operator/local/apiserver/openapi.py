"""OpenAPI v3 documents: what `kubectl explain`, `apply` and their validation read.

Invariant: every served kind has a schema under its group version with its group, version and kind attached,
and every writable path says that it takes `dryRun` and `fieldValidation`, so that kubectl leaves validation to
the server.
"""

from __future__ import annotations

import hashlib
from typing import Any

from shoal_operator.local.apiserver import openapitypes
from shoal_operator.local.apiserver.kinds import Registry, Resource
from shoal_operator.local.apiserver.schemas import FIELDS
from shoal_operator.local.apiserver.values import Document, encode

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_STRING = {"type": "string"}
_STRINGS = {"type": "object", "additionalProperties": _STRING}

_OBJECT_META: Document = {
    "description": "ObjectMeta is metadata that all persisted resources must have.",
    "type": "object",
    "properties": {
        "annotations": _STRINGS,
        "creationTimestamp": {"type": "string", "format": "date-time"},
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "deletionTimestamp": {"type": "string", "format": "date-time"},
        "finalizers": {
            "type": "array",
            "items": _STRING,
            "x-kubernetes-list-type": "set",
            "x-kubernetes-patch-strategy": "merge",
        },
        "generateName": _STRING,
        "generation": {"type": "integer", "format": "int64"},
        "labels": _STRINGS,
        "managedFields": {"type": "array", "items": {"type": "object"}},
        "name": _STRING,
        "namespace": _STRING,
        "ownerReferences": {
            "type": "array",
            "items": {"type": "object"},
            "x-kubernetes-list-map-keys": ["uid"],
            "x-kubernetes-list-type": "map",
            "x-kubernetes-patch-merge-key": "uid",
            "x-kubernetes-patch-strategy": "merge",
        },
        "resourceVersion": _STRING,
        "selfLink": _STRING,
        "uid": _STRING,
    },
}


def answer(registry: Registry, path: str) -> Document | None:
    """What stands at an OpenAPI path; None where nothing does."""
    match path.split("/")[1:]:
        case ["openapi", "v3"]:
            return index(registry)
        case ["openapi", "v3", "api", version]:
            return document(registry, "", version)
        case ["openapi", "v3", "apis", group, version]:
            return document(registry, group, version)
    return None


def index(registry: Registry) -> Document:
    """/openapi/v3: where the document of each group version is; the hash changes with its content."""
    paths = {}
    for group, version in registry.group_versions():
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        digest = hashlib.sha256(encode(document(registry, group, version))).hexdigest()[:32].upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def document(registry: Registry, group: str, version: str) -> Document | None:
    """The OpenAPI document of one group version; None where it does not exist."""
    resources = registry.in_group_version(group, version)
    if not resources:
        return None
    schemas: Document = {_META: _OBJECT_META}
    paths: Document = {}
    for resource in resources:
        schemas[_schema_name(resource)] = _schema(resource)
        schemas |= {_TYPES + name: openapitypes.schema(name) for name in _types_of(resource)}
        paths |= _paths(resource)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Shoal's embedded Kubernetes API", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _schema_name(resource: Resource) -> str:
    domain = ".".join(reversed(resource.group.split("."))) if resource.group else "io.k8s.api.core"
    return f"{domain}.{resource.version}.{resource.kind}"


_TYPES = openapitypes.PREFIX


def _types_of(resource: Resource) -> list[str]:
    return [] if resource.custom else sorted(openapitypes.used_by(resource.kind) - {"ObjectMeta"})


def _schema(resource: Resource) -> Document:
    if not resource.custom and resource.kind in FIELDS:
        schema = openapitypes.schema(resource.kind)
    else:
        schema = dict(resource.schema) or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = dict(schema.get("properties") or {})
    properties["apiVersion"] = _STRING
    properties["kind"] = _STRING
    properties["metadata"] = {"allOf": [{"$ref": f"#/components/schemas/{_META}"}]}
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return schema | {"properties": properties, "x-kubernetes-group-version-kind": [kind]}


def _paths(resource: Resource) -> Document:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{resource.path}{scope}/{resource.plural}"
    paths = {collection: {"post": _operation(resource, "post")}}
    if "patch" in resource.verbs:
        paths[f"{collection}/{{name}}"] = {
            verb: _operation(resource, verb) for verb in ("get", "put", "patch", "delete")
        }
    return paths


_MEDIA_TYPES = {
    "patch": ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"),
    "post": ("application/json",),
    "put": ("application/json",),
}


def _operation(resource: Resource, verb: str) -> Document:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    operation: Document = {
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind": kind,
        "x-kubernetes-action": verb,
    }
    if verb in _MEDIA_TYPES:
        operation["parameters"] = [_parameter(name) for name in ("dryRun", "fieldManager", "fieldValidation")]
        content: dict[str, Any] = {media: {"schema": {"type": "object"}} for media in _MEDIA_TYPES[verb]}
        operation["requestBody"] = {"content": content, "required": True}
    return operation


def _parameter(name: str) -> Document:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
