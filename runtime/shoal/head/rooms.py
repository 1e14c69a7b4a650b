"""What nodes have free, less what actors on their way there will take, and bundles that they were asked to hold.

Invariant: guarded by the head's lock; what is offered for placing is never more than a node last reported.
"""

from __future__ import annotations

from shoal.core.actor_placement import Candidate
from shoal.core.actors import ActorTable
from shoal.core.labels import NODE_ID
from shoal.core.membership import Member, Membership
from shoal.core.placement import PlacementTable
from shoal.core.room import RecentRoom
from shoal.head import convert
from shoal.protocol import head_pb2, node_pb2
from shoal.resources import ResourceSet


class Rooms:
    """See the module. Times are seconds of any clock that only goes forward.

    Args:
        members: the nodes.
        actors: which of them are on their way where.
        groups: which bundles nodes are being asked to hold.
    """

    def __init__(self, members: Membership, actors: ActorTable, groups: PlacementTable) -> None:
        self._members, self._actors, self._groups = members, actors, groups
        self.lately = RecentRoom()
        self._shown: dict[str, tuple[tuple[object, ...], node_pb2.ClusterNode]] = {}

    def view(self) -> node_pb2.ClusterView:
        """What nodes see of each other. A message is made again only for a node that has changed: joins are many."""
        shown = {}
        for member in self._members:
            facts = (member.info, member.status.available, member.alive, member.takes_work)
            known = self._shown.get(member.info.node_id)
            shown[member.info.node_id] = known if known and known[0] == facts else (facts, convert.cluster_node(member))
        self._shown = shown
        return node_pb2.ClusterView(nodes=[node for _facts, node in shown.values()])

    def candidates(self, now: float) -> list[Candidate]:
        """The nodes that something may be placed on."""
        return [self._candidate(member, now) for member in self._members.alive() if member.takes_work]

    def _candidate(self, member: Member, now: float) -> Candidate:
        node_id = member.info.node_id
        labels = {**member.info.labels, NODE_ID: node_id}
        free = self._left(member, now)
        return Candidate(node_id, member.info.total, free, len(self._actors.on_node(node_id)), labels)

    def total(self, node_id: str) -> ResourceSet | None:
        """What a node has when it is empty; None when there is no such node (any more)."""
        member = self._members.get(node_id)
        return member.info.total if member is not None and member.alive else None

    def snapshots(self, now: float, *, recent: bool) -> list[head_pb2.NodeSnapshot]:
        """With ``recent``, without what actors on their way will take, and with the room of just now: ``core.room``."""
        snapshots = []
        for member in self._members:
            node_id = member.info.node_id
            reported = member.status.available
            free = self._left(member, now) if recent and member.alive else reported
            most = (self.lately.recent(node_id, reported, now) if recent and member.alive else None) or reported
            coming = sum(actor.starting for actor in self._actors.on_node(node_id)), self._groups.coming(node_id)
            snapshots.append(convert.node_snapshot(member, free, most, coming, now))
        return snapshots

    def _left(self, member: Member, now: float) -> ResourceSet:
        node_id = member.info.node_id
        promised = self._actors.promised(node_id, now) + self._groups.promised(node_id)
        return ResourceSet({name: max(0, amount - promised[name]) for name, amount in member.status.available.items()})
