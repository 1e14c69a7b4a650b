"""The life of every actor, as the head keeps it: events in, instructions out.

PENDING -> ALIVE <-> RESTARTING, and any of them -> DEAD. An actor has a ``node_id`` from the moment its
start was sent there.

Invariant: an actor lives on at most one node that the head believes in; DEAD is final and frees the name;
what a node says of an actor that is not assigned to it changes nothing, except that a stray live one is
told to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from shoal.core import actor_ends as ends
from shoal.core.actor_placement import Candidate, choose
from shoal.core.demand import NodeDemand
from shoal.core.labels import Selector, matches, pinned, unpinned
from shoal.resources import ResourceSet, describe

ActorState = Literal["PENDING", "ALIVE", "RESTARTING", "DEAD"]

MAX_DEAD: Final = 10_000
MAX_LIVE: Final = 100_000
MAX_ERROR_BYTES: Final = 1024 * 1024
REFUSED_PAUSE_SECONDS: Final = 0.2
"""How long an actor that its node could not take waits before it is placed again."""
SETTLE_SECONDS: Final = 0.5
"""After this, a node's own report has an assigned actor's resources taken out."""


@dataclass(frozen=True)
class ActorSpec:
    """What was asked for.

    ``placement`` must be free at the start, ``resources`` is held for life; ``max_restarts`` -1: no limit.
    ``soft_node``: when the node that its labels name is gone, any other will do. With a ``group_id`` it lives in a
    bundle of that placement group; ``bundle_index`` -1: in any.
    """

    actor_id: str
    job_id: str
    owner_node_id: str = ""
    name: str = ""
    namespace: str = ""
    class_name: str = ""
    resources: ResourceSet = field(default_factory=ResourceSet)
    placement: ResourceSet = field(default_factory=ResourceSet)
    max_restarts: int = 0
    detached: bool = False
    creation: bytes = b""
    handle: bytes = b""
    label_selector: Selector = ()
    soft_node: bool = False
    group_id: str = ""
    bundle_index: int = -1

    @property
    def need(self) -> ResourceSet:
        """What must be free where it starts: the larger of both sets, resource by resource."""
        names = {*self.placement, *self.resources}
        return ResourceSet({name: max(self.placement[name], self.resources[name]) for name in names})


@dataclass
class Actor:
    """One actor's state.

    ``worker`` is its encoded address while ALIVE; reason, message and error say why it ended last. ``bundle_index`` is
    where it is in its placement group; ``refusals``: how often nodes had no room for it.
    """

    spec: ActorSpec
    state: ActorState = "PENDING"
    node_id: str = ""
    worker: bytes = b""
    restarts: int = 0
    reason: str = ""
    message: str = ""
    error: bytes = b""
    assigned_at: float = 0.0
    not_before: float = 0.0
    restart_after_kill: bool = False
    bundle_index: int = -1
    refusals: int = 0
    subscribers: set[str] = field(default_factory=set)

    @property
    def waits(self) -> bool:
        """Whether it needs a node."""
        return self.state in ("PENDING", "RESTARTING") and not self.node_id

    @property
    def starting(self) -> bool:
        """Whether its start was sent and not answered yet."""
        return self.state in ("PENDING", "RESTARTING") and bool(self.node_id)


@dataclass(frozen=True)
class Start:
    """Tell a node to start the actor."""

    node_id: str
    spec: ActorSpec


@dataclass(frozen=True)
class Stop:
    """Tell a node to end the actor's process; ``force``: at once, without its pending calls."""

    node_id: str
    actor_id: str
    reason: str
    force: bool


@dataclass(frozen=True)
class Publish:
    """Tell every subscribed node the actor's state."""

    actor_id: str


Instruction = Start | Stop | Publish
Held = list[tuple[int, str, ResourceSet]]
"""Bundle, node and resources of the actors in a placement group."""
FindBundle = Callable[[ActorSpec, Held, int], tuple[int, str] | None]
"""Gives a bundle of the actor's group with room, and its node; takes what is held there, and refusals so far."""


def _no_total(_node_id: str) -> None:
    return None


def _no_bundles(_spec: ActorSpec, _held: Held, _refusals: int) -> None:
    return None


class ActorTable:
    """All actors of the cluster."""

    def __init__(self, max_live: int = MAX_LIVE, max_dead: int = MAX_DEAD) -> None:
        self._actors: dict[str, Actor] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._waiting: dict[str, None] = {}
        self._dead: dict[str, None] = {}
        self._by_node: dict[str, dict[str, None]] = {}
        self._detached: set[str] = set()
        self._by_group: dict[str, dict[str, None]] = {}
        self._max_live, self._max_dead = max_live, max_dead

    def get(self, actor_id: str) -> Actor | None:
        """The actor with that id, dead or alive."""
        return self._actors.get(actor_id)

    def find(self, name: str, namespace: str) -> Actor | None:
        """The live actor of that name."""
        actor_id = self._names.get((namespace, name))
        return self._actors.get(actor_id) if actor_id is not None else None

    @property
    def detached(self) -> int:
        """How many detached actors there are that are not dead."""
        return len(self._detached)

    def on_node(self, node_id: str) -> list[Actor]:
        """Actors assigned to a node, starting or alive."""
        return [self._actors[actor_id] for actor_id in self._by_node.get(node_id, ())]

    def waiting(self) -> list[Actor]:
        """Actors without a node, in the order in which they came."""
        return [self._actors[actor_id] for actor_id in self._waiting]

    def demands(self) -> list[NodeDemand]:
        """What waiting actors need, one entry each; not those that wait for a bundle, which is there or demanded."""
        return [
            NodeDemand(a.spec.need, 1, "actor", a.spec.label_selector, (a.spec.class_name,))
            for a in self.waiting()
            if not a.spec.group_id and not pinned(a.spec.label_selector)
        ]

    def promised(self, node_id: str, now: float) -> ResourceSet:
        """What actors on their way to a node will take there that its own report does not show yet."""
        total = ResourceSet()
        for actor in self.on_node(node_id):
            if actor.spec.group_id:
                continue  # it takes of its bundle
            if now < actor.assigned_at + SETTLE_SECONDS:
                total = total + (actor.spec.need if actor.starting else actor.spec.resources)
            elif actor.starting:
                total = total + _beyond(actor.spec.need, actor.spec.resources)
        return total

    def create(self, spec: ActorSpec) -> str:
        """Take a new actor, to be placed by ``place``.

        Returns why not, or an empty text. The same id again is no error.
        """
        if spec.actor_id in self._actors:
            return ""
        if len(self._actors) - len(self._dead) >= self._max_live:
            return f"the cluster has {self._max_live} actors already, the most a head takes"
        if spec.name:
            holder = self.find(spec.name, spec.namespace)
            if holder is not None:
                return f"the name {spec.name!r} is taken in namespace {spec.namespace!r}"
            self._names[spec.namespace, spec.name] = spec.actor_id
        self._actors[spec.actor_id] = Actor(spec)
        self._waiting[spec.actor_id] = None
        self._note(spec)
        return ""

    def restore(self, actor: Actor) -> None:
        """Take an actor as an earlier head process left it; nothing of it is final until its node has spoken."""
        actor_id, spec = actor.spec.actor_id, actor.spec
        self._actors[actor_id] = actor
        self._note(spec)
        if spec.name:
            self._names[spec.namespace, spec.name] = actor_id
        if actor.node_id:
            self._by_node.setdefault(actor.node_id, {})[actor_id] = None
        else:
            self._waiting[actor_id] = None

    def place(
        self, candidates: Sequence[Candidate], now: float, total_of: Callable[[str], ResourceSet | None] = _no_total
    ) -> list[Instruction]:
        """Give waiting actors to nodes that have the resources free now.

        ``candidates`` have promises taken out; ``total_of`` gives what a node has when it is empty, None for one that
        is gone.
        """
        nodes = {node.node_id: node for node in candidates}
        hopeless: set[tuple[ResourceSet, Selector]] = set()
        instructions: list[Instruction] = []
        for actor in self.waiting():
            if pinned(actor.spec.label_selector):
                instructions += self._look_for_node(actor, total_of)
            need, labels = actor.spec.need, actor.spec.label_selector
            if (need, labels) in hopeless or now < actor.not_before or actor.spec.group_id or not actor.waits:
                continue
            allowed = [node for node in nodes.values() if matches(labels, node.labels)]
            chosen = choose(need, allowed, actor.spec.owner_node_id)
            if chosen is None:
                hopeless.add((need, labels))
                continue
            node = nodes[chosen]
            nodes[chosen] = replace(node, available=node.available - need, actors=node.actors + 1)
            self._assign(actor, chosen, now)
            instructions.append(Start(chosen, actor.spec))
        return instructions

    def _look_for_node(self, actor: Actor, total_of: Callable[[str], ResourceSet | None]) -> list[Instruction]:
        """Its node may be gone, or too small: then it goes elsewhere if it may, else it is dead."""
        node_id = pinned(actor.spec.label_selector)
        total = total_of(node_id)
        if total is not None and actor.spec.need.fits(total):
            return []
        if actor.spec.soft_node:
            actor.spec = replace(actor.spec, label_selector=unpinned(actor.spec.label_selector))
            return []
        why = "there is no such node" if total is None else f"it does not have {describe(actor.spec.need)}"
        return self._bury(actor, ends.UNSCHEDULABLE, f"the actor may only run on node {node_id}, and {why}", b"")

    def place_in_bundles(self, find: FindBundle, now: float) -> list[Instruction]:
        """Give waiting actors of placement groups to the nodes of bundles that have room for them."""
        held: dict[str, Held] = {}
        hopeless: set[tuple[str, int, ResourceSet]] = set()
        instructions: list[Instruction] = []
        for actor in self.waiting():
            spec = actor.spec
            wanted = (spec.group_id, spec.bundle_index, spec.need)
            if not spec.group_id or wanted in hopeless:
                continue
            if now < actor.not_before:
                hopeless.add(wanted)  # nobody who came later takes the room that it was refused a moment ago
                continue
            if spec.group_id not in held:
                held[spec.group_id] = self._held_in(spec.group_id)
            found = find(spec, held[spec.group_id], actor.refusals)
            if found is None:
                hopeless.add(wanted)
                continue
            actor.bundle_index, node_id = found
            held[spec.group_id].append((actor.bundle_index, node_id, spec.need))
            self._assign(actor, node_id, now)
            instructions.append(Start(node_id, spec))
        return instructions

    def _held_in(self, group_id: str) -> Held:
        members = [self._actors[actor_id] for actor_id in self._by_group.get(group_id, ())]
        return [
            (a.bundle_index, a.node_id, a.spec.need if a.starting else a.spec.resources) for a in members if a.node_id
        ]

    def next_deadline(self, now: float) -> float | None:
        """When a waiting actor may be placed again, if that is in the future."""
        return min((a.not_before for a in self.waiting() if a.not_before > now), default=None)

    def started(self, node_id: str, actor_id: str, worker: bytes) -> list[Instruction]:
        """A node says that the actor runs."""
        actor = self._actors.get(actor_id)
        if actor is None or not _is_on(actor, node_id):
            return [Stop(node_id, actor_id, ends.KILLED, True)]
        if actor.state == "ALIVE" and actor.worker == worker:
            return []
        actor.state, actor.worker = "ALIVE", worker
        return [Publish(actor_id)]

    def failed(
        self, node_id: str, actor_id: str, reason: str, message: str, error: bytes, now: float
    ) -> list[Instruction]:
        """A node says that the actor could not start or ended.

        Reasons: see ActorFailed in node.proto, and NodeDied.
        """
        actor = self._actors.get(actor_id)
        if actor is None or not _is_on(actor, node_id):
            return []
        if reason == ends.NO_RESOURCES:
            actor.not_before, actor.refusals = now + REFUSED_PAUSE_SECONDS, actor.refusals + 1
            self._unassign(actor)
            return []
        killed_to_restart, actor.restart_after_kill = actor.restart_after_kill, False
        if (reason in ends.RESTARTABLE or killed_to_restart) and _restarts_left(actor):
            actor.state, actor.restarts, actor.worker = "RESTARTING", actor.restarts + 1, b""
            actor.reason, actor.message = reason, message
            self._unassign(actor)
            return [Publish(actor_id)]
        return self._bury(actor, reason, message, error)

    def scope_ended(self, actor_id: str, reason: str) -> list[Instruction]:
        """Its owner let go of it or died. A detached actor outlives both, but not being killed."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.state == "DEAD" or (actor.spec.detached and reason != ends.KILLED):
            return []
        return self._end(actor, reason, force=reason != ends.OUT_OF_SCOPE)

    def kill(self, actor_id: str, no_restart: bool, reason: str = ends.KILLED) -> list[Instruction]:
        """End the actor's process. With ``no_restart=False`` it comes back when it has restarts left."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.state == "DEAD":
            return []
        if no_restart or not _restarts_left(actor):
            return self._end(actor, reason, force=True)
        if not actor.node_id:
            return []
        actor.restart_after_kill = True
        return [Stop(actor.node_id, actor_id, reason, True)]

    def job_ended(self, job_id: str, reason: str = ends.OWNER_DIED) -> list[Instruction]:
        """The job's driver is gone: its actors go, detached ones stay."""
        live = [
            a for a in self._actors.values() if a.spec.job_id == job_id and a.state != "DEAD" and not a.spec.detached
        ]
        return [instruction for actor in live for instruction in self._end(actor, reason, force=True)]

    def groups(self) -> list[str]:
        """Placement groups that live actors are in, or wait for."""
        return list(self._by_group)

    def group_removed(self, group_id: str) -> list[Instruction]:
        """A placement group is gone: its actors go, those too that wait for it."""
        members = [self._actors[actor_id] for actor_id in self._by_group.get(group_id, ())]
        return [i for actor in members for i in self._end(actor, ends.GROUP_REMOVED, force=True)]

    def node_died(self, node_id: str, message: str, now: float) -> list[Instruction]:
        """Every actor there has ended, and so has every owner there:

        what those owned and is not detached goes too.
        """
        instructions: list[Instruction] = []
        for actor in list(self._actors.values()):
            actor.subscribers.discard(node_id)
            owned = actor.spec.owner_node_id == node_id and not actor.spec.detached
            if owned and actor.state != "DEAD" and actor.node_id != node_id:
                instructions += self._end(actor, ends.OWNER_DIED, force=True)
        for actor in self.on_node(node_id):
            owned = actor.spec.owner_node_id == node_id and not actor.spec.detached
            reason = ends.OWNER_DIED if owned else ends.NODE_DIED
            instructions += self.failed(node_id, actor.spec.actor_id, reason, message, b"", now)
        return instructions

    def node_registered(self, node_id: str, live_actor_ids: Iterable[str], now: float) -> list[Instruction]:
        """A node is back (or new) and says which actors it has;

        what the broken session swallowed is made up for.
        """
        live = set(live_actor_ids)
        instructions: list[Instruction] = []
        for actor_id in sorted(live):
            actor = self._actors.get(actor_id)
            if actor is None or not _is_on(actor, node_id):
                instructions.append(Stop(node_id, actor_id, ends.KILLED, True))
        for actor in self.on_node(node_id):
            actor_id = actor.spec.actor_id
            if actor_id in live:
                if actor.restart_after_kill:
                    instructions.append(Stop(node_id, actor_id, ends.KILLED, True))
            elif actor.starting:
                self._unassign(actor)  # the start never arrived: it was not a failure of the actor
            else:
                message = "the worker process ended while its node was out of touch"
                instructions += self.failed(node_id, actor_id, ends.WORKER_DIED, message, b"", now)
        return instructions

    def subscribed(self, node_id: str) -> list[str]:
        """Actors whose changes a node wants."""
        return [actor_id for actor_id, actor in self._actors.items() if node_id in actor.subscribers]

    def _note(self, spec: ActorSpec) -> None:
        if spec.detached:
            self._detached.add(spec.actor_id)
        if spec.group_id:
            self._by_group.setdefault(spec.group_id, {})[spec.actor_id] = None

    def _leave_group(self, spec: ActorSpec) -> None:
        members = self._by_group.get(spec.group_id, {})
        members.pop(spec.actor_id, None)
        if not members:
            self._by_group.pop(spec.group_id, None)

    def _assign(self, actor: Actor, node_id: str, now: float) -> None:
        actor.node_id, actor.assigned_at = node_id, now
        self._waiting.pop(actor.spec.actor_id, None)
        self._by_node.setdefault(node_id, {})[actor.spec.actor_id] = None

    def _unassign(self, actor: Actor) -> None:
        self._detach(actor)
        self._waiting[actor.spec.actor_id] = None

    def _detach(self, actor: Actor) -> None:
        held = self._by_node.get(actor.node_id, {})
        held.pop(actor.spec.actor_id, None)
        if not held:
            self._by_node.pop(actor.node_id, None)
        actor.node_id, actor.worker = "", b""

    def _end(self, actor: Actor, reason: str, force: bool) -> list[Instruction]:
        node_id, words = actor.node_id, _END_WORDS.get(reason, f"the actor was ended: {reason}")
        instructions = self._bury(actor, reason, words, b"")
        if node_id:
            instructions.insert(0, Stop(node_id, actor.spec.actor_id, reason, force))
        return instructions

    def _bury(self, actor: Actor, reason: str, message: str, error: bytes) -> list[Instruction]:
        self._detach(actor)
        actor_id, spec = actor.spec.actor_id, actor.spec
        actor.state, actor.reason, actor.message = "DEAD", reason, message
        actor.error = error if len(error) <= MAX_ERROR_BYTES else b""
        actor.spec = replace(spec, creation=b"")
        self._waiting.pop(actor_id, None)
        self._detached.discard(actor_id)
        self._leave_group(spec)
        if spec.name and self._names.get((spec.namespace, spec.name)) == actor_id:
            del self._names[spec.namespace, spec.name]
        self._dead[actor_id] = None
        while len(self._dead) > self._max_dead:
            oldest = next(iter(self._dead))
            del self._dead[oldest], self._actors[oldest]
        return [Publish(actor_id)]


_END_WORDS: Final = {
    ends.OUT_OF_SCOPE: "the actor's last handle went out of scope",
    ends.OWNER_DIED: "the actor is dead because its owner has died",
    ends.KILLED: "the actor was killed",
    ends.GROUP_REMOVED: "the actor is dead because its placement group was removed",
}


def _is_on(actor: Actor, node_id: str) -> bool:
    return actor.state != "DEAD" and bool(actor.node_id) and actor.node_id == node_id


def _restarts_left(actor: Actor) -> bool:
    return actor.spec.max_restarts < 0 or actor.restarts < actor.spec.max_restarts


def _beyond(need: ResourceSet, held: ResourceSet) -> ResourceSet:
    return ResourceSet({name: max(0, amount - held[name]) for name, amount in need.items()})
