"""Random questions for the planner, the world after a plan, and a checker that knows nothing of how we pack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from shoal.core.labels import matches
from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import (
    Bundle,
    ComingNode,
    Demand,
    Gang,
    GangStrategy,
    Group,
    Labels,
    Limits,
    Node,
    ScalingPlan,
    ScalingRequest,
    Unmet,
)

NAMES = ("a", "b", "c", "d")
STEPS_MAX = 20_000

of = ResourceSet.from_units
shapes = st.fixed_dictionaries(
    {},
    optional={"CPU": st.sampled_from([0.5, 1, 2, 3, 5]), "memory": st.integers(1, 6), "GPU": st.sampled_from([0.5, 1])},
).map(of)
selectors: st.SearchStrategy[Labels] = st.sampled_from([(), (), (), (("zone", "a"),), (("zone", "!a"),)])


@st.composite
def groups(draw: st.DrawFn) -> tuple[Group, ...]:
    result = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)):
        hosts = draw(st.sampled_from([1, 1, 1, 2, 4]))
        least = draw(st.integers(0, 2)) * hosts
        units = {
            "CPU": draw(st.integers(1, 8)),
            "memory": draw(st.integers(2, 16)),
            "GPU": draw(st.sampled_from([0, 0, 2])),
        }
        labels: Labels = draw(st.sampled_from([(), (("zone", "a"),), (("zone", "b"),)]))
        most = least + draw(st.integers(0, 4)) * hosts
        result.append(Group(name, of(units), least, most, draw(st.integers(0, 1)), 10.0, labels, hosts))
    return tuple(result)


@st.composite
def requests(draw: st.DrawFn, *, gangs: bool = True, blocked: bool = True, limits: bool = True) -> ScalingRequest:
    known = draw(groups())
    nodes: list[Node] = []
    coming: list[ComingNode] = []
    kinds = ["idle", "busy", "draining", "coming", *(["blocked"] if blocked else [])]
    for group in known:
        for index in range(draw(st.integers(0, group.max_nodes // group.hosts))):
            kind = draw(st.sampled_from(kinds))
            age = float(draw(st.integers(1, 20)))
            part = draw(st.integers(0, 3))
            for host in range(group.hosts):
                pod, replica = f"{group.name}-{index}-{host}", f"{group.name}-{index}"
                if kind in {"coming", "blocked"}:
                    reason = "ImagePullDenied" if kind == "blocked" else ""
                    coming.append(ComingNode(pod, group.name, age, reason, replica=replica))
                    continue
                amounts = {name: amount * part // 4 for name, amount in group.resources.items()}
                free = ResourceSet(amounts) if kind == "busy" else group.resources
                idle = age if kind == "idle" else 0.0
                nodes.append(
                    Node(pod, pod, group.name, group.resources, free, idle, kind == "draining", replica=replica)
                )
    count = st.integers(1, 6)
    recent = st.sampled_from([0, 0, 9])
    demands = draw(st.lists(st.builds(Demand, shapes, count, selectors, recent_count=recent), max_size=3))
    found: list[Gang] = []
    if gangs:
        for index in range(draw(st.sampled_from([0, 0, 1, 2]))):
            bundles = draw(st.lists(st.builds(Bundle, shapes, selectors, st.integers(1, 3)), min_size=1, max_size=2))
            found.append(Gang(f"gang-{index}", "", draw(st.sampled_from(GangStrategy)), tuple(bundles)))
    floors = draw(st.lists(st.builds(Demand, shapes, st.integers(1, 8)), max_size=2)) if gangs else []
    most = draw(st.sampled_from([None, None, 6])) if limits else None
    resources = draw(st.sampled_from([None, None, of({"CPU": 20})])) if limits else None
    bounds = Limits(most, resources)
    request = ScalingRequest(tuple(demands), known, tuple(nodes), tuple(coming), bounds, tuple(found), tuple(floors))
    return replace(request, consolidation=draw(st.booleans()))


def carried_out(request: ScalingRequest, plan: ScalingPlan) -> ScalingRequest:
    """The world when everything that the plan says has been done, and nothing has joined yet."""
    gone = {removal.pod_name for removal in (*plan.drain, *plan.cancel)}
    hosts = {group.name: group.hosts for group in request.groups}
    coming = [node for node in request.coming if node.pod_name not in gone]
    for item in plan.add:
        coming += [
            ComingNode(
                f"{item.group}+{item.reason}{i}",
                item.group,
                replica=f"{item.group}+{i // hosts[item.group]}{item.reason}",
            )
            for i in range(item.count)
        ]
    nodes = tuple(node for node in request.nodes if node.pod_name not in gone)
    return replace(request, nodes=nodes, coming=tuple(coming), cooldowns=plan.cooldowns)


@dataclass
class Unit:
    """One piece of work for one node."""

    shape: ResourceSet
    selector: Labels
    apart: str = ""
    """Units with the same name here are to be on different nodes."""


@dataclass
class Place:
    """One node."""

    free: dict[str, int]
    labels: Labels
    held: frozenset[str] = field(default_factory=frozenset)


def can_hold(units: Sequence[Unit], places: Sequence[Place]) -> bool | None:
    """Whether all units have a place together, by trying; None when that takes too long."""
    ordered = sorted(units, key=lambda unit: (-len(unit.shape), tuple(-amount for amount in unit.shape.values())))
    state = [(tuple(sorted(place.free.items())), place.labels, place.held) for place in places]
    dead: set[object] = set()
    steps = 0

    def place(index: int, state: list[tuple[tuple[tuple[str, int], ...], Labels, frozenset[str]]]) -> bool:
        nonlocal steps
        if index == len(ordered):
            return True
        key = (index, tuple(sorted(state, key=repr)))
        if key in dead:
            return False
        steps += 1
        if steps > STEPS_MAX:
            raise TimeoutError
        unit = ordered[index]
        tried = set()
        for number, (free, labels, held) in enumerate(state):
            amounts = dict(free)
            if (free, labels, held) in tried or unit.apart in held or not unit.shape.fits(amounts):
                continue
            if not matches(unit.selector, dict(labels)):
                continue
            tried.add((free, labels, held))
            left = {name: amount - unit.shape[name] for name, amount in amounts.items()}
            now = held | {unit.apart} if unit.apart else held
            if place(index + 1, [*state[:number], (tuple(sorted(left.items())), labels, now), *state[number + 1 :]]):
                return True
        dead.add(key)
        return False

    try:
        return place(0, state)
    except TimeoutError:
        return None


def places_after(request: ScalingRequest, plan: ScalingPlan) -> list[Place]:
    """Nodes that stay, come, and are added."""
    known = {group.name: group for group in request.groups}
    gone = {removal.pod_name for removal in (*plan.drain, *plan.cancel)}
    places = [
        Place(dict(node.available), known[node.group].labels if node.group in known else ())
        for node in request.nodes
        if not node.draining and node.pod_name not in gone
    ]
    names = [pod.group for pod in request.coming if not pod.blocked_reason and pod.pod_name not in gone]
    names += [item.group for item in plan.add for _ in range(item.count)]
    return places + [Place(dict(known[name].resources), known[name].labels) for name in names]


def placed_units(request: ScalingRequest, unmet: Sequence[Unmet]) -> list[Unit]:
    """All work but what the plan says has no place."""
    left: Counter[object] = Counter()
    for item in unmet:
        if item.gang is None:
            left[item.demand.shape, item.demand.label_selector] += item.count
    units = []
    for demand in request.demands:
        for _ in range(demand.count):
            if left[demand.shape, demand.label_selector]:
                left[demand.shape, demand.label_selector] -= 1
            else:
                units.append(Unit(demand.shape, demand.label_selector))
    failed = {item.gang.gang_id for item in unmet if item.gang}
    for gang in request.gangs:
        if gang.gang_id not in failed:
            units += _units_of(gang)
    return units


def _units_of(gang: Gang) -> list[Unit]:
    parts = [(bundle.shape, bundle.label_selector) for bundle in gang.bundles for _ in range(bundle.count)]
    if gang.strategy is GangStrategy.STRICT_PACK:
        total = ResourceSet()
        for shape, _ in parts:
            total += shape
        return [Unit(total, tuple(sorted({pair for _, selector in parts for pair in selector})))]
    apart = gang.gang_id if gang.strategy is GangStrategy.STRICT_SPREAD else ""
    return [Unit(shape, selector, apart) for shape, selector in parts]
