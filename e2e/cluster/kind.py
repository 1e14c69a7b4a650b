"""PROVIDER=kind: the same on a cluster that kind makes in Docker.

Not verified where the project is checked, because no Docker is there. Invariant: the cluster carries the run's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import commands, packages, product
from e2e.cluster.errors import ProviderError
from e2e.cluster.runs import PREFIX
from e2e.cluster.timings import Timings

NEEDED = ("docker", "kind", "helm", "kubectl")
CREATE_TIMEOUT_SECONDS = 600
BUILD_TIMEOUT_SECONDS = 1800
TAG = "e2e"


class KindCluster:
    """A cluster made by kind; `directory` holds its kubeconfig and logs."""

    def __init__(self, run_id: str, directory: Path, timings: Timings, second_node: bool) -> None:
        lacking = [program for program in NEEDED if packages.find(program) is None]
        if lacking:
            raise ProviderError(f"PROVIDER=kind needs these programs on PATH: {', '.join(lacking)}")
        self.name = f"{PREFIX}{run_id}"
        self.directory = directory
        self.timings = timings
        self.roles = ["control-plane", *(["worker"] if second_node else [])]
        self.runtime_image = f"shoal.dev/e2e/runtime:{TAG}"
        self.operator = f"shoal.dev/e2e/operator:{TAG}"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.directory / "logs" / "kind.log"

    def up(self) -> None:
        """Make the cluster and put the product's images on its nodes."""
        with self.timings.step("build images"):
            for target, image in (("runtime", self.runtime_image), ("operator", self.operator)):
                command = ["docker", "build", f"--target={target}", f"--tag={image}", str(product.CHECKOUT)]
                commands.run_logged(command, self.log, timeout_seconds=BUILD_TIMEOUT_SECONDS)
        with self.timings.step("make the cluster"):
            config = self.directory / "kind.yaml"
            nodes = "".join(f"  - role: {role}\n" for role in self.roles)
            config.write_text(f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n{nodes}")
            self._kind("create", "cluster", f"--config={config}", f"--kubeconfig={self.kubeconfig}", "--wait=120s")
        with self.timings.step("import images"):
            self._kind("load", "docker-image", self.runtime_image, self.operator)

    def _kind(self, *arguments: str) -> None:
        command = ["kind", *arguments, f"--name={self.name}"]
        commands.run_logged(command, self.log, timeout_seconds=CREATE_TIMEOUT_SECONDS)

    def place(self) -> product.Place:
        """How commands reach the cluster: from here."""
        return product.Place(self.kubeconfig, (), lambda *argv: list(argv))

    def install(self) -> None:
        """Install the product's chart."""
        with self.timings.step("install the chart"):
            product.install_chart(self.place(), "helm", self.operator, self.log)

    def use(self, more: Sequence[str]) -> int:
        """Run the scenarios with further arguments for pytest, and return its status."""
        with self.timings.step("run the scenarios"):
            return product.run_scenarios(self.place(), "kind", self.runtime_image, more)

    def down(self) -> None:
        """Remove the cluster, whatever there is of it."""
        self._kind("delete", "cluster", f"--kubeconfig={self.kubeconfig}")
