"""`shoal explain cluster` from a file, and what it says where it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shoal_operator.local.errors import UsageProblem
from shoal_operator.local.explaining import explain_text

CLUSTER = {
    "apiVersion": "shoal.dev/v1alpha1",
    "kind": "ComputeCluster",
    "metadata": {"name": "demo", "namespace": "team"},
    "spec": {"workerGroups": [{"name": "small"}]},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "demo-small-0",
        "namespace": "team",
        "labels": {"shoal.dev/cluster": "demo", "shoal.dev/role": "worker"},
        "annotations": {"shoal.dev/created-for": "Demand: 1 task of 1 CPU"},
    },
}
EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "one", "namespace": "team"},
    "involvedObject": {"kind": "ComputeCluster", "name": "demo"},
    "action": "ScaleUp",
    "reason": "CreatedWorkers",
    "message": "adding 1 worker",
    "lastTimestamp": "2026-01-02T03:04:05Z",
}


def test_what_kubectl_prints_is_enough() -> None:
    listed = yaml.safe_dump({"kind": "List", "items": [CLUSTER, POD, EVENT]})
    said = explain_text("demo", None, listed)
    for words in ("cluster team/demo is not ready", "demo-small-0: Demand: 1 task of 1 CPU", "adding 1 worker"):
        assert words in said


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "no YAML"), ("", "there is no ComputeCluster demo"), (yaml.safe_dump(POD), "there is no ComputeCluster")],
)
def test_what_it_cannot_read_it_says(text: str, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        explain_text("demo", None, text)


def test_the_command_ends_with_two_lines_and_2_where_there_is_nobody_to_ask(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("users: []")
    command = [sys.executable, "-m", "shoal.cli.main", "explain", "cluster", "demo", "--kubeconfig", str(kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "has no context" in done.stderr
    assert "kubectl get" in done.stderr
    assert "Traceback" not in done.stderr


def test_who_asks_for_a_job_is_told_what_explains_it() -> None:
    command = [sys.executable, "-m", "shoal.cli.main", "explain", "job", "-n", "team", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: `shoal explain` explains clusters, not jobs")
    assert "kubectl describe computejob NAME" in done.stderr
    assert "shoal explain cluster NAME" in done.stderr


def test_the_help_names_where_it_looks_in_the_order_it_does() -> None:
    command = [sys.executable, "-m", "shoal.cli.main", "explain", "cluster", "--help"]
    said = " ".join(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split())
    assert "$KUBECONFIG, else the one local session that runs, else ~/.kube/config" in said
