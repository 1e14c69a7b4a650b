"""What is refused, and in which words."""

from __future__ import annotations

import pytest
import yaml

from e2e import manifests
from e2e.manifests import Manifest
from e2e.world import World


def refused(world: World, manifest: Manifest) -> str:
    """What kubectl says when the server refuses to take something."""
    result = world.kubectl.run("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert result.code == 1, result.out
    return result.err


def test_more_workers_at_least_than_at_most(world: World) -> None:
    groups = [manifests.group(minReplicas=3, maxReplicas=2)]
    words = refused(world, manifests.cluster("x", manifests.cluster_spec(world.image, groups)))
    assert "minReplicas must be less than or equal to maxReplicas" in words
    assert "workerGroups" in words
    assert not world.clusters.names()


def test_a_field_that_does_not_exist(world: World) -> None:
    job = manifests.job("x", "program", entrypont="python main.py")
    assert 'unknown field "spec.entrypont"' in refused(world, job)
    assert not world.jobs.names()
    warned = world.kubectl.run("apply", "--validate=warn", "-f", "-", stdin=yaml.safe_dump(job))
    assert warned.code == 0, warned.err
    assert 'unknown field "spec.entrypont"' in warned.err
    assert "entrypont" not in world.kubectl("get", "computejob", "x", "-o", "yaml").partition("\nspec:")[2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"entrypoint": ""}, "spec.entrypoint"),
        ({"backoffLimit": -1}, "spec.backoffLimit"),
        ({"clusterRef": {"name": "a"}, "clusterSpec": {}}, "must not have both `clusterSpec` and `clusterRef`"),
        ({"source": {"path": "/a", "configMap": {"name": "b"}}}, "exactly one of"),
    ],
)
def test_values_that_make_no_sense(world: World, fields: Manifest, words: str) -> None:
    assert words in refused(world, manifests.job("x", **fields))


def test_another_entrypoint_for_a_job_that_is_there(world: World) -> None:
    job = manifests.job("x", "program", suspend=True)
    world.apply(job)
    job["spec"]["entrypoint"] = "python other.py"
    assert "spec.entrypoint must not change" in refused(world, job)
