"""etcd, API server, controller manager, scheduler and DNS as plain processes in the first node's network.

Invariant: they listen on that network's addresses only, so nothing outside the namespace can reach them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import audit, commands
from e2e.cluster.certificates import Authority, Pair, write_key, write_kubeconfig, write_public_key
from e2e.cluster.commands import Daemon
from e2e.cluster.network import API_SERVICE_ADDRESS, DNS_SERVICE_ADDRESS, SERVICE_RANGE, Host

API_PORT = 6443
DNS_PORT = 53
"""Network policies see the port where DNS answers, not that of its Service, and ours allow 53 as everybody's do."""
READY_TIMEOUT_SECONDS = 120.0
SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
CLIENTS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    "coredns": "system:masters",
    "kube-router": "system:masters",
    "kwok": "system:masters",
}
"""User name to group of those who get a kubeconfig."""


@dataclass(frozen=True)
class Binaries:
    """Folders with the built programs."""

    kubernetes: Path
    etcd: Path
    coredns: Path


@dataclass
class ControlPlane:
    """A running control plane. `daemons` are its processes, for messages about those that ended."""

    host: Host
    binaries: Binaries
    authority: Authority
    daemons: list[Daemon]

    @property
    def directory(self) -> Path:
        return self.host.run.directory / "control"

    @property
    def server(self) -> str:
        return f"https://{self.host.address}:{API_PORT}"

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.directory / f"{user.removeprefix('system:')}.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """What the operator has asked for, one event a line."""
        return self.host.run.directory / "logs" / "audit.log"

    def kubectl(self, *arguments: str | Path, text: str | None = None, timeout_seconds: float = 60) -> str:
        """Run kubectl as admin and return what it wrote."""
        program: list[str | Path] = [self.binaries.kubernetes / "kubectl", f"--kubeconfig={self.kubeconfig()}"]
        # A home of its own: kubectl's discovery cache of another cluster at the same address would mislead it.
        home = {"HOME": str(self.directory)}
        command = self.host.inside(*program, *arguments)
        return commands.run(command, text=text, timeout_seconds=timeout_seconds, environment=home)

    def apply(self, *documents: Mapping[str, object]) -> None:
        """Create or update objects."""
        self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def start_daemon(self, name: str, *argv: str | Path) -> None:
        log = self.host.run.directory / "logs" / f"{name}.log"
        self.daemons.append(Daemon(name, self.host.inside(*argv), log, self.directory))


def start(host: Host, binaries: Binaries) -> ControlPlane:
    """Start the control plane and return when the API server answers /readyz.

    Raises:
        ProviderError: a part ended or was not ready in time; the message has the end of its log.
    """
    pki = host.run.directory / "control" / "pki"
    pki.parent.mkdir(parents=True, mode=0o700)
    plane = ControlPlane(host, binaries, Authority(pki), [])
    for user, group in CLIENTS.items():
        client = plane.authority.sign(user.removeprefix("system:"), user, group)
        write_kubeconfig(plane.kubeconfig(user), plane.server, plane.authority.pair, client, user)
    _start_etcd(plane)
    _start_api_server(plane)
    commands.wait_until(
        "the API server is ready",
        lambda: plane.kubectl("get", "--raw=/readyz", timeout_seconds=5) == "ok",
        READY_TIMEOUT_SECONDS,
        plane.daemons,
    )
    _start_controllers(plane)
    _start_dns(plane)
    return plane


def _start_etcd(plane: ControlPlane) -> None:
    plane.start_daemon(
        "etcd",
        plane.binaries.etcd / "server",
        f"--data-dir={plane.directory / 'etcd'}",
        "--unsafe-no-fsync",  # what is lost in a power cut would be thrown away anyhow
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--log-level=warn",
    )


def _start_api_server(plane: ControlPlane) -> None:
    authority = plane.authority
    names = [*SERVICE_NAMES, "localhost", "127.0.0.1", API_SERVICE_ADDRESS, plane.host.address]
    serving = authority.sign("apiserver", "kube-apiserver", names=names)
    to_kubelet = authority.sign("apiserver-kubelet", "kube-apiserver-kubelet", "system:masters")
    tokens = Pair(authority.folder / "tokens.pub", authority.folder / "tokens.key")
    write_public_key(write_key(tokens.key), tokens.certificate)
    plane.start_daemon(
        "kube-apiserver",
        plane.binaries.kubernetes / "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={plane.host.address}",
        f"--secure-port={API_PORT}",
        f"--client-ca-file={authority.pair.certificate}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--service-account-key-file={tokens.certificate}",
        f"--service-account-signing-key-file={tokens.key}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
        f"--audit-policy-file={audit.write_policy(plane.directory)}",
        f"--audit-log-path={plane.audit_log}",
        f"--kubelet-certificate-authority={authority.pair.certificate}",
        f"--kubelet-client-certificate={to_kubelet.certificate}",
        f"--kubelet-client-key={to_kubelet.key}",
        "--kubelet-preferred-address-types=InternalIP",  # node names resolve nowhere
        "--allow-privileged=true",
    )


def _start_controllers(plane: ControlPlane) -> None:
    plane.start_daemon(
        "kube-controller-manager",
        plane.binaries.kubernetes / "kube-controller-manager",
        f"--kubeconfig={plane.kubeconfig('system:kube-controller-manager')}",
        f"--root-ca-file={plane.authority.pair.certificate}",
        f"--service-account-private-key-file={plane.authority.folder / 'tokens.key'}",
        f"--cluster-signing-cert-file={plane.authority.pair.certificate}",
        f"--cluster-signing-key-file={plane.authority.pair.key}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--bind-address=127.0.0.1",
    )
    plane.start_daemon(
        "kube-scheduler",
        plane.binaries.kubernetes / "kube-scheduler",
        f"--kubeconfig={plane.kubeconfig('system:kube-scheduler')}",
        "--leader-elect=false",
        "--kube-api-qps=2000",  # its default of 50 pods a second would be what a scale test measures
        "--kube-api-burst=4000",
        "--bind-address=127.0.0.1",
    )


def _start_dns(plane: ControlPlane) -> None:
    """CoreDNS beside the node, behind the Service address that kubelets tell every pod."""
    corefile = plane.directory / "Corefile"
    corefile.write_text(
        f".:{DNS_PORT} {{\n"
        f"    bind {plane.host.address}\n"
        "    errors\n"
        "    kubernetes cluster.local in-addr.arpa {\n"
        f"        kubeconfig {plane.kubeconfig('coredns')} shoal-e2e\n"
        "        ttl 1\n"
        "    }\n"
        "}\n"
    )
    plane.start_daemon("coredns", plane.binaries.coredns / "coredns", "-conf", corefile)
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    named = {"name": "kube-dns", "namespace": "kube-system"}
    plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {
                "clusterIP": DNS_SERVICE_ADDRESS,
                "ports": [{"name": name, "protocol": protocol, "port": 53} for name, protocol in ports],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**named, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [plane.host.address], "conditions": {"ready": True}}],
            "ports": [{"name": name, "protocol": protocol, "port": DNS_PORT} for name, protocol in ports],
        },
    )
