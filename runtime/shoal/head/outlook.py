"""What the head tells of work and of use, and what it has to remember for that.

Invariant: everything here is guarded by the head's lock; what a snapshot says of demand, gangs and floors is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from shoal.core.cluster_use import ClusterUse, Users
from shoal.core.demand import NodeDemand
from shoal.core.floors import checked
from shoal.core.gangs import Gang, told
from shoal.core.recent_demand import RecentDemand
from shoal.head import convert
from shoal.protocol import head_pb2, node_pb2

OF_THE_HEAD: Final = "head"
"""The source of demand that waits at the head itself: actors and drivers. No node has this id."""


class Outlook:
    """See the module. Times are seconds of any clock that only goes forward.

    Args:
        now: when the head began.
    """

    def __init__(self, now: float) -> None:
        self._demand = RecentDemand()
        self._use = ClusterUse(now)
        self.floors: list[NodeDemand] = []

    def node_waits(self, node_id: str, demands: Iterable[NodeDemand], now: float) -> bool:
        """What waits at a node now. True when that is less of something: ``next_deadline`` may be sooner."""
        return self._demand.told(node_id, demands, now)

    def head_waits(self, demands: Iterable[NodeDemand], now: float) -> bool:
        """The same of actors and drivers."""
        return self._demand.told(OF_THE_HEAD, demands, now)

    def used_by(self, users: Users, now: float) -> bool:
        """Who uses the cluster now; False when that is no news."""
        return self._use.changed(users, now)

    def request(self, request: node_pb2.RequestResourcesRequest) -> None:
        """Take new floors. Raises ValueError with words; the floors of before stay then."""
        self.floors = checked(map(convert.floor, request.floors))

    def expire(self, now: float) -> bool:
        """Forget what is too old; True when a snapshot shows something else now."""
        return self._demand.expire(now)

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do next."""
        return self._demand.next_deadline()

    def tell(self, snapshot: head_pb2.HeadSnapshot, gangs: Sequence[Gang], now: float, more_gangs: int = 0) -> None:
        """Fill in what a snapshot says of all this; ``more_gangs``: so many wait beside those that are given."""
        shown, left_out = told(gangs)
        snapshot.demands.extend(map(convert.demand_message, self._demand.listed(now)))
        snapshot.floors.extend(map(convert.demand_message, self.floors))
        snapshot.gangs.extend(map(convert.gang_message, shown))
        snapshot.gangs_left_out = left_out + more_gangs
        users = self._use.users
        snapshot.activity.CopyFrom(
            head_pb2.ClusterActivity(
                drivers=users.drivers,
                jobs=users.jobs,
                detached_actors=users.detached_actors,
                idle_seconds=self._use.idle_seconds(now),
            )
        )
