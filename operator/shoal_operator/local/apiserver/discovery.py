"""What the server says it offers: groups, versions, resources.

Invariant: derived from the registry at the moment of the request; both forms (one document per group version,
and the aggregated one) say the same.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.local.apiserver.kinds import Registry, Resource
from shoal_operator.local.apiserver.values import Document

VERSION: Document = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+shoal",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
"""The API level that is modelled; kubectl compares it with its own."""

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_SUBRESOURCE_VERBS: dict[str, tuple[str, ...]] = {
    "binding": ("create",),
    "eviction": ("create",),
    "finalize": ("update",),
    "log": ("get",),
    "scale": ("get", "patch", "update"),
    "status": ("get", "patch", "update"),
}
_SUBRESOURCE_KINDS = {
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "scale": ("autoscaling", "v1", "Scale"),
}


def answer(registry: Registry, path: str) -> Document | None:
    """What stands at a discovery path below the two roots; None where nothing does."""
    match path.split("/")[1:]:
        case [""]:
            return {"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]}
        case ["version"]:
            return VERSION
        case ["api", version]:
            return resource_list(registry, "", version)
        case ["apis", name]:
            return group(registry, name)
        case ["apis", name, version]:
            return resource_list(registry, name, version)
    return None


def api_versions() -> Document:
    """/api"""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list(registry: Registry) -> Document:
    """/apis"""
    names = sorted({group for group, _ in registry.group_versions() if group})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(registry, name) for name in names]}


def group(registry: Registry, name: str) -> Document | None:
    """/apis/GROUP; None where the group does not exist."""
    found = _group(registry, name)
    return {"kind": "APIGroup", "apiVersion": "v1"} | found if found["versions"] else None


def _group(registry: Registry, name: str) -> Document:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for held, version in registry.group_versions()
        if held == name
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[-1] if versions else None}


def resource_list(registry: Registry, group_name: str, version: str) -> Document | None:
    """/api/v1 and /apis/GROUP/VERSION; None where the group version does not exist."""
    resources = registry.in_group_version(group_name, version)
    if not resources:
        return None
    listed: list[Document] = []
    for resource in resources:
        listed.append(_resource(resource))
        listed += [_subresource(resource, name) for name in sorted(resource.subresources)]
    api_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": listed}


def _resource(resource: Resource) -> Document:
    entry: Document = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    return entry | _aliases(resource)


def _aliases(resource: Resource) -> Document:
    aliases: Document = {}
    if resource.short_names:
        aliases["shortNames"] = list(resource.short_names)
    if resource.categories:
        aliases["categories"] = list(resource.categories)
    return aliases


def _subresource(resource: Resource, name: str) -> Document:
    entry: Document = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(_SUBRESOURCE_VERBS[name]),
    }
    if name in _SUBRESOURCE_KINDS:
        entry["group"], entry["version"], entry["kind"] = _SUBRESOURCE_KINDS[name]
    return entry


def aggregated(registry: Registry, *, core: bool) -> Document:
    """All groups in one document (apidiscovery.k8s.io/v2): the core group for /api, the others for /apis."""
    groups: dict[str, list[str]] = {}
    for name, version in registry.group_versions():
        if (name == "") is core:
            groups.setdefault(name, []).append(version)
    items: list[Any] = [
        {
            "metadata": {"name": name, "creationTimestamp": None},
            "versions": [
                {
                    "version": version,
                    "freshness": "Current",
                    "resources": [_aggregated(r) for r in registry.in_group_version(name, version)],
                }
                for version in versions
            ],
        }
        for name, versions in groups.items()
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _aggregated(resource: Resource) -> Document:
    own = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: Document = {
        "resource": resource.plural,
        "responseKind": own,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    subresources = [
        {
            "subresource": name,
            "responseKind": (
                dict(zip(("group", "version", "kind"), _SUBRESOURCE_KINDS[name], strict=True))
                if name in _SUBRESOURCE_KINDS
                else own
            ),
            "verbs": list(_SUBRESOURCE_VERBS[name]),
        }
        for name in sorted(resource.subresources)
    ]
    return entry | _aliases(resource) | ({"subresources": subresources} if subresources else {})
