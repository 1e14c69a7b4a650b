"""Schemas of the built-in kinds: their fields, and how their lists are merged and owned.

Fields come from `fields.json`, a table of what Kubernetes' own API has. Invariant: a list that has keys here
has the same keys in Kubernetes (`x-kubernetes-list-map-keys` for server-side apply,
`x-kubernetes-patch-merge-key` for strategic merge); every other list is atomic.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from shoal_operator.local.apiserver.values import Document

FIELDS: dict[str, dict[str, str]] = json.loads(
    resources.files("shoal_operator.local.apiserver").joinpath("fields.json").read_text()
)
"""Type name to field to type: `[X]` is a list, `{X}` a map, `any` may be anything."""

_KEYS: dict[str, tuple[str, ...]] = {
    "Container.env": ("name",),
    "Container.ports": ("containerPort", "protocol"),
    "Container.volumeDevices": ("devicePath",),
    "Container.volumeMounts": ("mountPath",),
    "EphemeralContainer.env": ("name",),
    "EphemeralContainer.volumeMounts": ("mountPath",),
    "NamespaceStatus.conditions": ("type",),
    "NodeStatus.addresses": ("type",),
    "NodeStatus.conditions": ("type",),
    "ObjectMeta.ownerReferences": ("uid",),
    "PersistentVolumeClaimStatus.conditions": ("type",),
    "PodDisruptionBudgetStatus.conditions": ("type",),
    "PodSpec.containers": ("name",),
    "PodSpec.ephemeralContainers": ("name",),
    "PodSpec.hostAliases": ("ip",),
    "PodSpec.imagePullSecrets": ("name",),
    "PodSpec.initContainers": ("name",),
    "PodSpec.resourceClaims": ("name",),
    "PodSpec.schedulingGates": ("name",),
    "PodSpec.topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "PodSpec.volumes": ("name",),
    "PodStatus.conditions": ("type",),
    "PodStatus.podIPs": ("ip",),
    "ResourceRequirements.claims": ("name",),
    "ServiceAccount.imagePullSecrets": ("name",),
    "ServiceAccount.secrets": ("name",),
    "ServiceSpec.ports": ("port", "protocol"),
    "ServiceStatus.conditions": ("type",),
}
"""Keyed lists. Strategic merge, which came first, uses the first key alone."""

_RETAIN_KEYS = frozenset({"PodSpec.resourceClaims", "PodSpec.volumes"})
"""Lists whose items strategic merge replaces where a patch says which fields to retain."""

_SETS = frozenset({"ObjectMeta.finalizers"})

_ATOMIC_MAPS = frozenset({"PodSpec.nodeSelector", "ServiceSpec.selector"})

_ATOMIC_TYPES = frozenset(
    {
        "ConfigMapKeySelector",
        "LabelSelector",
        "LocalObjectReference",
        "NodeSelector",
        "NodeSelectorTerm",
        "ObjectFieldSelector",
        "ObjectReference",
        "OwnerReference",
        "ResourceFieldSelector",
        "RoleRef",
        "ScopeSelector",
        "SecretKeySelector",
        "Subject",
        "TypedLocalObjectReference",
    }
)
"""Types whose fields have one owner together."""

STANDING: dict[str, frozenset[tuple[str, ...]]] = {
    "Event": frozenset({("f:source",), ("f:deprecatedSource",)}),
    "NetworkPolicy": frozenset({("f:spec",), ("f:spec", "f:podSelector")}),
    "PersistentVolumeClaim": frozenset({("f:spec",), ("f:spec", "f:resources")}),
    "Pod": frozenset({("f:spec",), ("f:spec", "f:containers")}),
    "CustomResourceDefinition": frozenset({("f:spec",), ("f:spec", "f:names")}),
}
"""Kind to what each of its objects has from the start, because Go's types always write it."""
STANDING_EVERYWHERE = frozenset({("f:spec",), ("f:status",)})

QUANTITIES = frozenset(
    {
        "EmptyDirVolumeSource.sizeLimit",
        "NodeStatus.allocatable",
        "NodeStatus.capacity",
        "PersistentVolumeClaimStatus.capacity",
        "PodSpec.overhead",
        "ResourceFieldSelector.divisor",
        "ResourceQuotaSpec.hard",
        "ResourceQuotaStatus.hard",
        "ResourceQuotaStatus.used",
        "ResourceRequirements.limits",
        "ResourceRequirements.requests",
        "VolumeResourceRequirements.limits",
        "VolumeResourceRequirements.requests",
    }
)
"""Amounts; written as numbers they are taken as text, as the real server does."""

OPEN: Document = {"x-kubernetes-preserve-unknown-fields": True}


@cache
def schema_of(name: str) -> Document:
    """The schema of a type of the table; shared, never to be changed."""
    properties = {field: _field(f"{name}.{field}", kind) for field, kind in FIELDS[name].items()}
    return {"type": "object", "properties": properties}


def _field(path: str, kind: str) -> Document:
    schema = _typed(kind, "quantity" if path in QUANTITIES else "")
    if path in _KEYS:
        strategy = "merge,retainKeys" if path in _RETAIN_KEYS else "merge"
        schema |= {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(_KEYS[path]),
            "x-kubernetes-patch-strategy": strategy,
            "x-kubernetes-patch-merge-key": _KEYS[path][0],
        }
    if path in _SETS:
        schema |= {"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}
    if path in _ATOMIC_MAPS:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def _typed(kind: str, form: str) -> Document:
    if kind.startswith("["):
        return {"type": "array", "items": _typed(kind[1:-1], form)}
    if kind.startswith("{"):
        return {"type": "object", "additionalProperties": _typed(kind[1:-1], form)}
    if kind == "any":
        return dict(OPEN)
    if kind in FIELDS:
        atomic = {"x-kubernetes-map-type": "atomic"} if kind in _ATOMIC_TYPES else {}
        return schema_of(kind) | atomic
    return {"type": kind, "format": form} if form else {"type": kind}


_DEFINITION: Document = {
    "type": "object",
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", **OPEN},
        "spec": {"type": "object", **OPEN},
        "status": {"type": "object", **OPEN},
    },
}
"""A definition's own rules stand in `crd`."""

_CLUSTER_ROLE: Document = {
    "type": "object",
    "properties": {**schema_of("Role")["properties"], "aggregationRule": {"type": "object", **OPEN}},
}

BUILTIN_SCHEMAS: dict[str, Document] = {
    "ClusterRole": _CLUSTER_ROLE,
    "ClusterRoleBinding": schema_of("RoleBinding"),
    "CustomResourceDefinition": _DEFINITION,
    **{
        name: schema_of(name)
        for name in (
            "ConfigMap",
            "Event",
            "Lease",
            "Namespace",
            "NetworkPolicy",
            "Node",
            "PersistentVolumeClaim",
            "Pod",
            "PodDisruptionBudget",
            "ResourceQuota",
            "Role",
            "RoleBinding",
            "Secret",
            "Service",
            "ServiceAccount",
        )
    },
}
"""By kind; what both Events are stored as is the core one."""


def standing(kind: str, *, custom: bool) -> frozenset[tuple[str, ...]]:
    """The maps and lists that each object of a kind has from the start."""
    return frozenset() if custom else STANDING_EVERYWHERE | STANDING.get(kind, frozenset())
