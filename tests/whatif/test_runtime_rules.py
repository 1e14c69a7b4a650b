"""Where the simulator puts work: tasks and actors by rules of its own, compared here with the runtime's."""

from __future__ import annotations

import random
from collections import Counter

from shoal.core import actor_placement, packing
from shoal.core.placement import PlacementTable
from shoal.core.placement_group import GroupSpec, Reserve
from shoal.core.scheduler import LeaseRequest, LeaseScheduler, NodeView, Spill
from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Bundle, GangStrategy
from shoal_operator.whatif.gangs import Spreading, place_gang
from shoal_operator.whatif.ledger import Ledger
from shoal_operator.whatif.nodes import DRIVERS_NODE, SimNode, rank
from shoal_operator.whatif.work import Need, Work
from shoal_operator.whatif.world import World

CPU = ResourceSet.from_units({"CPU": 1})
SHAPES = ({"CPU": 1}, {"CPU": 2}, {"GPU": 1}, {"CPU": 1, "GPU": 0.5}, {"memory": 1000}, {"CPU": 1, "special": 1})


def some_nodes(chance: random.Random) -> list[SimNode]:
    nodes = []
    for index in range(chance.randint(1, 6)):
        units = {"CPU": chance.choice((2, 4, 8)), "memory": 4000}
        units |= {"GPU": 2} if chance.random() < 0.5 else {}
        units |= {"special": 1} if chance.random() < 0.3 else {}
        labels = {"zone": chance.choice("ab")}
        node = SimNode(f"n{index}", f"n{index}", "g", ResourceSet.from_units(units), labels, 0.0, joined=True)
        for owner in range(chance.randint(0, 3)):
            shape = ResourceSet.from_units(chance.choice(SHAPES))
            if shape.fits(node.free):
                node.take(shape, 1, owner)
        nodes.append(node)
    return nodes


def best(need: Need, nodes: list[SimNode]) -> str | None:
    found = [(score, node.node_id) for node in nodes if (score := rank(need, node)) is not None]
    return min(found)[1] if found else None


def test_tasks_go_where_a_driver_on_the_head_would_send_them():
    for seed in range(300):
        chance = random.Random(seed)
        nodes, shape = some_nodes(chance), ResourceSet.from_units(chance.choice(SHAPES))
        selector = (("zone", "a"),) if chance.random() < 0.3 else ()
        scheduler = LeaseScheduler(DRIVERS_NODE, ResourceSet())
        views = [NodeView((n.node_id, "address", 1), n.total, n.free, n.labels) for n in nodes]
        scheduler.update_view(views, 0.0)
        decisions = scheduler.submit(LeaseRequest("r", shape, "job", selector=selector), 0.0)
        there = [decision.node[0] for decision in decisions if isinstance(decision, Spill)]
        assert there == [name for name in [best(Need("task", shape, selector), nodes)] if name], f"seed {seed}"


def test_actors_go_where_the_head_would_place_them():
    for seed in range(300):
        chance = random.Random(seed)
        nodes, shape = some_nodes(chance), ResourceSet.from_units(chance.choice(SHAPES))
        candidates = [actor_placement.Candidate(n.node_id, n.total, n.free, 0, n.labels) for n in nodes]
        assert best(Need("actor", shape), nodes) == actor_placement.choose(shape, candidates), f"seed {seed}"


def test_gangs_go_where_the_head_would_place_them():
    for seed in range(600):
        chance = random.Random(seed)
        nodes = some_nodes(chance)
        strategy = chance.choice(list(GangStrategy))
        bundles = {
            Bundle(ResourceSet.from_units(shape), (("zone", "a"),) if chance.random() < 0.2 else (), 1)
            for shape in chance.sample(SHAPES, chance.randint(1, 3))
        }
        counted = [Bundle(b.shape, b.label_selector, chance.randint(1, 3)) for b in sorted(bundles, key=str)]
        flat = [packing.Bundle(b.shape, b.label_selector) for b in counted for _ in range(b.count)]
        candidates = [actor_placement.Candidate(n.node_id, n.total, n.free, 0, n.labels) for n in nodes]
        theirs = packing.pack(dict(enumerate(flat)), strategy.value, candidates, {})
        ours = place_gang(strategy, counted, nodes)
        assert (ours is None) == (theirs is None), f"seed {seed}: {strategy}"
        if ours is None or theirs is None:
            continue
        assert sum(count for _, _, count in ours) == len(flat), f"seed {seed}"
        for node in nodes:  # nobody gets more than is free: taking it raises
            for bundle, target, count in ours:
                if target is node:
                    node.take(bundle.shape, count, -1)
        held: Counter[str] = Counter()
        for _, node, count in ours:
            held[node.node_id] += count
        assert held == Counter(theirs.values()), f"seed {seed}: {strategy}"


def spread_in_the_runtime(bundles: int, joins: list[float], came: float, cpus: int) -> float | None:
    """When the head's table places a SPREAD group of bundles of 1 CPU."""
    table, nodes, total = PlacementTable(), [], ResourceSet.from_units({"CPU": cpus})
    now, events = 0.0, sorted({came, *joins})
    while now < 1000:
        if now in joins:
            table.node_joined(f"n{now}", now)
            nodes.append(actor_placement.Candidate(f"n{now}", total, total, 0, {}))
        if now == came:
            bundle = packing.Bundle(CPU)
            assert table.create(GroupSpec("g", "job", "SPREAD", (bundle,) * bundles)) == ""
        if any(isinstance(each, Reserve) for each in table.place(nodes, now)):
            return now
        now = min((t for t in (*events, table.next_deadline(now)) if t is not None and t > now), default=1000)
    return None


def spread_in_the_simulator(bundles: int, joins: list[float], came: float, cpus: int) -> float | None:
    world = World(Ledger())
    need = Need("gang", CPU.times(bundles), (), GangStrategy.SPREAD, (Bundle(CPU, (), bundles),))
    now, events = 0.0, sorted({came, *joins})
    while now < 1000:
        if now in joins:
            node = SimNode(f"n{now}", f"n{now}", "g", ResourceSet.from_units({"CPU": cpus}), {}, now)
            world.add(node)
            world.join(node, now)
        if now == came:
            world.arrive(Work(1, now, 1, need, 1.0), 1, now)
        if world.place(now):
            return now
        now = min((t for t in (*events, world.spreading.ends_at) if t is not None and t > now), default=1000)
    return None


def test_spread_groups_wait_for_nodes_as_long_as_in_a_cluster():
    seen: Counter[str] = Counter()
    for seed in range(400):
        chance = random.Random(seed)
        pace = chance.choice((1, 2, 4))
        joins = sorted({float(chance.randint(0, 40)) * pace for _ in range(chance.randint(1, 90))})
        load = (chance.choice((1, 4, 8, 40)), joins, float(chance.randint(0, 60)), chance.choice((1, 2, 8, 40)))
        theirs, ours = spread_in_the_runtime(*load), spread_in_the_simulator(*load)
        assert ours == theirs, f"seed {seed}: {load}"
        waited = -1.0 if theirs is None else theirs - max(load[2], joins[0])
        seen["never" if waited < 0 else "at once" if not waited else "longest" if waited >= 30 else "a while"] += 1
    assert min(seen[word] for word in ("never", "at once", "a while", "longest")) > 10, seen


def test_a_spread_group_without_room_begins_to_wait_anew_when_it_has_some():
    node = SimNode("n", "n", "g", CPU, {}, 0.0)
    need = Need("gang", CPU.times(2), (), GangStrategy.SPREAD, (Bundle(CPU, (), 2),))
    shared, spreading = [(need.bundles[0], node, 2)], Spreading()
    for now in range(29):
        spreading.joined(float(now))
        assert spreading.wait(need, shared, float(now))
    assert not spreading.wait(need, None, 29.0)
    spreading.joined(31.0)
    assert spreading.wait(need, shared, 31.0)
    assert spreading.ends_at == 34.0
