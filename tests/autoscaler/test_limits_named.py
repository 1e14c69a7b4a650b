"""Whoever raises the limits that a verdict names gets further: each answer names those that hold the work back."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.autoscaler.worlds import of

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import (
    Bundle,
    ComingNode,
    Cooldown,
    Demand,
    Gang,
    GangStrategy,
    Group,
    Limits,
    Node,
    ScalingRequest,
    Unmet,
    Verdict,
)
from shoal_operator.autoscaler.plan import plan_workers

CPU = of({"CPU": 1})
SPOT = Group("spot", CPU, max_nodes=2, priority=10)
OD = Group("od", CPU, max_nodes=3)
GPUS = Group("gpus", of({"GPU": 1}), max_nodes=1)
WIDE = Group("wide", of({"CPU": 4, "GPU": 1}), max_nodes=1)
SLICES = Group("slices", CPU, max_nodes=8, hosts=4)
SPREAD, PACK = GangStrategy.STRICT_SPREAD, GangStrategy.STRICT_PACK
WORKERS_2 = "the cluster may have no more than 2 workers (limits.maxWorkers)"


def gang(strategy: GangStrategy, *bundles: Bundle) -> tuple[Gang, ...]:
    return (Gang("id", "sp", strategy, bundles),)


def busy(name: str, group: Group) -> Node:
    return Node(f"n-{name}", name, group.name, group.resources, ResourceSet())


def raised(request: ScalingRequest, reason: str) -> ScalingRequest:
    """The question in a world in which somebody has raised all that a reason names."""
    limits = request.limits
    if "limits.maxWorkers" in reason:
        limits = replace(limits, max_nodes=None)
    if "limits.resources" in reason:
        limits = replace(limits, max_resources=None)
    named = set(re.findall(r"group `(\S+)` [^,`]*\(maxReplicas\)|group `(\S+)` is at its maxReplicas", reason))
    names = {name for pair in named for name in pair}
    groups = tuple(replace(each, max_nodes=1000) if each.name in names else each for each in request.groups)
    return replace(request, limits=limits, groups=groups)


def only(request: ScalingRequest) -> Unmet:
    [unmet] = plan_workers(request).unmet
    assert unmet.verdict is Verdict.LIMIT_REACHED, unmet
    return unmet


QUESTIONS = [
    pytest.param(
        ScalingRequest(groups=(SPOT, OD), limits=Limits(2), gangs=gang(SPREAD, Bundle(CPU, (), 3))),
        f"placement group `sp` needs 3 bundles each on a node of its own, of them 1 CPU, {WORKERS_2}",
        id="strict spread: all workers",
    ),
    pytest.param(
        ScalingRequest(groups=(SPOT,), limits=Limits(9), gangs=gang(SPREAD, Bundle(CPU, (), 3))),
        "1 CPU, group `spot` may have no more than 2 replicas (maxReplicas)",
        id="strict spread: a group",
    ),
    pytest.param(
        ScalingRequest(groups=(SPOT,), limits=Limits(2), gangs=gang(SPREAD, Bundle(CPU, (), 3))),
        f"1 CPU, {WORKERS_2} and group `spot` may have no more than 2 replicas (maxReplicas)",
        id="strict spread: a group and all workers, both of which it takes",
    ),
    pytest.param(
        ScalingRequest(groups=(SPOT, OD), limits=Limits(9, of({"CPU": 2})), gangs=gang(SPREAD, Bundle(CPU, (), 3))),
        "1 CPU, the cluster may have no more than 2 CPU (limits.resources)",
        id="strict spread: a resource",
    ),
    pytest.param(
        ScalingRequest(
            groups=(GPUS, SPOT),
            limits=Limits(9),
            gangs=gang(SPREAD, Bundle(of({"GPU": 1})), Bundle(of({"CPU": 0.5}), (), 3)),
        ),
        "of them 0.5 CPU, group `spot` may have no more than 2 replicas (maxReplicas)",
        id="strict spread: the group of another bundle than the hardest",
    ),
    pytest.param(
        ScalingRequest(groups=(SPOT, OD), limits=Limits(2), gangs=gang(GangStrategy.SPREAD, Bundle(CPU, (), 3))),
        f"needs 3 bundles, of them 1 CPU, {WORKERS_2}",
        id="spread: all workers",
    ),
    pytest.param(
        ScalingRequest(groups=(SPOT, OD), limits=Limits(2), gangs=gang(GangStrategy.PACK, Bundle(CPU, (), 3))),
        f"needs 3 bundles, of them 1 CPU, {WORKERS_2}",
        id="pack: all workers",
    ),
    pytest.param(
        ScalingRequest(
            groups=(WIDE,), nodes=(busy("w", WIDE),), limits=Limits(1), gangs=gang(PACK, Bundle(CPU, (), 2))
        ),
        (
            "placement group `sp` needs 2 CPU on one node, group `wide` is at its maxReplicas (1) and the cluster may "
            "have no more than 1 worker (limits.maxWorkers)"
        ),
        id="strict pack: a group and all workers",
    ),
    pytest.param(
        ScalingRequest((Demand(CPU, 9),), (SPOT, OD), limits=Limits(9)),
        "a task needs 1 CPU, group `spot` is at its maxReplicas (2), group `od` is at its maxReplicas (3)",
        id="tasks: groups",
    ),
    pytest.param(
        ScalingRequest((Demand(CPU, 3, kind="actor"),), (SPOT,), limits=Limits(2)),
        (
            "an actor needs 1 CPU, group `spot` is at its maxReplicas (2) and the cluster may have no more than "
            "2 workers (limits.maxWorkers)"
        ),
        id="actors: a group and all workers",
    ),
    pytest.param(
        ScalingRequest((Demand(CPU, 3),), (OD,), limits=Limits(None, of({"CPU": 2}))),
        "a task needs 1 CPU, the cluster may have no more than 2 CPU (limits.resources)",
        id="tasks: a resource",
    ),
    pytest.param(
        ScalingRequest((Demand(CPU, 5),), (SLICES,), limits=Limits(5)),
        "a task needs 1 CPU, the cluster may have no more than 5 workers (limits.maxWorkers)",
        id="tasks: no room for a whole replica",
    ),
    pytest.param(
        ScalingRequest(groups=(SPOT, OD), limits=Limits(2), floors=(Demand(CPU, 3),)),
        f"a requested bundle needs 1 CPU, {WORKERS_2}",
        id="floors: all workers",
    ),
    pytest.param(
        ScalingRequest(groups=(SPOT,), floors=(Demand(CPU, 3),)),
        "a requested bundle needs 1 CPU, group `spot` is at its maxReplicas (2)",
        id="floors: a group",
    ),
]


@pytest.mark.parametrize(("request_", "words"), QUESTIONS)
def test_what_is_named_first_helps_when_it_is_raised(request_: ScalingRequest, words: str) -> None:
    unmet = only(request_)
    assert words in unmet.message
    reason = unmet.message[unmet.message.index(" needs ") :].split(", ")
    first = next(part for part in reason if "(maxReplicas)" in part or "is at its" in part or "limits." in part)
    after = plan_workers(raised(request_, first))
    left = sum(each.count for each in after.unmet)
    assert left < unmet.count, f"{first} was raised, and {left} of {unmet.count} wait"


def test_a_limit_that_does_not_help_alone_is_not_named_alone() -> None:
    """Each of the two is raised in vain."""
    request = ScalingRequest((Demand(CPU, 3),), (SPOT,), limits=Limits(2))
    for words in ("group `spot` is at its maxReplicas (2)", WORKERS_2):
        assert only(raised(request, words)).count == 1
    assert not plan_workers(raised(request, only(request).message)).unmet


def test_limits_that_help_together_are_named_together_when_other_work_has_taken_the_room() -> None:
    bundles = gang(GangStrategy.SPREAD, Bundle(CPU, (), 6))
    request = ScalingRequest((Demand(CPU, 2),), (SPOT, OD), limits=Limits(2), gangs=bundles)
    [unmet] = plan_workers(request).unmet
    assert f"of them 1 CPU, {WORKERS_2} and group `spot` is at its maxReplicas (2)" in unmet.message
    after = plan_workers(raised(request, unmet.message)).unmet
    assert not [each for each in after if each.gang]


OVER = (Cooldown("spot", "SchedulingGated", -1.0, 1),)


def test_a_group_that_a_limit_does_not_let_be_tried_again_says_so() -> None:
    request = ScalingRequest((Demand(CPU, 1),), (SPOT, OD), (busy("a", OD), busy("b", OD)), limits=Limits(2))
    needs_spot = replace(request, groups=(SPOT,), cooldowns=OVER)
    told = f"a task needs 1 CPU, group `spot`, whose pods did not start, cannot be tried again: {WORKERS_2}"
    assert only(needs_spot).message == told
    running = (Cooldown("spot", "SchedulingGated", 2.0, 1),)
    assert only(replace(needs_spot, cooldowns=running)).message == told, "before its time is over, in the same words"
    free = plan_workers(replace(needs_spot, limits=Limits(3), nodes=request.nodes))
    assert ([item.group for item in free.add], free.unmet) == (["spot"], ())


def test_a_group_that_is_tried_says_so() -> None:
    request = ScalingRequest((Demand(CPU, 2),), (SPOT,), cooldowns=OVER)
    for question in (request, replace(request, coming=(ComingNode("spot-0", "spot", 1.0),))):
        [unmet] = plan_workers(question).unmet
        assert unmet.verdict is Verdict.BLOCKED
        assert "group `spot` tries one replica first" in unmet.message


def test_work_that_only_a_node_that_is_there_could_hold_names_it() -> None:
    head = Node("h", "demo-head", "head", of({"CPU": 1, "disk": 1}), ResourceSet(), removable=False)
    unmet = only(ScalingRequest((Demand(of({"disk": 1}), 1),), (SPOT,), (head,)))
    assert unmet.message == ("a task needs 1 disk, pod demo-head has no room for it now, group `spot` offers no disk")


def test_bundles_whose_node_is_full_name_no_limit() -> None:
    lost = Gang("id", "sp", PACK, (Bundle(CPU),), ("n-a",))
    unmet = only(ScalingRequest(groups=(SPOT,), nodes=(busy("a", SPOT),), gangs=(lost,)))
    assert unmet.message == (
        "placement group `sp` needs 1 CPU on the node of its other bundles, which has no room for it now"
    )


def test_a_fixed_number_of_replicas_is_no_maximum() -> None:
    fixed = Group("spot", CPU, 3, 3, fixed_by="replicas")
    nodes = tuple(busy(name, fixed) for name in "abc")
    unmet = only(ScalingRequest((Demand(CPU, 1),), (fixed,), nodes))
    assert unmet.message == "a task needs 1 CPU, group `spot` is at its replicas (3), autoscaling is off"
    [made] = plan_workers(ScalingRequest((), (fixed,))).add
    assert (made.reason, made.origins[0].text) == ("Replicas", "group `spot` has 3 replicas, autoscaling is off")
    [gone] = plan_workers(ScalingRequest((), (replace(fixed, min_nodes=2, max_nodes=2),), nodes)).drain
    assert gone.text == "group `spot` has 2 replicas, autoscaling is off"
    [kept] = plan_workers(ScalingRequest((), (replace(SPOT, min_nodes=1),))).add
    assert (kept.reason, kept.origins[0].text) == ("MinReplicas", "group `spot` has at least 1 replica")


def test_a_pods_words_that_begin_with_the_reason_do_not_say_it_twice() -> None:
    coming = (ComingNode("spot-0", "spot", 30.0, "Unschedulable", "Unschedulable: 0/1 nodes are available"),)
    [unmet] = plan_workers(ScalingRequest((Demand(CPU, 1),), (SPOT,), (), coming)).unmet
    assert unmet.message.endswith("does not start: Unschedulable: 0/1 nodes are available")
    assert unmet.message.count("Unschedulable") == 1
