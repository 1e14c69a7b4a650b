"""What is tested: the product's images, its chart, and the scenarios. Knows nothing of how the cluster was made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import commands

CHECKOUT = Path(__file__).parent.parent.parent
RELEASE = "shoal"
NAMESPACE = "shoal-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
"""Who the operator is to the API server."""
INSTALL_TIMEOUT_SECONDS = 180
SCENARIOS_TIMEOUT_SECONDS = 45 * 60
SIDE_BY_SIDE = ("--numprocesses=2", "--dist=loadgroup", "--no-loadscope-reorder")
"""Most of a scenario is waiting. More than two at a time would take too long on two cores to be there within 5 s."""
LEAVE_TIMEOUT_SECONDS = 90
LEAVING_NAMESPACE = "shoal-leaving"
LEAVING = (
    f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {LEAVING_NAMESPACE}}}\n---\n"
    "apiVersion: shoal.dev/v1alpha1\nkind: ComputeCluster\n"
    f"metadata: {{name: left, namespace: {LEAVING_NAMESPACE}}}\nspec: {{}}\n"
)
RESTRICTED = (
    "apiVersion: v1\nkind: Namespace\nmetadata:\n"
    f"  name: {NAMESPACE}\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n"
)


@dataclass(frozen=True)
class Place:
    """A cluster to work with. `inside` turns a command into one that reaches it; `programs` go first on PATH."""

    kubeconfig: Path
    programs: tuple[Path, ...]
    inside: Callable[..., list[str | Path]]

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([*map(str, self.programs), os.environ.get("PATH", "")])
        return {"PATH": path, "KUBECONFIG": str(self.kubeconfig)}


def split_name(image: str) -> tuple[str, str]:
    """Repository and tag of an image's name.

    >>> split_name("shoal.dev/e2e/operator:1f2e")
    ('shoal.dev/e2e/operator', '1f2e')
    """
    repository, _, tag = image.rpartition(":")
    return repository, tag


def install_chart(place: Place, helm: str | Path, operator_image: str, log: Path) -> None:
    """Install the chart with helm and return when the operator is ready.

    Raises:
        CommandError: helm refused, or the operator was not ready in time.
    """
    repository, tag = split_name(operator_image)
    environment = place.environment()
    kubectl = place.inside("kubectl", f"--kubeconfig={place.kubeconfig}", "apply", "-f", "-")
    commands.run(kubectl, text=RESTRICTED, environment=environment)
    arguments = ["upgrade", "--install", RELEASE, CHECKOUT / "charts" / "shoal", f"--namespace={NAMESPACE}"]
    arguments += [f"--set=image.repository={repository}", f"--set-string=image.tag={tag}", "--set=log.level=debug"]
    arguments += ["--wait", f"--timeout={INSTALL_TIMEOUT_SECONDS}s"]
    commands.run_logged(
        place.inside(helm, f"--kubeconfig={place.kubeconfig}", *arguments),
        log,
        timeout_seconds=INSTALL_TIMEOUT_SECONDS + 30,
        environment=environment,
    )


def upgrade_and_uninstall(place: Place, helm: str | Path, log: Path) -> None:
    """Upgrade the release, uninstall it under a running cluster, and delete the namespaces: nothing may hang.

    Raises:
        CommandError: a step failed or hung, the kinds went with the chart, or an object outlived its namespace.
    """
    environment = place.environment()

    def kubectl(*words: str, text: str | None = None, timeout_seconds: float = LEAVE_TIMEOUT_SECONDS) -> str:
        command = place.inside("kubectl", f"--kubeconfig={place.kubeconfig}", *words)
        return commands.run(command, text=text, environment=environment, timeout_seconds=timeout_seconds)

    def helm_run(*words: str | Path) -> None:
        command = place.inside(helm, f"--kubeconfig={place.kubeconfig}", *words, f"--namespace={NAMESPACE}", "--wait")
        commands.run_logged(command, log, timeout_seconds=INSTALL_TIMEOUT_SECONDS, environment=environment)

    helm_run("upgrade", RELEASE, CHECKOUT / "charts" / "shoal", "--reuse-values", "--set=replicas=2")
    kubectl("apply", "-f", "-", text=LEAVING)
    kubectl("wait", "--for=create", "pod/left-head", f"--namespace={LEAVING_NAMESPACE}", "--timeout=60s")
    helm_run("uninstall", RELEASE)
    kubectl("get", "crd", "computeclusters.shoal.dev", "computejobs.shoal.dev", "computeservices.shoal.dev")
    kubectl("delete", "namespace", LEAVING_NAMESPACE, NAMESPACE, f"--timeout={LEAVE_TIMEOUT_SECONDS}s")


def run_scenarios(place: Place, provider: str, runtime_image: str, more: Sequence[str]) -> int:
    """Run the scenario modules with their output on this terminal, and return pytest's exit status."""
    command = place.inside(
        sys.executable,
        "-m",
        "pytest",
        "e2e/scenarios",
        f"--provider={provider}",
        f"--kubeconfig={place.kubeconfig}",
        f"--runtime-image={runtime_image}",
        *SIDE_BY_SIDE,
        *more,
    )
    done = subprocess.run(
        [str(word) for word in command],
        cwd=CHECKOUT,
        env={**os.environ, **place.environment()},
        timeout=SCENARIOS_TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode
