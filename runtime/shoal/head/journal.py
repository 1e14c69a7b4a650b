"""What the head writes down and what it finds at its start: the state file as the head's parts see it.

Invariant: without a state file every change counts as written at once, so that nobody has to ask whether there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shoal.core.actors import Actor
from shoal.core.demand import NodeDemand
from shoal.core.jobs import Job
from shoal.core.membership import Member, NodeInfo
from shoal.core.placement_group import PlacementGroup
from shoal.head import group_messages, state_rows
from shoal.head.state_error import StateError, unreadable

if TYPE_CHECKING:
    from shoal.head.state import HeadState

CLUSTER_ID: Final = "cluster_id"
FLOORS: Final = "floors"


@dataclass(frozen=True)
class KnownNode:
    """A node that an earlier head process knew. ``draining``: the drain was ordered and not confirmed."""

    info: NodeInfo
    alive: bool
    reason: str
    draining: bool


@dataclass(frozen=True)
class Restored:
    """What an earlier head process left.

    ``drivers``: job id and node id; ``floors``: what programs asked to be there.
    """

    kv: tuple[tuple[str, str, bytes], ...] = ()
    actors: tuple[Actor, ...] = ()
    nodes: tuple[KnownNode, ...] = ()
    drivers: tuple[tuple[str, str], ...] = ()
    jobs: tuple[Job, ...] = field(default=())
    floors: tuple[NodeDemand, ...] = ()
    groups: tuple[PlacementGroup, ...] = ()


class Journal:
    """See the module. Every method but ``read`` and ``close`` only queues.

    Args:
        state: the file; None keeps nothing beyond this process.

    Raises:
        StateError: the file's rows cannot be read.
    """

    def __init__(self, state: HeadState | None = None) -> None:
        self._state = state
        known = _identity(state) if state is not None else {}
        self.cluster_id: Final[str] = str(known.get(CLUSTER_ID) or os.urandom(16).hex())
        self.restored = Restored() if state is None else _read(state)
        if CLUSTER_ID not in known:
            self._put("identity", CLUSTER_ID, self.cluster_id)

    @property
    def outlives_the_head(self) -> bool:
        """Whether a later head process finds what was written."""
        return self._state is not None

    @property
    def full(self) -> bool:
        """Whether the disk is too far behind to take in anything new."""
        return self._state is not None and self._state.full

    def when_durable(self, done: Callable[[], None]) -> None:
        """Call ``done`` (on any thread; it must be quick) once all changes so far are on disk."""
        if self._state is None:
            done()
        else:
            self._state.when_durable(done)

    def forget_restored(self) -> None:
        """What was found has been taken over: keep it no longer in memory."""
        self.restored = Restored()

    def close(self) -> None:
        """Write what waits. Idempotent."""
        if self._state is not None:
            self._state.close()

    def actor(self, actor: Actor | None) -> None:
        """An actor changed; a dead one is forgotten."""
        if actor is not None and actor.state == "DEAD":
            self._drop("actors", actor.spec.actor_id)
        elif actor is not None and self._state is not None:
            self._put("actors", *state_rows.actor_row(actor))

    def kv(self, namespace: str, key: str, value: bytes | None) -> None:
        """A key has this value now; None: it has none."""
        if value is None:
            self._drop("kv", namespace, key)
        else:
            self._put("kv", namespace, key, value)

    def floors(self, floors: list[NodeDemand]) -> None:
        """What programs ask to be there now."""
        if self._state is not None:
            self._put("identity", FLOORS, state_rows.floors_text(floors))

    def placement_group(self, group: PlacementGroup) -> None:
        """A placement group changed; a removed one is forgotten."""
        if group.state == "REMOVED":
            self._drop("placement_groups", group.spec.group_id)
        elif self._state is not None:
            self._put("placement_groups", *group_messages.row(group))

    def node(self, member: Member) -> None:
        """A node joined or died."""
        if self._state is not None:
            self._put("nodes", *state_rows.node_row(member))

    def nodes_forgotten(self, node_ids: list[str]) -> None:
        """Nodes that died long ago."""
        for node_id in node_ids:
            self._drop("nodes", node_id)
            self._drop("drains", node_id)

    def drain(self, node_id: str, reason: str | None) -> None:
        """A drain was ordered; None: the node confirmed or refused it."""
        if reason is None:
            self._drop("drains", node_id)
        else:
            self._put("drains", node_id, reason)

    def driver(self, job_id: str, node_id: str, *, there: bool) -> None:
        """Whether a node has drivers of a job."""
        if there:
            self._put("drivers", job_id, node_id)
        else:
            self._drop("drivers", job_id, node_id)

    def job(self, job: Job) -> None:
        """A submitted job changed."""
        if self._state is not None:
            self._put("jobs", *state_rows.job_row(job))

    def jobs_forgotten(self, submission_ids: list[str]) -> None:
        """Jobs that ended long ago."""
        for submission_id in submission_ids:
            self._drop("jobs", submission_id)

    def _put(self, table: str, *row: object) -> None:
        if self._state is not None:
            self._state.put(table, *row)

    def _drop(self, table: str, *key: str) -> None:
        if self._state is not None:
            self._state.drop(table, *key)


def _read(state: HeadState) -> Restored:
    try:
        draining = {node_id for node_id, _reason in state.rows("drains")}
        return Restored(
            kv=tuple(state.rows("kv")),
            actors=tuple(map(state_rows.actor, state.rows("actors"))),
            nodes=tuple(_nodes(state, draining)),
            drivers=tuple(state.rows("drivers")),
            jobs=tuple(map(state_rows.job, state.rows("jobs"))),
            groups=tuple(map(group_messages.group, state.rows("placement_groups"))),
            floors=state_rows.floors(_identity(state).get(FLOORS, "[]")),
        )
    except StateError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise unreadable(state.path, f"a row is malformed ({error})") from error


def _identity(state: HeadState) -> dict[str, str]:
    """What belongs to the cluster as a whole, by name."""
    return {str(name): str(value) for name, value in state.rows("identity")}


def _nodes(state: HeadState, draining: set[str]) -> Iterator[KnownNode]:
    for row in state.rows("nodes"):
        info, alive, reason = state_rows.node(row)
        yield KnownNode(info, alive, reason, info.node_id in draining)
