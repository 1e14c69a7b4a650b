"""`shoal explain cluster` asks an API server: three times, and says what it was not shown."""

from __future__ import annotations

import asyncio
import json

import pytest

from shoal_operator.kube.resources import COMPUTE_CLUSTERS, EVENTS, PODS
from shoal_operator.local.explaining import explain_cluster

CLUSTER = {
    "apiVersion": "shoal.dev/v1alpha1",
    "kind": "ComputeCluster",
    "metadata": {"name": "demo", "namespace": "team", "uid": "u1"},
    "spec": {"workerGroups": [{"name": "small"}]},
}
POD = {"metadata": {"name": "demo-small-0", "labels": {"shoal.dev/role": "worker"}}}
EVENT = {"action": "ScaleUp", "reason": "CreatedWorkers", "note": "one more", "eventTime": "2026-01-02T03:04:05Z"}


@pytest.fixture
def explained(api, tmp_path):
    """Asks ``api`` for the cluster ``demo``."""
    config = tmp_path / "config"
    entries = {
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "a-token"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
    }
    config.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", **entries}))
    return lambda: asyncio.to_thread(explain_cluster, "demo", None, config)


async def test_three_questions_are_enough(api, explained):
    api.on("GET", COMPUTE_CLUSTERS.path("team", "demo"), (200, CLUSTER))
    api.on("GET", PODS.path("team"), (200, {"items": [POD]}))
    api.on("GET", EVENTS.path("team"), (200, {"items": [EVENT]}))
    said = await explained()
    assert "demo-small-0" in said
    assert "CreatedWorkers: one more" in said
    assert "not shown" not in said
    assert len(api.requests) == 3


async def test_what_is_forbidden_or_too_much_is_said(api, explained):
    api.on("GET", COMPUTE_CLUSTERS.path("team", "demo"), (200, CLUSTER))
    denied = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no pods for you", "code": 403}
    api.on("GET", PODS.path("team"), (403, denied))
    api.on("GET", EVENTS.path("team"), (200, {"items": [EVENT], "metadata": {"continue": "more"}}))
    said = await explained()
    assert "cluster team/demo is not ready" in said
    assert "pods are not shown: " in said
    assert "no pods for you" in said
    assert "only 500 events are looked at, there are more" in said
