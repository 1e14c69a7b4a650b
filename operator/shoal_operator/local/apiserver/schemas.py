"""Schemas of the built-in kinds: not their every field, but how their lists are merged and owned.

Invariant: a list that has keys here has the same keys in Kubernetes (`x-kubernetes-list-map-keys` for
server-side apply, `x-kubernetes-patch-merge-key` for strategic merge); a field that is not named here is
kept as it is, its lists being atomic.
"""

from __future__ import annotations

from shoal_operator.local.apiserver.values import Document

_OPEN = {"x-kubernetes-preserve-unknown-fields": True}


def _object(**properties: Document) -> Document:
    return {"type": "object", "properties": properties} | _OPEN


def _list_of(item: Document, *keys: str, merge_key: str = "") -> Document:
    """A list whose items are told apart by `keys`; strategic merge uses one of them."""
    return {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": list(keys),
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": merge_key or keys[0],
    }


_STRING: Document = {"type": "string"}
_STRING_SET: Document = {
    "type": "array",
    "items": _STRING,
    "x-kubernetes-list-type": "set",
    "x-kubernetes-patch-strategy": "merge",
}
_CONDITIONS = _list_of(_object(), "type")
_ATOMIC_MAP: Document = {"type": "object", "additionalProperties": _STRING, "x-kubernetes-map-type": "atomic"}

METADATA: Document = _object(
    ownerReferences=_list_of(_object(), "uid"),
    finalizers=_STRING_SET,
)

_NAMED = _list_of(_object(), "name")


def _container() -> Document:
    return _object(
        name=_STRING,
        image=_STRING,
        env=_list_of(_object(), "name"),
        ports=_list_of(_object(), "containerPort", "protocol"),
        volumeMounts=_list_of(_object(), "mountPath"),
        volumeDevices=_list_of(_object(), "devicePath"),
        resources=_object(claims=_NAMED),
    )


_CONTAINERS = _list_of(_container(), "name")

POD_SPEC: Document = _object(
    containers=_CONTAINERS,
    initContainers=_CONTAINERS,
    ephemeralContainers=_CONTAINERS,
    volumes=_list_of(_object(), "name") | {"x-kubernetes-patch-strategy": "merge,retainKeys"},
    imagePullSecrets=_NAMED,
    hostAliases=_list_of(_object(), "ip"),
    resourceClaims=_list_of(_object(), "name") | {"x-kubernetes-patch-strategy": "merge,retainKeys"},
    schedulingGates=_NAMED,
    topologySpreadConstraints=_list_of(_object(), "topologyKey", "whenUnsatisfiable"),
    nodeSelector=_ATOMIC_MAP,
    affinity=_object(),
    securityContext=_object(),
)

_POD_STATUS = _object(
    conditions=_CONDITIONS,
    podIPs=_list_of(_object(), "ip"),
    hostIPs={"type": "array", "items": _object(), "x-kubernetes-list-type": "atomic"},
)

_SERVICE_SPEC = _object(
    ports=_list_of(_object(), "port", "protocol"),
    selector=_ATOMIC_MAP,
)

_NODE_STATUS = _object(
    conditions=_CONDITIONS,
    addresses=_list_of(_object(), "type") | {"x-kubernetes-patch-strategy": "merge"},
)


def _kind(**properties: Document) -> Document:
    return _object(apiVersion=_STRING, kind=_STRING, metadata=METADATA, **properties)


BUILTIN_SCHEMAS: dict[str, Document] = {
    "ConfigMap": _kind(data=_object(), binaryData=_object()),
    "CustomResourceDefinition": _kind(spec=_object(), status=_object(conditions=_CONDITIONS)),
    "Event": _kind(),
    "Lease": _kind(spec=_object()),
    "Namespace": _kind(spec=_object(), status=_object(conditions=_CONDITIONS)),
    "NetworkPolicy": _kind(spec=_object()),
    "Node": _kind(spec=_object(taints={"type": "array"}), status=_NODE_STATUS),
    "PersistentVolumeClaim": _kind(spec=_object(), status=_object(conditions=_CONDITIONS)),
    "Pod": _kind(spec=POD_SPEC, status=_POD_STATUS),
    "PodDisruptionBudget": _kind(spec=_object(), status=_object(conditions=_CONDITIONS)),
    "Role": _kind(rules={"type": "array", "items": _object()}),
    "RoleBinding": _kind(subjects={"type": "array", "items": _object()}, roleRef=_object()),
    "Secret": _kind(data=_object(), type=_STRING),
    "Service": _kind(spec=_SERVICE_SPEC, status=_object(conditions=_CONDITIONS)),
    "ServiceAccount": _kind(secrets=_NAMED, imagePullSecrets=_NAMED),
}
