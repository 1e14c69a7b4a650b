"""Pods that do not start give way to nodes of other groups where a limit over all groups has no room for both.

Invariant: whole replicas of which no pod starts, never below a group's minimum, and no more of them than the limit
makes necessary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from shoal_operator.autoscaler import reasons
from shoal_operator.autoscaler.model import Cooldown, Removal, ScalingRequest
from shoal_operator.autoscaler.removal import Excess
from shoal_operator.autoscaler.replicas import Replica, find_replicas, nodes_by_group


def yielding_replicas(request: ScalingRequest, cooldowns: Iterable[Cooldown]) -> list[Replica]:
    """Replicas that may give way, in the order in which they do: low priorities first, probes last.

    Args:
        request: the question, graces applied.
        cooldowns: of now; their probes are the pods that show when the trouble is over.
    """
    if request.limits.max_nodes is None and request.limits.max_resources is None:
        return []
    there = (replica for replica in find_replicas(request) if replica.exists)
    replicas = [replica for replica in there if replica.group is not None and not replica.leaving]
    staying = nodes_by_group(replicas)
    probes = {entry.probe for entry in cooldowns if entry.probe}
    stuck = [replica for replica in replicas if replica.stuck == len(replica.members)]
    stuck.sort(key=lambda item: (not probes.isdisjoint(item.names), item.priority, item.age_seconds, item.names))
    found = []
    for replica in stuck:
        least = replica.group.min_nodes if replica.group else 0
        if staying[replica.group_name] - len(replica.members) >= least:
            staying[replica.group_name] -= len(replica.members)
            found.append(replica)
    return found


def give_way(
    request: ScalingRequest, replicas: Sequence[Replica], added: Mapping[str, int], gone: Collection[str]
) -> list[Removal]:
    """Pods to give up, so that with what is added no limit is exceeded.

    Args:
        request: the question.
        replicas: those that may give way, in order.
        added: new nodes by group.
        gone: names of pods that are given up already.
    """
    if not replicas or not any(added.values()):
        return []
    staying = (item for item in find_replicas(request) if item.exists and set(item.names).isdisjoint(gone))
    excess = Excess(request.limits, staying)
    for group in request.groups:
        excess.add(group, added.get(group.name, 0))
    removals: list[Removal] = []
    for replica in replicas:
        limit = excess.of(replica) if set(replica.names).isdisjoint(gone) else ""
        if limit:
            excess.give(replica)
            removals += replica.removals(reasons.NOT_NEEDED, f"it does not start, others take its place: {limit}")
    return removals
