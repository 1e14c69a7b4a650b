"""What the parts of an agent share that carry out the head's orders and ask it: actors and placement groups.

Invariant: nothing here changes as long as the agent lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shoal.core.scheduler import LeaseScheduler
from shoal.node.inquiries import Inquiries
from shoal.node.leases import Leases
from shoal.wire.reactor import Reactor

if TYPE_CHECKING:
    from shoal.protocol.link import HeadLink


@dataclass(frozen=True)
class NodeContext:
    """See the module.

    Args:
        node_id: of this node.
        reactor: the agent's.
        scheduler: whose room is taken.
        leases: of this node; carries out what becomes possible when room is given back.
        link: to the head.
        inquiries: to the head.
    """

    node_id: str
    reactor: Reactor
    scheduler: LeaseScheduler
    leases: Leases
    link: Callable[[], HeadLink]
    inquiries: Inquiries
