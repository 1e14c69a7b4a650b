"""Which Kubernetes is refused at the start, and in which words."""

import asyncio
import random
import sys

import pytest
import yaml

from shoal_operator.kube.version import UnsupportedServerError, await_supported_server, check_version

from .conftest import status


@pytest.mark.parametrize("version", ["v1.30.0", "v1.34.1+k3s1", "v1.42.0-alpha.1", "v2.0.0", "1.31.2-gke.100", "", "x"])
def test_a_version_from_the_oldest_on_is_taken_and_so_is_none(version):
    check_version({"gitVersion": version})
    check_version({})


@pytest.mark.parametrize("version", ["v1.29.15", "v1.9.0", "v0.99.0", "v1.29.4-eks-036c24b"])
def test_an_older_one_is_refused_with_both_versions(version):
    with pytest.raises(UnsupportedServerError, match=rf"{version}; Shoal needs 1\.30 or later"):
        check_version({"gitVersion": version})


async def test_a_server_that_is_away_is_waited_for(api, client):
    busy = (*status(429, "TooManyRequests"), {"Retry-After": "0"})
    api.on("GET", "/version", status(503, "ServiceUnavailable"), busy, (200, {"gitVersion": "v1.29.0"}))
    with pytest.raises(UnsupportedServerError):
        await asyncio.wait_for(await_supported_server(client, random.Random(0)), 10)
    assert len(api.seen("GET", "/version")) == 3


async def test_a_server_that_does_not_say_is_taken_as_it_is(api, client):
    api.on("GET", "/version", status(403, "Forbidden"))
    await asyncio.wait_for(await_supported_server(client, random.Random(0)), 10)
    assert len(api.seen("GET", "/version")) == 1


async def test_the_operator_ends_with_the_reason_and_has_written_nothing(api, tmp_path):
    api.on("GET", "/version", (200, {"major": "1", "minor": "29", "gitVersion": "v1.29.3"}))
    kubeconfig = tmp_path / "kubeconfig"
    contexts, clusters = [{"name": "c", "context": {"cluster": "c"}}], [{"name": "c", "cluster": {"server": api.url}}]
    kubeconfig.write_text(yaml.safe_dump({"current-context": "c", "contexts": contexts, "clusters": clusters}))
    command = (sys.executable, "-m", "shoal_operator.main", "--kubeconfig", str(kubeconfig))
    child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 2
    assert b"this Kubernetes is v1.29.3; Shoal needs 1.30 or later" in errors
    assert b"Traceback" not in errors
    assert {request["method"] for request in api.requests} <= {"GET", "WATCH"}
