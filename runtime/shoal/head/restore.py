"""Puts what an earlier head process left into the parts of a new one.

Invariants: a node that was a member stays one until it comes back or its time is over; the old head's own node is
gone for certain, with its drivers and actors; a driver is expected only of a node that is, so that none is expected for
ever; nothing is sent from here, for nobody is connected yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shoal.core.actors import ActorTable, Instruction
from shoal.core.membership import Membership
from shoal.core.placement import PlacementTable
from shoal.core.placement_group import Instruction as GroupInstruction
from shoal.head.journal import Restored
from shoal.head.kv import KvStore
from shoal.head.sessions import SessionBook

OLD_HEAD = "the head was started again, and its node with it"


@dataclass(frozen=True)
class Parts:
    """The head's state machines, empty."""

    members: Membership
    actors: ActorTable
    kv: KvStore
    sessions: SessionBook
    groups: PlacementTable


def restore(
    restored: Restored, parts: Parts, now: float
) -> tuple[list[Instruction], list[GroupInstruction], list[str]]:
    """Returns what is to be carried out, and the nodes that are dead now and were not before."""
    for namespace, key, value in restored.kv:
        parts.kv.put(namespace, key, value, overwrite=True)
    for actor in restored.actors:
        parts.actors.restore(actor)
    for group in restored.groups:
        parts.groups.restore(group)
    for job_id, node_id in restored.drivers:
        parts.sessions.expect_driver(job_id, node_id)
    for node in restored.nodes:
        parts.members.restore(node.info, now, "" if node.alive else node.reason, draining=node.draining)
    gone = [node.info.node_id for node in restored.nodes if node.alive and node.info.is_head]
    for node_id in gone:
        parts.members.declare_dead(node_id, OLD_HEAD, now)
    known = {node.info.node_id for node in restored.nodes if node.alive and not node.info.is_head}
    instructions, of_groups = _end_drivers(sorted({node_id for _, node_id in restored.drivers} - known), parts)
    for node_id in gone:
        instructions += parts.actors.node_died(node_id, f"node {node_id[:8]} died: {OLD_HEAD}", now)
        of_groups += parts.groups.node_died(node_id, now)
    for node_id in {actor.node_id for actor in restored.actors if actor.node_id} - known - set(gone):
        instructions += parts.actors.node_died(node_id, f"node {node_id[:8]} is not known to the head", now)
    for node_id in {node_id for group in restored.groups for node_id in group.occupied()} - known - set(gone):
        of_groups += parts.groups.node_died(node_id, now)
    for group_id in parts.actors.groups():
        if parts.groups.get(group_id) is None:
            instructions += parts.actors.group_removed(group_id)
    return instructions, of_groups, gone


def _end_drivers(node_ids: Iterable[str], parts: Parts) -> tuple[list[Instruction], list[GroupInstruction]]:
    """Those nodes will not come back, and their drivers neither."""
    instructions: list[Instruction] = []
    of_groups: list[GroupInstruction] = []
    for node_id in node_ids:
        for job_id in parts.sessions.node_died(node_id):
            instructions += parts.actors.job_ended(job_id)
            of_groups += parts.groups.job_ended(job_id)
            parts.sessions.job_ended(job_id)
    return instructions, of_groups
