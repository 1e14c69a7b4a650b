"""What a node agent is told when it starts.

Invariant: a node with a frames port has a token; a node without one opens no TCP socket at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shoal.resources import ResourceSet

DEFAULT_OBJECT_STORE_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class NodeConfig:
    """Everything that differs between nodes.

    Args:
        node_id: 32 hex digits.
        ip: where other nodes reach this one; "127.0.0.1" on a single machine.
        frames_port: TCP port for frames (0 picks a free one), or None: no network.
        token: the cluster's token, at least 16 bytes; needed with a frames port.
        tls_directory: with the cluster's certificates; empty: what goes over the network is not encrypted.
        session_dir: an absolute directory of mode 0700, short: the path of its ``node.sock`` must fit in 107
            bytes.
        total: logical resources.
        labels: for label selectors.
        group: the worker group; "head" on the head's own node.
        pod_name: of the downward API; empty outside of Kubernetes.
        is_head: whether the head runs in this process.
        object_store_bytes: the most that shared memory segments may have together.
        worker_entry: ``module:function`` that a forked worker calls with its setup.
        live_workers_max: a hard limit against runaway nesting.
    """

    node_id: str
    ip: str
    frames_port: int | None
    token: bytes | None
    session_dir: str
    total: ResourceSet
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    pod_name: str = ""
    is_head: bool = False
    object_store_bytes: int = DEFAULT_OBJECT_STORE_BYTES
    worker_entry: str = "shoal.worker.main:run_worker"
    live_workers_max: int = 1000
    tls_directory: str = ""

    def __post_init__(self) -> None:
        if self.frames_port is not None and not self.token:
            raise ValueError("a node that listens on the network needs the cluster's token")
        if not self.session_dir.startswith("/"):
            raise ValueError(f"the session directory must be absolute, got {self.session_dir!r}")
        if self.object_store_bytes <= 0:
            raise ValueError(f"the object store needs a size, got {self.object_store_bytes} bytes")
