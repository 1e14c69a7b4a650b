"""``shoal explain cluster``: reads one object, its pods and its Events, and has them put into words.

Invariant: only reads; the API server is asked three times, whatever the cluster's size, and a server or an account that
does not show pods or Events costs those parts alone. What is left out is said.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.problems import InvalidObjectError
from shoal_operator.domain import labels
from shoal_operator.domain.cluster.report import report
from shoal_operator.kube.access import AccessError, ApiAccess, find_access, from_kubeconfig
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.errors import ApiError, NotFoundError
from shoal_operator.kube.resources import COMPUTE_CLUSTERS, EVENTS, PODS, Resource
from shoal_operator.local.errors import LocalError, UsageProblem
from shoal_operator.local.session import running_sessions, session_root

ITEMS_MAX: Final = 500
PIPE_HINT: Final = "kubectl get computecluster,pods,events -o yaml | shoal explain cluster NAME -f -"


class _Uncounted:
    def observe_request(self, method: str, code: int) -> None: ...


def explain_text(name: str, namespace: str | None, text: str) -> str:
    """The report about a cluster in manifests, as `kubectl get -o yaml` writes them.

    Raises:
        UsageProblem: there is no such cluster in it, or it cannot be read.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if isinstance(document, dict)]
    except yaml.YAMLError as error:
        raise UsageProblem(f"what was given is no YAML: {error}", PIPE_HINT) from error
    items = [item for document in documents for item in (document.get("items") or [document]) if _is_object(item)]
    found = [item for item in items if item.get("kind") == "ComputeCluster" and _is(item, name, namespace)]
    if not found:
        raise UsageProblem(f"there is no ComputeCluster {name} in what was given", PIPE_HINT)
    place = found[0]["metadata"].get("namespace", "default")
    near = [item for item in items if item["metadata"].get("namespace", "default") == place]
    pods = [item for item in near if item.get("kind") == "Pod" and _belongs(item, name)]
    events = [_as_new(item) for item in near if item.get("kind") == "Event" and _regards(item, name)]
    return _report(found[0], pods, events)


def explain_cluster(name: str, namespace: str | None, kubeconfig: Path | None) -> str:
    """The report about a cluster of an API server: of the kubeconfig, or of the one local session that runs.

    Raises:
        UsageProblem: there is no such cluster, or no server to ask.
        LocalError: the server does not answer as it should.
    """
    access = _find(kubeconfig)
    place = namespace or access.namespace
    try:
        return asyncio.run(_explain(access, place, name))
    except NotFoundError as error:
        raise UsageProblem(f"there is no ComputeCluster {place}/{name}", "see `kubectl get cc -A`") from error
    except ApiError as error:
        words = f"the API server does not show {place}/{name}: {error}"
        raise LocalError(words, "check the context and the rights") from error


def _find(kubeconfig: Path | None) -> ApiAccess:
    sessions = running_sessions(session_root(os.environ, os.getuid()))
    try:
        if kubeconfig is None and not os.environ.get("KUBECONFIG") and len(sessions) == 1:
            return from_kubeconfig(sessions[0].directory / "kubeconfig")
        return find_access(kubeconfig, os.environ)
    except AccessError as error:
        raise UsageProblem(str(error), f"or let kubectl ask: {PIPE_HINT}") from error


async def _explain(access: ApiAccess, namespace: str, name: str) -> str:
    async with ApiClient(access, monotonic=time.monotonic, metrics=_Uncounted()) as client:
        document = await client.get(COMPUTE_CLUSTERS, namespace, name)
        pods, no_pods = await _listed(client, PODS, namespace, label_selector=f"{labels.CLUSTER}={name}")
        uid = document["metadata"].get("uid", "")
        events, no_events = await _listed(client, EVENTS, namespace, field_selector=f"regarding.uid={uid}")
        return "\n".join([_report(document, pods, events), *no_pods, *no_events])


async def _listed(
    client: ApiClient, resource: Resource, namespace: str, **selector: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """The first objects, and what is to be said of others."""
    try:
        page = await client.list_page(resource, namespace, limit=ITEMS_MAX, **selector)
    except ApiError as error:
        return [], [f"{resource.plural} are not shown: {error}"]
    cut = f"only {ITEMS_MAX} {resource.plural} are looked at, there are more"
    return list(page.get("items") or []), [cut] if (page.get("metadata") or {}).get("continue") else []


def _report(document: dict[str, Any], pods: list[dict[str, Any]], events: list[dict[str, Any]]) -> str:
    try:
        cluster = ComputeCluster.parse(document)
    except InvalidObjectError as error:
        raise UsageProblem("; ".join(str(problem) for problem in error.problems), "correct the object") from error
    return report(cluster, pods, events, datetime.now(UTC))


def _is_object(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("metadata"), dict)


def _is(item: Mapping[str, Any], name: str, namespace: str | None) -> bool:
    metadata = item["metadata"]
    return metadata.get("name") == name and namespace in (None, metadata.get("namespace", "default"))


def _belongs(pod: Mapping[str, Any], name: str) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get(labels.CLUSTER) == name)


def _regards(event: Mapping[str, Any], name: str) -> bool:
    about = event.get("regarding") or event.get("involvedObject") or {}
    return about.get("kind") == "ComputeCluster" and about.get("name") == name


def _as_new(event: Mapping[str, Any]) -> dict[str, Any]:
    """An Event of the core group as one of events.k8s.io; YAML reads times by itself, which are text here."""
    moment = event.get("eventTime") or event.get("lastTimestamp") or event.get("deprecatedLastTimestamp")
    text = moment.isoformat() if isinstance(moment, datetime) else moment
    return {**event, "note": event.get("note") or event.get("message"), "eventTime": text, "series": None}
