"""A node: containerd, kubelet, kube-proxy and kube-router in a network namespace.

Invariant: everything a node writes lies in its own directory, except what `runs.remove` names.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from e2e.cluster import cgroups, commands, packages
from e2e.cluster.certificates import write_kubeconfig
from e2e.cluster.commands import Daemon
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.network import DNS_SERVICE_ADDRESS, POD_RANGE, SERVICE_RANGE, Host

PAUSE_IMAGE = "shoal.dev/e2e/pause:1"
READY_TIMEOUT_SECONDS = 120.0
PODS_MAX = 500
SOCKET_TIMEOUT_SECONDS = 30.0


class Node:
    """A node of a cluster. `start` makes it; `wait_ready` returns when pods can be scheduled on it."""

    def __init__(self, host: Host, plane: ControlPlane) -> None:
        self.host = host
        self.plane = plane
        self.daemons: list[Daemon] = []

    @property
    def socket(self) -> Path:
        return self.host.directory / "containerd.sock"

    def start_containerd(self) -> None:
        """Start the container runtime; images can be imported when this returns."""
        write_container_network(self.host)
        config = self.host.directory / "containerd.toml"
        config.write_text(containerd_config(self.host, self.socket))
        self._start("containerd", packages.find("containerd") or "containerd", "--config", config)
        commands.wait_until(
            "containerd answers", lambda: bool(self.ctr("version")), SOCKET_TIMEOUT_SECONDS, self.daemons
        )

    def start_kubelet(self) -> None:
        """Start kubelet and kube-proxy."""
        host, plane = self.host, self.plane
        cgroups.make(f"{host.run.group}/{host.name}")
        serving = plane.authority.sign(
            f"kubelet-{host.name}", f"system:node:{host.name}", "system:nodes", [host.name, host.address]
        )
        kubeconfig = plane.directory / f"kubelet-{host.name}.kubeconfig"
        write_kubeconfig(kubeconfig, plane.server, plane.authority.pair, serving, f"system:node:{host.name}")
        config = host.directory / "kubelet.yaml"
        (host.directory / "resolv.conf").touch()
        config.write_text(yaml.safe_dump(kubelet_config(host, self.socket, plane.authority.pair.certificate)))
        self._start(
            "kubelet",
            plane.binaries.kubernetes / "kubelet",
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--hostname-override={host.name}",
            f"--node-ip={host.address}",
            f"--root-dir={host.directory / 'kubelet'}",
            f"--cert-dir={host.directory / 'kubelet-pki'}",
        )
        self._start(
            "kube-proxy",
            plane.binaries.kubernetes / "kube-proxy",
            f"--kubeconfig={plane.kubeconfig('system:kube-proxy')}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_RANGE}",
            "--iptables-min-sync-period=0s",  # a Service is there when its endpoints are
            "--conntrack-max-per-core=0",
            "--conntrack-min=0",
            f"--hostname-override={host.name}",
            f"--bind-address={host.address}",
            "--healthz-bind-address=127.0.0.1:10256",
        )

    def enforce_network_policies(self, program: Path) -> None:
        """Start kube-router as what it is used for beside other networks too: the firewall alone.

        It needs the node's object, so the node has to be ready.
        """
        self._start(
            "kube-router",
            program,
            f"--kubeconfig={self.plane.kubeconfig('kube-router')}",
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--hostname-override={self.host.name}",
            "--health-port=0",
        )

    def wait_ready(self) -> None:
        """Return when the API server says that the node is Ready.

        Raises:
            ProviderError: it was not in time, or a part of it ended.
        """
        commands.wait_until(f"{self.host.name} is Ready", self._is_ready, READY_TIMEOUT_SECONDS, self.daemons)

    def _is_ready(self) -> bool:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return self.plane.kubectl("get", "node", self.host.name, "-o", path, timeout_seconds=10) == "True"

    def import_image(self, archive: Path) -> None:
        """Make the image in a docker-archive known to the node under the name it was saved with."""
        self.ctr("--namespace=k8s.io", "images", "import", archive, timeout_seconds=300)

    def ctr(self, *arguments: str | Path, timeout_seconds: float = 20) -> str:
        """Run containerd's own client."""
        program = packages.find("ctr") or "ctr"
        return commands.run([program, f"--address={self.socket}", *arguments], timeout_seconds=timeout_seconds)

    def _start(self, name: str, *argv: str | Path) -> None:
        log = self.host.run.directory / "logs" / f"{name}-{self.host.name}.log"
        self.daemons.append(Daemon(f"{name} of {self.host.name}", self.host.inside(*argv), log, self.host.directory))


def write_container_network(host: Host) -> None:
    """Write the configuration of the network plugins: a bridge, addresses of the node's range, host ports."""
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(host.directory / "addresses"),
            "ranges": [[{"subnet": host.pod_range}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    folder = host.directory / "cni"
    folder.mkdir(parents=True)
    document = {"cniVersion": "0.4.0", "name": host.run.group, "plugins": [bridge, ports]}
    (folder / "10-pods.conflist").write_text(json.dumps(document, indent=2))


def containerd_config(host: Host, socket: Path) -> str:
    """The configuration of containerd 1.6 and later (its version 2)."""
    folder = host.directory / "containerd"
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  # Where this machine's own oom_score_adj is above 0, a container may not lower its own, and would not start.
  restrict_oom_score_adj = true
  # Else they lie under /run/netns and stay there when the run is killed.
  netns_mounts_under_state_dir = true
  [{cri}.cni]
    bin_dir = "{packages.PLUGINS}"
    conf_dir = "{host.directory}/cni"
  [{cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [{cri}.containerd.runtimes.runc.options]
      Root = "{folder}/runc"
"""


def kubelet_config(host: Host, socket: Path, authority: Path) -> dict[str, object]:
    """The KubeletConfiguration of a node."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": host.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{host.run.group}/{host.name}",
        "failCgroupV1": False,  # such machines are to serve as long as kubelets can
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": False,
        "healthzPort": 0,
        "maxPods": PODS_MAX,
        "podLogsDir": str(host.directory / "pods"),
        "registerNode": True,
        "resolvConf": str(host.directory / "resolv.conf"),
        "volumePluginDir": str(host.directory / "volume-plugins"),
        "registryPullQPS": 0,
        "volumeStatsAggPeriod": "10s",  # a pod that fills its emptyDir is evicted in seconds, not in minutes
        "eventRecordQPS": 0,
        "serializeImagePulls": False,
        "syncFrequency": "10s",
    }
