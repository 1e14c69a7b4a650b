"""PROVIDER=bare: a Kubernetes made of its own programs on this machine, with no Docker and no registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import (
    audit,
    binaries,
    check,
    control_check,
    control_plane,
    fake_nodes,
    network,
    packages,
    product,
    volumes,
)
from e2e.cluster.binaries import Tool
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.images import Builder, Image, bases, full_name, pip_options
from e2e.cluster.network import Host
from e2e.cluster.node import PAUSE_IMAGE, Node
from e2e.cluster.runs import Run
from e2e.cluster.timings import Timings, say

REPOSITORY = "shoal.dev/e2e"


@dataclass(frozen=True)
class Options:
    """What to make: `kubernetes` is the tool that builds it, `fake_nodes` a count, `without_nodes` real ones."""

    kubernetes: Tool
    second_node: bool = False
    fake_nodes: int = 0
    without_nodes: bool = False


@dataclass
class Cluster:
    """A cluster in the making; parts are there once the step that makes them has passed."""

    run: Run
    options: Options
    timings: Timings
    nodes: list[Node] = field(default_factory=list)

    @property
    def logs(self) -> Path:
        return self.run.directory / "logs"

    @property
    def first(self) -> Host:
        return Host(self.run, 1)

    @property
    def has_nodes(self) -> bool:
        """Whether there are nodes that run pods: wanted, and built with this Kubernetes."""
        return not self.options.without_nodes and set(binaries.NODE_PROGRAMS) <= set(self.options.kubernetes.programs)

    def up(self) -> None:
        """Make the cluster with the product's images on its nodes, and check that it works."""
        with self.timings.step("install packages"):
            for name in packages.install(self.logs / "packages.log"):
                say(f"  installed {name}")
        with self.timings.step("build programs"):
            self._build_programs()
        if self.has_nodes:
            with self.timings.step("build images"):
                self._build_images()
        with self.timings.step("start the control plane"):
            network.make_first(self.first)
            programs = control_plane.Binaries(self.kubernetes, self.etcd, self.coredns)
            self.plane: ControlPlane = control_plane.start(self.first, programs)
        if self.has_nodes:
            self._bring_up_nodes()
        fakes = self.options.fake_nodes or (0 if self.has_nodes else 1)
        if fakes:
            with self.timings.step(f"make {fakes} fake nodes"):
                program = binaries.build(binaries.KWOK, self.logs / "build.log")
                fake_nodes.start(self.plane, program, fakes, tainted=self.has_nodes)

    def _bring_up_nodes(self) -> None:
        with self.timings.step("start the nodes"):
            self._start_nodes()
        volumes.provide(self.plane, self.first.name, self.run.directory / "volumes")
        with self.timings.step("import images"):
            for each in self.nodes:
                for image in (self.runtime, self.operator):
                    each.import_image(image.archive)
        with self.timings.step("check pods, Services, DNS, logs, exec"):
            check.check(self.plane, self.runtime.name, [each.host.name for each in self.nodes])

    def _build_programs(self) -> None:
        log = self.logs / "build.log"
        version = binaries.kubernetes_version(self.options.kubernetes)
        say(f"  Kubernetes {version}; minutes when it is not in {binaries.cache_folder()}")
        self.kubernetes = binaries.build(self.options.kubernetes, log)
        self.etcd = binaries.build(binaries.ETCD, log)
        self.coredns = binaries.build(binaries.COREDNS, log)
        self.helm = binaries.build(binaries.HELM, log) / "helm"
        self.pause_program = binaries.build(binaries.PAUSE, log) / "pause"
        if self.has_nodes:
            self.kube_router = binaries.build(binaries.KUBE_ROUTER, log) / "kube-router"

    def _build_images(self) -> None:
        builder = Builder(self.run.directory / "images")
        dockerfile = product.CHECKOUT / "Dockerfile"
        with builder.alone():
            for base in bases(dockerfile.read_text()):
                builder.provide_base(full_name(base))
            context = self.run.directory / "pause"
            context.mkdir()
            (context / "pause").write_bytes(self.pause_program.read_bytes())
            (context / "pause").chmod(0o755)
            (context / "Dockerfile").write_text('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
            self.pause = builder.build(PAUSE_IMAGE, context)
            self.runtime, self.operator = (self._build_product(builder, target) for target in ("runtime", "operator"))

    def _build_product(self, builder: Builder, target: str) -> Image:
        options: Sequence[str] = pip_options(self.run.directory / "images")
        return builder.build(f"{REPOSITORY}/{target}", product.CHECKOUT, target=target, options=options)

    def _start_nodes(self) -> None:
        hosts = [self.first]
        if self.options.second_node:
            hosts.append(Host(self.run, 2))
            network.join(hosts[1], self.first)
        self.nodes = [Node(host, self.plane) for host in hosts]
        for each in self.nodes:
            each.start_containerd()
            each.import_image(self.pause.archive)
            each.start_kubelet()
        for each in self.nodes:
            each.wait_ready()
            each.enforce_network_policies(self.kube_router)

    def place(self) -> product.Place:
        """How commands reach the cluster."""
        return product.Place(self.plane.kubeconfig(), (self.kubernetes, self.helm.parent), self.first.inside)

    def install(self) -> None:
        """Install the product's chart."""
        image = self.operator.name if self.has_nodes else f"{REPOSITORY}/operator:none"
        with self.timings.step("install the chart"):
            product.install_chart(self.place(), self.helm, image, self.logs / "helm.log")

    def leave(self) -> None:
        """Upgrade and uninstall the chart as a user would."""
        with self.timings.step("upgrade and uninstall the chart"):
            product.upgrade_and_uninstall(self.place(), self.helm, self.logs / "helm.log")

    def use(self, more: Sequence[str]) -> int:
        """Run the scenarios with further arguments for pytest, and return its status.

        Where nothing can run pods, check what needs none.
        """
        if self.has_nodes:
            with self.timings.step("run the scenarios"):
                status = product.run_scenarios(self.place(), "bare", self.runtime.name, more)
            with self.timings.step("compare rights with the audit log"):
                differences = audit.compare(self.plane.audit_log, product.ACCOUNT, complete=not more and status == 0)
                for line in differences:
                    say(f"  {line}")
            return status or int(bool(differences))
        with self.timings.step("check the operator against the control plane"):
            control_check.check(self.plane, self.logs)
        return 0

    def how_to_enter(self) -> str:
        """Lines for a person who kept the cluster."""
        kubeconfig = self.plane.kubeconfig()
        enter = " ".join(map(str, self.first.inside("bash")))
        path = f"{self.kubernetes}:{self.helm.parent}:$PATH"
        return (
            f"kept: kubeconfig {kubeconfig}\n"
            f"  enter its network: KUBECONFIG={kubeconfig} PATH={path} {enter}\n"
            + "".join(
                f"  containers:        {packages.find('ctr')} -a {each.socket} -n k8s.io containers list\n"
                for each in self.nodes
            )
            + f"  logs:              {self.logs}\n  remove it:         make e2e-clean"
        )
