"""Bodies that the scenarios share. Invariant: functions return new documents, so a scenario may change its own."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]

CONFIGMAPS = "/api/v1/namespaces/{ns}/configmaps"
PODS = "/api/v1/namespaces/{ns}/pods"
GADGETS = "/apis/fidelity.example.com/v1/namespaces/{ns}/gadgets"


def configmap(name: str = "a", /, *, labels: dict[str, str] | None = None, **data: Any) -> Document:
    """A ConfigMap with `data`."""
    meta: Document = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta} | ({"data": data} if data else {})


def pod(name: str = "a", /, **spec: Any) -> Document:
    """A pod of one container; `spec` adds to its spec or replaces parts of it."""
    containers = [{"name": "main", "image": "example.com/image:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"containers": containers} | spec,
    }


def thing(api_version: str, kind: str, name: str = "a", /, **fields: Any) -> Document:
    """An object of any kind with `fields` at its root."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}} | fields


def gadget(name: str = "a", /, **spec: Any) -> Document:
    """An object of the kind that `definition` defines."""
    return thing("fidelity.example.com/v1", "Gadget", name, spec={"size": "Small"} | spec)


_CONDITIONS: Document = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status"],
        "properties": {"type": {"type": "string"}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]}},
    },
}

_SPEC: Document = {
    "type": "object",
    "description": "What the gadget shall be.",
    "required": ["size"],
    "x-kubernetes-validations": [
        {
            "rule": "!has(self.min) || !has(self.max) || self.min <= self.max",
            "message": "min must not exceed max",
            "fieldPath": ".min",
        },
        {
            "rule": "!has(self.max) || self.max < 50",
            "messageExpression": "self.max > 60 ? 'max is far too big' : 'max is too big'",
            "reason": "FieldValueForbidden",
        },
    ],
    "properties": {
        "size": {"type": "string", "enum": ["Small", "Large"], "description": "How big."},
        "fixed": {
            "type": "string",
            "maxLength": 20,
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed cannot change"}],
        },
        "replicas": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 1},
        "min": {"type": "integer"},
        "max": {"type": "integer"},
        "ratio": {"type": "number", "multipleOf": 0.5},
        "name": {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z]+$"},
        "when": {"type": "string", "format": "date-time"},
        "port": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
        "tags": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "items": {"type": "string"},
            "x-kubernetes-list-type": "set",
        },
        "groups": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 2}},
            },
        },
        "plain": {"type": "array", "items": {"type": "integer"}},
        "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "options": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
        "nested": {"type": "object", "properties": {"deep": {"type": "boolean", "default": True}}},
    },
}


def definition() -> Document:
    """The CRD of gadgets."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "selectableFields": [{"jsonPath": ".spec.size"}],
        "additionalPrinterColumns": [
            {"name": "Size", "type": "string", "jsonPath": ".spec.size", "description": "How big."},
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": "A gadget.",
                "properties": {
                    "spec": _SPEC,
                    "status": {
                        "type": "object",
                        "properties": {"replicas": {"type": "integer"}, "conditions": _CONDITIONS},
                    },
                },
            }
        },
    }
    return crd("gadgets", "Gadget", [version], shortNames=["gd"], categories=["all"])


def crd(plural: str, kind: str, versions: list[Document], /, scope: str = "Namespaced", **names: Any) -> Document:
    """A CRD of the group fidelity.example.com; `names` adds to its names."""
    group = "fidelity.example.com"
    spec = {
        "group": group,
        "scope": scope,
        "names": {"plural": plural, "kind": kind} | names,
        "versions": versions,
    }
    return thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}", spec=spec)
