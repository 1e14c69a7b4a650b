"""Network namespaces of nodes. Invariant: no device, route or rule is made outside the run's own namespaces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import commands
from e2e.cluster.runs import Run

SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
POD_RANGE = "10.88.0.0/16"
ROUTER_SETTINGS = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")


@dataclass(frozen=True)
class Host:
    """One node's network: a namespace of its own with a bridge `node0` that carries the node's address.

    `index` starts at 1; it decides the name and all addresses.
    """

    run: Run
    index: int

    @property
    def name(self) -> str:
        return f"node{self.index}"

    @property
    def directory(self) -> Path:
        return self.run.directory / self.name

    @property
    def namespace(self) -> Path:
        return self.directory / "netns"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.index}"

    @property
    def pod_range(self) -> str:
        return f"10.88.{self.index}.0/24"

    def inside(self, *argv: str | Path) -> list[str | Path]:
        """The command that runs `argv` in this network. Not `ip netns exec`, which hides the control groups."""
        return ["nsenter", f"--net={self.namespace}", *argv]


def make_first(host: Host) -> None:
    """Make the namespace of the node that the control plane shares."""
    _make_namespace(host)
    _ip(host, f"link add node0 type bridge\naddr add {host.address}/24 dev node0\nlink set node0 up")
    _ip(host, "route add default dev node0")
    _route_between_pods(host)


def join(host: Host, first: Host) -> None:
    """Make another node's namespace and connect it to the first one's bridge, as a cable to a switch."""
    _make_namespace(host)
    cable = f"to-{host.name}"
    commands.run(
        first.inside("ip", "link", "add", cable, "type", "veth", "peer", "name", "node0", "netns", str(host.namespace))
    )
    _ip(first, f"link set {cable} master node0 up\nroute add {host.pod_range} via {host.address}")
    _ip(host, f"addr add {host.address}/24 dev node0\nlink set node0 up")
    _ip(host, f"route add default via {first.address}\nroute add {first.pod_range} via {first.address}")
    _route_between_pods(host)


def _make_namespace(host: Host) -> None:
    host.directory.mkdir(parents=True, exist_ok=True)
    host.namespace.touch()
    commands.run(["unshare", f"--net={host.namespace}", "true"])
    _ip(host, "link set lo up")


def _ip(host: Host, batch: str) -> None:
    commands.run(host.inside("ip", "-batch", "-"), text=f"{batch}\n")


def _route_between_pods(host: Host) -> None:
    for name in ROUTER_SETTINGS:
        commands.run(host.inside("sh", "-c", f"echo 1 > /proc/sys/{name}"))
