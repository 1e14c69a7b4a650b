"""One replica of a group whose pods did not start, for a placement group that only more of them could hold.

Such a group gets one replica to show that its pods start again. A task makes use of that one; a placement group that
needs several would have no place, so that nothing would ever be tried for it.

Invariant: a replica is added only where the placement group would have its place if the group were open, and only one
of a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from shoal_operator.autoscaler.choice import Strategy
from shoal_operator.autoscaler.gangs import Band
from shoal_operator.autoscaler.search import Question, pack
from shoal_operator.autoscaler.standing import Room

PROBED_MAX: Final = 8
"""Placement groups that are looked at in one plan."""


def gang_probes(
    question: Question, failed: Iterable[Band], left: Room, opened: Room, strategy: Strategy
) -> Mapping[int, Band]:
    """Groups that get a replica to be tried, each with the placement group that it is for.

    Args:
        failed: placement groups without a place.
        left: room that the plan leaves.
        opened: room that there would be if the pods of all groups that may be tried did start.
    """
    space = question.space
    free = {index for index in left.probing if left.nodes_for(space, index) > 0}
    found: dict[int, Band] = {}
    wanting = ((band, {index for item in band.bundles for index in item.groups} & free) for band in failed)
    for band, groups in islice((pair for pair in wanting if pair[1]), PROBED_MAX):
        alone = replace(question, items=(), bands=(band,), room=opened, extra={})
        if groups.isdisjoint(found) and not pack(alone, strategy).failed_gangs:
            found[min(groups, key=lambda index: (-space.kinds[index].group.priority, index))] = band
    return found
