"""The cluster of a manifest, for `shoal autoscaler simulate`.

Invariant: nothing is applied or started; a manifest that the operator would refuse is refused with the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.api.meta import GROUP
from shoal_operator.domain.cluster.scaling_terms import scaling_terms
from shoal_operator.domain.quantities import resource_set
from shoal_operator.domain.validation import check_document
from shoal_operator.local.errors import UsageProblem
from shoal_operator.local.manifest import Document, located, parse_manifest
from shoal_operator.whatif.outcome import Candidate
from shoal_operator.whatif.simulation import Setup
from shoal_operator.whatif.startup import StartModels


def read_candidate(text: str, name: str, starts: StartModels, until: float | None = None) -> Candidate:
    """The one cluster of a manifest: a ComputeCluster, or a ComputeJob with a `clusterSpec`.

    Args:
        text: of the manifest.
        name: of its file, for messages.
        starts: how pods start.
        until: when the simulation ends; None: when nothing is to come.

    Raises:
        UsageProblem: it is no manifest, the operator would refuse it, or it has no cluster, or several.
    """
    found = list(_clusters(parse_manifest(text, name), name))
    if len(found) != 1:
        hint = "give a file with one ComputeCluster, or one ComputeJob with a clusterSpec"
        raise UsageProblem(f"{name}: it has {len(found) or 'no'} clusters, and one is simulated", hint)
    [(cluster, spec)] = found
    groups = {group.name for group in spec.worker_groups}
    unknown = sorted(set(starts.of_group) - groups)
    if unknown:
        raise UsageProblem(f"{name}: there is no worker group `{unknown[0]}`", f"it has {', '.join(sorted(groups))}")
    return Candidate(name, cluster, Setup(scaling_terms(spec), resource_set(spec.head.resources), starts, until=until))


def _clusters(documents: list[Document], name: str) -> Iterator[tuple[str, Any]]:
    for document in documents:
        body = document.body
        if not str(body.get("apiVersion")).startswith(f"{GROUP}/"):
            continue
        problems = check_document(body)
        if problems:
            lines = located(document, name, [(each.path, each.message) for each in problems])
            raise UsageProblem("\n".join(lines), f"`shoal lint {name}` says more")
        if body["kind"] == "ComputeCluster":
            yield body["metadata"]["name"], ComputeCluster.parse(body).spec
        elif body["kind"] == "ComputeJob" and (spec := ComputeJob.parse(body).spec.cluster_spec) is not None:
            yield body["metadata"]["name"], spec
