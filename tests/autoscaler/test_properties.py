"""What holds for every question: feasible, within limits, deterministic, and quiet once carried out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import ComingNode, Demand, Group, Node, ScalingPlan, ScalingRequest, Verdict
from shoal_operator.autoscaler.plan import plan_workers

NAMES = ("a", "b", "c")
AMOUNTS = st.fixed_dictionaries({}, optional={"CPU": st.integers(1, 8), "GPU": st.integers(1, 2)})


@st.composite
def groups(draw: st.DrawFn) -> tuple[Group, ...]:
    result = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3)):
        least = draw(st.integers(0, 3))
        result.append(
            Group(
                name,
                ResourceSet.from_units({"CPU": draw(st.integers(1, 8)), "GPU": draw(st.integers(0, 2))}),
                least,
                draw(st.integers(least, 8)),
                draw(st.integers(0, 1)),
                idle_timeout_seconds=10,
            )
        )
    return tuple(result)


@st.composite
def requests(draw: st.DrawFn) -> ScalingRequest:
    known = draw(groups())
    nodes, coming = [], []
    for group in known:
        for index in range(draw(st.integers(0, group.max_nodes))):
            pod = f"{group.name}-{index}"
            kind = draw(st.sampled_from(["idle", "busy", "draining", "coming", "blocked"]))
            if kind in {"coming", "blocked"}:
                reason = "Unschedulable" if kind == "blocked" else ""
                coming.append(ComingNode(pod, group.name, draw(st.integers(1, 20)), reason))
                continue
            free = group.resources if kind != "busy" else ResourceSet.from_units({"CPU": 1})
            idle = float(draw(st.integers(1, 20))) if kind == "idle" else 0.0
            nodes.append(Node(pod, pod, group.name, group.resources, free, idle, kind == "draining"))
    demands = draw(st.lists(st.builds(Demand, AMOUNTS.map(ResourceSet.from_units), st.integers(1, 20)), max_size=4))
    return ScalingRequest(tuple(demands), known, tuple(nodes), tuple(coming))


def carried_out(request: ScalingRequest, plan: ScalingPlan) -> ScalingRequest:
    gone = {removal.pod_name for removal in (*plan.drain, *plan.cancel)}
    coming = [node for node in request.coming if node.pod_name not in gone]
    for addition in plan.add:
        coming += [ComingNode(f"{addition.group}+{addition.reason}{i}", addition.group) for i in range(addition.count)]
    nodes = [node for node in request.nodes if node.pod_name not in gone]
    return ScalingRequest(request.demands, request.groups, tuple(nodes), tuple(coming))


@settings(max_examples=300, deadline=None)
@given(requests())
def test_stays_within_limits(request: ScalingRequest) -> None:
    plan = plan_workers(request)
    after = Counter(node.group for node in request.nodes)
    after.update(node.group for node in request.coming)
    before = after.copy()
    staying = Counter(node.group for node in request.nodes if not node.draining)
    staying.update(node.group for node in request.coming)
    for addition in plan.add:
        assert addition.count > 0
        after[addition.group] += addition.count
        staying[addition.group] += addition.count
    for removal in (*plan.drain, *plan.cancel):
        staying[removal.group] -= 1
    blocked = {node.group for node in request.coming if node.blocked_reason}
    for group in request.groups:
        assert after[group.name] <= max(group.max_nodes, before[group.name])
        room = group.max_nodes - before[group.name]
        if group.name not in blocked and room >= group.min_nodes:
            assert staying[group.name] >= group.min_nodes
        if any(removal.group == group.name for removal in (*plan.drain, *plan.cancel)):
            assert staying[group.name] >= group.min_nodes


@settings(max_examples=300, deadline=None)
@given(requests(), st.randoms(use_true_random=False))
def test_is_the_same_for_every_order(request: ScalingRequest, random: object) -> None:
    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        copy = list(items)
        random.shuffle(copy)  # type: ignore[attr-defined]
        return tuple(copy)

    other = ScalingRequest(*(shuffled(x) for x in (request.demands, request.groups, request.nodes, request.coming)))  # type: ignore[arg-type]
    assert plan_workers(other) == plan_workers(request)


@settings(max_examples=500, deadline=None)
@given(requests())
def test_carried_out_it_adds_nothing_more(request: ScalingRequest) -> None:
    again = plan_workers(carried_out(request, plan_workers(request)))
    assert again.add == ()


@settings(max_examples=300, deadline=None)
@given(requests())
def test_every_unit_is_placed_or_explained(request: ScalingRequest) -> None:
    plan = plan_workers(request)
    asked = sum(demand.count for demand in request.demands)
    left = sum(unmet.count for unmet in plan.unmet)
    assert left + sum(waiting.count for waiting in plan.waiting) <= asked
    for unmet in plan.unmet:
        assert ([refusal.group for refusal in unmet.tried] and unmet.message) or not request.groups
        fits = [group for group in request.groups if unmet.demand.shape.fits(group.resources)]
        fits += [node for node in request.nodes if unmet.demand.shape.fits(node.total)]  # type: ignore[misc]
        assert (unmet.verdict is Verdict.INFEASIBLE) == (not fits)


@settings(max_examples=300, deadline=None)
@given(requests())
def test_enough_is_added_for_everything_that_is_not_left_over(request: ScalingRequest) -> None:
    """Independent check of capacity: total need of what was placed never exceeds what there is and will be."""
    plan = plan_workers(request)
    named = {group.name: group for group in request.groups}
    total: Counter[str] = Counter()
    for node in request.nodes:
        if not node.draining:
            total.update(dict(node.available))
    for coming in request.coming:
        if not coming.blocked_reason:
            total.update(dict(named[coming.group].resources))
    for addition in plan.add:
        total.update(dict(named[addition.group].resources.times(addition.count)))
    need: Counter[str] = Counter()
    for demand in request.demands:
        need.update(dict(demand.shape.times(demand.count)))
    for unmet in plan.unmet:
        need.subtract(dict(unmet.demand.shape.times(unmet.count)))
    assert all(amount <= total[name] for name, amount in need.items())
