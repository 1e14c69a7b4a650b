"""One simulated pass: which work goes where, and how many new nodes that takes.

Order of preference for a unit of work: nodes the simulation has used already, joined nodes (busy ones first,
so that idle ones stay idle), coming nodes (oldest first), new nodes by strict priority and then least waste.

Invariant: the same request gives the same result whatever the order of its members, and new nodes that were
asked for once are found as coming nodes the next time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from shoal_operator.autoscaler.model import ComingNode, Demand, Group, Node, ScalingRequest
from shoal_operator.autoscaler.packing import Bin, matches, place, units_per_node, waste


@dataclass(slots=True)
class Simulation:
    """The state of one pass. Built by ``simulate``; read-only for everybody else."""

    groups: dict[str, Group]
    room: dict[str, int]
    """How many more nodes each group may get."""
    total_room: int
    joined: list[Bin]
    coming: list[Bin]
    touched: list[Bin] = field(default_factory=list)
    added_for_minimum: Counter[str] = field(default_factory=Counter)
    added_for_demand: Counter[str] = field(default_factory=Counter)
    waiting: list[tuple[Demand, int]] = field(default_factory=list)
    unmet: list[tuple[Demand, int]] = field(default_factory=list)

    def used_members(self) -> set[str]:
        """Pod names of joined and coming nodes that waiting work would land on."""
        return {member for item in self.touched for member in item.members}


def simulate(request: ScalingRequest, *, recent: bool = False) -> Simulation:
    """Place all demand of ``request``; with ``recent``, room that nodes had a moment ago counts, too."""
    state = _start(request, recent=recent)
    _fill_minimum(state, request)
    for demand in sorted(request.demands, key=demand_order):
        _place_demand(state, demand)
    return state


def demand_order(demand: Demand) -> tuple[object, ...]:
    """Hard to place first: labels, rare resources, then size; the rest makes the order total."""
    shape = demand.shape
    rare = sum(1 for name in shape if name not in {"CPU", "memory"})
    return (
        -len(demand.label_selector),
        -rare,
        -shape["CPU"],
        -shape["memory"],
        tuple((name, -amount) for name, amount in shape.items()),
        demand.label_selector,
        demand.kind,
        demand.examples,
        demand.count,
    )


def stuck_groups(coming: tuple[ComingNode, ...]) -> dict[str, ComingNode]:
    """Groups in which a pod does not start, each with the first such pod by name."""
    result: dict[str, ComingNode] = {}
    for node in sorted(coming, key=lambda item: item.pod_name):
        if node.blocked_reason:
            result.setdefault(node.group, node)
    return result


def _start(request: ScalingRequest, *, recent: bool) -> Simulation:
    groups = {group.name: group for group in request.groups}
    present = Counter(node.group for node in request.nodes if node.removable)
    present.update(node.group for node in request.coming)
    stuck = stuck_groups(request.coming)
    room = {name: 0 if name in stuck else max(0, group.max_nodes - present[name]) for name, group in groups.items()}
    limit = request.limits.max_nodes
    total_room = sum(room.values()) if limit is None else max(0, limit - sum(present.values()))
    joined = _joined_bins(request.nodes, groups, recent=recent)
    return Simulation(groups, room, total_room, joined, _coming_bins(request, groups))


def _joined_bins(nodes: tuple[Node, ...], groups: dict[str, Group], *, recent: bool) -> list[Bin]:
    usable = sorted((n for n in nodes if not n.draining), key=lambda n: (n.idle_seconds, n.pod_name, n.node_id))
    return [
        Bin(
            node.group,
            node.recently_available if recent and node.recently_available is not None else node.available,
            1,
            groups[node.group].labels if node.group in groups else (),
            (node.pod_name,),
            joined=True,
        )
        for node in usable
    ]


def _coming_bins(request: ScalingRequest, groups: dict[str, Group]) -> list[Bin]:
    """Coming nodes, oldest first; those of one group and age are one bin."""
    runs: dict[tuple[float, str], list[str]] = {}
    for node in request.coming:
        if node.group in groups and not node.blocked_reason:
            runs.setdefault((-node.age_seconds, node.group), []).append(node.pod_name)
    return [
        Bin(name, groups[name].resources, len(members), groups[name].labels, tuple(sorted(members)))
        for (_, name), members in sorted(runs.items())
    ]


def _fill_minimum(state: Simulation, request: ScalingRequest) -> None:
    staying = Counter(node.group for node in request.nodes if node.removable and not node.draining)
    staying.update(node.group for node in request.coming)
    for name in sorted(state.groups):
        group = state.groups[name]
        missing = _whole(group, group.min_nodes - staying[name], min(state.room[name], state.total_room))
        if missing > 0:
            state.added_for_minimum[name] += missing
            state.room[name] -= missing
            state.total_room -= missing
            state.coming.append(Bin(name, group.resources, missing, group.labels))


def _place_demand(state: Simulation, demand: Demand) -> None:
    left = _pour(state.touched, state.touched, demand, demand.count, keep=True)
    left = _pour(state.joined, state.touched, demand, left)
    before = left
    left = _pour(state.coming, state.touched, demand, left)
    left = _open_new(state, demand, left)
    if before > left:
        state.waiting.append((demand, before - left))
    if left:
        state.unmet.append((demand, left))


def _pour(source: list[Bin], touched: list[Bin], demand: Demand, units: int, *, keep: bool = False) -> int:
    """Place into ``source`` in order; bins that get used move to ``touched`` (or stay, with ``keep``)."""
    if not units:
        return 0
    remaining: list[Bin] = []
    moved: list[Bin] = []
    for item in source:
        placed, pieces = place(demand, units, item) if units else (0, [item])
        units -= placed
        for piece in pieces:
            (moved if piece.used and not keep else remaining).append(piece)
    source[:] = remaining
    touched.extend(moved)
    return units


def _open_new(state: Simulation, demand: Demand, units: int) -> int:
    for group in _preferred(state, demand, units):
        if not units:
            break
        per_node = units_per_node(demand.shape, group.resources, units)
        count = _whole(group, -(-units // per_node), min(state.room[group.name], state.total_room))
        if count <= 0:
            continue
        state.room[group.name] -= count
        state.total_room -= count
        state.added_for_demand[group.name] += count
        placed, pieces = place(demand, units, Bin(group.name, group.resources, count, group.labels))
        units -= placed
        state.touched.extend(replace(piece, used=True) for piece in pieces)
    return units


def _whole(group: Group, nodes: int, room: int) -> int:
    """``nodes`` as whole replicas of the group: rounded up, but never more than fit into ``room``."""
    return min(-(-nodes // group.hosts), room // group.hosts) * group.hosts


def _preferred(state: Simulation, demand: Demand, units: int) -> list[Group]:
    """Groups that could take the shape, best first."""
    able = [
        group
        for group in state.groups.values()
        if units
        and state.room[group.name] >= group.hosts
        and matches(demand.label_selector, group.labels)
        and demand.shape.fits(group.resources)
    ]
    return sorted(able, key=lambda group: (-group.priority, waste(demand, units, group), group.name))
