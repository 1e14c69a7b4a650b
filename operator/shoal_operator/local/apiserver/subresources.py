"""Subresources that are more than a part of their object: scale, binding, finalize (`eviction` has its own module).

Invariant: each is an ordinary write in the end and keeps every rule of `writes` and `deletion`.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.local.apiserver import errors, jsonpath, patches, reads, writes
from shoal_operator.local.apiserver.context import Context, WriteOptions
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.values import Document, clone, dig


def _fields(path: str) -> list[str]:
    return [name for kind, name in jsonpath.parse(path) if kind == "field"]


def read_scale(context: Context, resource: Resource, namespace: str | None, name: str) -> Document:
    """The autoscaling/v1 Scale of a custom object."""
    declared = _declared_scale(resource)
    shown = reads.get_object(context, resource, namespace, name)
    meta = shown["metadata"]
    scale: Document = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: meta[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if key in meta
        },
        "spec": {"replicas": dig(shown, *_fields(declared["specReplicasPath"]), default=0)},
        "status": {"replicas": dig(shown, *_fields(declared["statusReplicasPath"]), default=0)},
    }
    selector = declared.get("labelSelectorPath")
    if selector:
        scale["status"]["selector"] = dig(shown, *_fields(selector), default="")
    return scale


def _declared_scale(resource: Resource) -> Document:
    if resource.scale is None:
        raise errors.no_such_path()
    return resource.scale


def write_scale(
    context: Context,
    resource: Resource,
    namespace: str | None,
    name: str,
    change: Any,
    media_type: str | None,
    options: WriteOptions,
) -> Document:
    """PUT (`media_type` None) or PATCH of the Scale: sets the replica count and nothing else."""
    declared = _declared_scale(resource)
    current = read_scale(context, resource, namespace, name)
    try:
        if media_type is None:
            wanted = change
        elif media_type == writes.JSON_PATCH:
            wanted = patches.json_patch(current, change)
        else:
            wanted = patches.merge_patch(current, change)
    except patches.PatchError as error:
        raise errors.bad_request(str(error)) from error
    replicas = dig(wanted, "spec", "replicas", default=0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        problem = errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("Scale.autoscaling", name, [problem])
    version = dig(wanted, "metadata", "resourceVersion")
    if version and version != current["metadata"]["resourceVersion"]:
        raise errors.conflict(resource.group_resource, name, errors.STALE)
    update: Document = _nested(_fields(declared["specReplicasPath"]), replicas)
    writes.patch(context, resource, namespace, name, writes.MERGE_PATCH, update, options, "scale")
    return read_scale(context, resource, namespace, name)


def _nested(names: list[str], value: Any) -> Document:
    nested: Any = value
    for name in reversed(names):
        nested = {name: nested}
    return dict(nested)


def bind_pod(context: Context, resource: Resource, namespace: str | None, name: str, body: Any) -> Document:
    """POST pods/NAME/binding: give a pod its node, once."""
    node = dig(body, "target", "name")
    if not node:
        raise errors.invalid("Binding", name, [errors.required("target.name")])
    key = context.key(resource, namespace, name)
    pod = context.store.get(key)
    if pod is None:
        raise errors.not_found("pods", name)
    if pod["spec"].get("nodeName"):
        detail = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
        raise errors.conflict("pods/binding", name, detail)
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    bound = clone(pod)
    bound["spec"]["nodeName"] = node
    conditions = [c for c in dig(bound, "status", "conditions", default=[]) if c["type"] != "PodScheduled"]
    scheduled = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": context.now(),
    }
    bound["status"] = bound.get("status", {}) | {"conditions": [*conditions, scheduled]}
    writes.commit(context, key, bound)
    return success() | {"code": 201}


def finalize_namespace(context: Context, resource: Resource, name: str, body: Any) -> Document:
    """PUT namespaces/NAME/finalize: the only way to change a namespace's `spec.finalizers`."""
    key = context.key(resource, None, name)
    namespace = context.store.get(key)
    if namespace is None:
        raise errors.not_found("namespaces", name)
    new = clone(namespace)
    new["spec"]["finalizers"] = list(dig(body, "spec", "finalizers", default=[]) or [])
    writes.commit(context, key, new)
    return dict(new)


def success(details: Document | None = None) -> Document:
    """metav1.Status of something that worked."""
    status: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return status | ({"details": details} if details else {})
