"""Tables: the columns that `kubectl get` shows.

Invariant: a row has exactly as many cells as the table has columns, whatever the object lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from shoal_operator.local.apiserver import jsonpath
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.values import Document, canonical, dig, parse_timestamp

Cells = list[Any]
CellMaker = Callable[[Document, datetime], Cells]


def age(text: Any, now: datetime) -> str:
    """How long ago, as kubectl writes it: 45s, 7m30s, 3h5m, 2d."""
    try:
        seconds = int((now - parse_timestamp(text)).total_seconds())
    except (AttributeError, TypeError, ValueError):
        return "<unknown>"
    return duration(max(0, seconds))


def duration(seconds: int) -> str:
    """Human form of a number of seconds, with less detail the longer it is."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d" if days < 2920 and days % 365 else f"{days // 365}y"


def table(
    resource: Resource,
    documents: Sequence[Document],
    now: datetime,
    *,
    include: str = "Metadata",
    metadata: Document | None = None,
    with_columns: bool = True,
) -> Document:
    """A metav1.Table. `include` is what each row carries: None, Metadata or Object."""
    columns, cells = _layout(resource)
    rows = [{"cells": cells(document, now), "object": _carried(document, include)} for document in documents]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata or {},
        "columnDefinitions": columns if with_columns else [],
        "rows": rows,
    }


def _carried(document: Document, include: str) -> Document | None:
    if include == "None":
        return None
    return document if include == "Object" else partial(document)


def partial(document: Document) -> Document:
    """The metadata-only form of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": document["metadata"],
    }


def column(name: str, kind: str = "string", *, priority: int = 0, form: str = "", description: str = "") -> Document:
    """One metav1.TableColumnDefinition; `priority` above 0 is shown by `-o wide` only."""
    return {
        "name": name,
        "type": kind,
        "format": form,
        "description": description or name,
        "priority": priority,
    }


_NAME = column("Name", form="name")
_AGE = column("Age")


def _layout(resource: Resource) -> tuple[list[Document], CellMaker]:
    if resource.custom:
        return _custom_layout(resource)
    return _BUILTIN.get(resource.collection, ([_NAME, _AGE], _plain))


def _custom_layout(resource: Resource) -> tuple[list[Document], CellMaker]:
    printed = resource.printer_columns or ({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},)
    columns = [
        column(
            raw["name"],
            raw["type"],
            priority=raw.get("priority", 0),
            form=raw.get("format", ""),
            description=raw.get("description", ""),
        )
        for raw in printed
    ]

    def cells(document: Document, now: datetime) -> Cells:
        row: Cells = [document["metadata"]["name"]]
        for raw in printed:
            found = jsonpath.find(raw["jsonPath"], document)
            value = found[0] if found else None
            row.append(age(value, now) if raw["type"] == "date" and value else _cell(value))
        return row

    return [_NAME, *columns], cells


def _cell(value: Any) -> Any:
    return canonical(value) if isinstance(value, dict | list) else value


def _created(document: Document, now: datetime) -> str:
    return age(document["metadata"].get("creationTimestamp"), now)


def _plain(document: Document, now: datetime) -> Cells:
    return [document["metadata"]["name"], _created(document, now)]


def _pod_status(pod: Document) -> str:
    """The one word that sums a pod up."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    reason = dig(pod, "status", "reason") or dig(pod, "status", "phase", default="Unknown")
    for status in dig(pod, "status", "initContainerStatuses", default=[]):
        waiting = dig(status, "state", "waiting", "reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
    for status in dig(pod, "status", "containerStatuses", default=[]):
        waiting = dig(status, "state", "waiting", "reason")
        ended = dig(status, "state", "terminated")
        if waiting:
            reason = waiting
        elif ended is not None:
            reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
    return str(reason)


def _pod(pod: Document, now: datetime) -> Cells:
    statuses = dig(pod, "status", "containerStatuses", default=[])
    ready = sum(bool(status.get("ready")) for status in statuses)
    restarts = sum(status.get("restartCount", 0) for status in statuses)
    last = max((dig(s, "lastState", "terminated", "finishedAt", default="") for s in statuses), default="")
    shown: Any = f"{restarts} ({age(last, now)} ago)" if restarts and last else str(restarts)
    return [
        pod["metadata"]["name"],
        f"{ready}/{len(pod['spec']['containers'])}",
        _pod_status(pod),
        shown,
        _created(pod, now),
        dig(pod, "status", "podIP") or "<none>",
        dig(pod, "spec", "nodeName") or "<none>",
        dig(pod, "status", "nominatedNodeName") or "<none>",
        "<none>",
    ]


def _service(service: Document, now: datetime) -> Cells:
    spec = service["spec"]
    ports = ",".join(f"{port['port']}/{port['protocol']}" for port in spec.get("ports") or ()) or "<none>"
    selector = ",".join(f"{key}={value}" for key, value in (spec.get("selector") or {}).items()) or "<none>"
    address = spec.get("clusterIP") or "<none>"
    return [
        service["metadata"]["name"],
        spec["type"],
        address,
        "<none>",
        ports,
        _created(service, now),
        selector,
    ]


def _event(event: Document, now: datetime) -> Cells:
    about = event.get("involvedObject") or event.get("regarding") or {}
    message = str(event.get("message") or event.get("note") or "").strip()
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime")
    series = event.get("series") or {}
    last = event.get("lastTimestamp") or event.get("deprecatedLastTimestamp") or series.get("lastObservedTime") or first
    source = _event_source(event)
    count = series.get("count") or event.get("count") or event.get("deprecatedCount") or 1
    return [
        age(last or event["metadata"]["creationTimestamp"], now),
        event.get("type", ""),
        event.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        source or "",
        message,
        age(first or event["metadata"]["creationTimestamp"], now),
        count,
        event["metadata"]["name"],
    ]


def _event_source(event: Document) -> str:
    """Who reports: the component and, where it says so, which instance of it."""
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else str(component)


def _claim(claim: Document, now: datetime) -> Cells:
    spec = claim.get("spec") or {}
    letters = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    modes = dig(claim, "status", "accessModes", default=[]) if spec.get("volumeName") else []
    return [
        claim["metadata"]["name"],
        "Terminating" if claim["metadata"].get("deletionTimestamp") else dig(claim, "status", "phase", default=""),
        spec.get("volumeName", ""),
        dig(claim, "status", "capacity", "storage", default="") if spec.get("volumeName") else "",
        ",".join(letters.get(mode, mode) for mode in modes),
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", "<unset>"),
        _created(claim, now),
        spec.get("volumeMode", "<unset>"),
    ]


def _network_policy(policy: Document, now: datetime) -> Cells:
    labels = dig(policy, "spec", "podSelector", "matchLabels", default={})
    shown = ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or "<none>"
    return [policy["metadata"]["name"], shown, _created(policy, now)]


def _role(role: Document, _now: datetime) -> Cells:
    return [role["metadata"]["name"], role["metadata"].get("creationTimestamp", "")]


def _role_binding(binding: Document, now: datetime) -> Cells:
    role, subjects = binding.get("roleRef") or {}, binding.get("subjects") or ()
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in subjects:
        name = str(subject.get("name", ""))
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace', '')}/{name}"
        named.setdefault(str(subject.get("kind")), []).append(name)
    lists = [", ".join(named[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [
        binding["metadata"]["name"],
        f"{role.get('kind', '')}/{role.get('name', '')}",
        _created(binding, now),
        *lists,
    ]


_ROLE_COLUMNS = [_NAME, column("Created At", "date")]
_BINDING_COLUMNS = [
    _NAME,
    column("Role"),
    _AGE,
    *(column(name, priority=1) for name in ("Users", "Groups", "ServiceAccounts")),
]


def _node(node: Document, now: datetime) -> Cells:
    conditions = {c["type"]: c["status"] for c in dig(node, "status", "conditions", default=[])}
    addresses = {a["type"]: a["address"] for a in dig(node, "status", "addresses", default=[])}
    info = dig(node, "status", "nodeInfo", default={})
    status = "Ready" if conditions.get("Ready") == "True" else "NotReady"
    if dig(node, "spec", "unschedulable"):
        status += ",SchedulingDisabled"
    return [
        node["metadata"]["name"],
        status,
        "<none>",
        _created(node, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage", "<unknown>"),
        info.get("kernelVersion", "<unknown>"),
        info.get("containerRuntimeVersion", "<unknown>"),
    ]


def _quota(quota: Document, now: datetime) -> Cells:
    used, hard = dig(quota, "status", "used", default={}), dig(quota, "status", "hard", default={})
    texts = [(name, f"{name}: {used.get(name, '0')}/{hard[name]}") for name in sorted(hard)]
    requests = ", ".join(text for name, text in texts if not name.startswith("limits."))
    limits = ", ".join(text for name, text in texts if name.startswith("limits."))
    return [quota["metadata"]["name"], requests, limits, _created(quota, now)]


def _budget(budget: Document, now: datetime) -> Cells:
    spec = budget.get("spec") or {}
    return [
        budget["metadata"]["name"],
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        dig(budget, "status", "disruptionsAllowed", default=0),
        _created(budget, now),
    ]


def _counted(*names: str) -> CellMaker:
    def cells(document: Document, now: datetime) -> Cells:
        count = sum(len(document.get(name) or {}) for name in names)
        return [document["metadata"]["name"], count, _created(document, now)]

    return cells


def _with(*path: str) -> CellMaker:
    def cells(document: Document, now: datetime) -> Cells:
        return [document["metadata"]["name"], dig(document, *path, default=""), _created(document, now)]

    return cells


def _secret(secret: Document, now: datetime) -> Cells:
    return [
        secret["metadata"]["name"],
        secret.get("type", ""),
        len(secret.get("data") or {}),
        _created(secret, now),
    ]


def _definition(crd: Document, _now: datetime) -> Cells:
    return [crd["metadata"]["name"], crd["metadata"]["creationTimestamp"]]


_BUILTIN: dict[str, tuple[list[Document], CellMaker]] = {
    "pods": (
        [
            _NAME,
            column("Ready"),
            column("Status"),
            column("Restarts"),
            _AGE,
            column("IP", priority=1),
            column("Node", priority=1),
            column("Nominated Node", priority=1),
            column("Readiness Gates", priority=1),
        ],
        _pod,
    ),
    "services": (
        [
            _NAME,
            column("Type"),
            column("Cluster-IP"),
            column("External-IP"),
            column("Port(s)"),
            _AGE,
            column("Selector", priority=1),
        ],
        _service,
    ),
    "events": (
        [
            column("Last Seen"),
            column("Type"),
            column("Reason"),
            column("Object"),
            column("Subobject", priority=1),
            column("Source", priority=1),
            column("Message"),
            column("First Seen", priority=1),
            column("Count", priority=1),
            column("Name", form="name", priority=1),
        ],
        _event,
    ),
    "nodes": (
        [
            _NAME,
            column("Status"),
            column("Roles"),
            _AGE,
            column("Version"),
            *(
                column(name, priority=1)
                for name in ("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime")
            ),
        ],
        _node,
    ),
    "poddisruptionbudgets.policy": (
        [
            _NAME,
            column("Min Available"),
            column("Max Unavailable"),
            column("Allowed Disruptions", "integer"),
            _AGE,
        ],
        _budget,
    ),
    "resourcequotas": ([_NAME, column("Request"), column("Limit"), _AGE], _quota),
    "configmaps": ([_NAME, column("Data"), _AGE], _counted("data", "binaryData")),
    "secrets": ([_NAME, column("Type"), column("Data"), _AGE], _secret),
    "namespaces": ([_NAME, column("Status"), _AGE], _with("status", "phase")),
    "leases.coordination.k8s.io": ([_NAME, column("Holder"), _AGE], _with("spec", "holderIdentity")),
    "persistentvolumeclaims": (
        [
            _NAME,
            *(column(name) for name in ("Status", "Volume", "Capacity", "Access Modes", "StorageClass")),
            column("VolumeAttributesClass"),
            _AGE,
            column("VolumeMode", priority=1),
        ],
        _claim,
    ),
    "networkpolicies.networking.k8s.io": ([_NAME, column("Pod-Selector"), _AGE], _network_policy),
    "clusterroles.rbac.authorization.k8s.io": (_ROLE_COLUMNS, _role),
    "roles.rbac.authorization.k8s.io": (_ROLE_COLUMNS, _role),
    "clusterrolebindings.rbac.authorization.k8s.io": (_BINDING_COLUMNS, _role_binding),
    "rolebindings.rbac.authorization.k8s.io": (_BINDING_COLUMNS, _role_binding),
    "customresourcedefinitions.apiextensions.k8s.io": (
        [_NAME, column("Created At", form="date-time")],
        _definition,
    ),
}
