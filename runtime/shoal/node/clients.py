"""The processes that are connected to an agent.

Invariant: a client has a kind only after its hello; until then nothing but hello is served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from shoal.wire.address import RawAddress, RawNode
from shoal.wire.connection import Connection
from shoal.wire.rpc import Caller

Kind = Literal["", "driver", "worker", "agent", "remote"]
LOCAL_KINDS: Final = frozenset({"driver", "worker"})
NETWORK_KINDS: Final = frozenset({"agent", "remote"})


@dataclass(eq=False)
class Client:
    """One connection. Ids are empty before the hello."""

    connection: Connection
    caller: Caller
    network: bool
    kind: Kind = ""
    process_id: str = ""
    pid: int = 0
    job: dict[str, Any] = field(default_factory=dict)
    address: RawAddress | None = None
    node: RawNode | None = None  # of a client of kind agent
    leases: set[str] = field(default_factory=set)

    @property
    def job_id(self) -> str:
        """The job that the process works for."""
        return str(self.job.get("id", ""))

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.closed
