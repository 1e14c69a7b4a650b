"""Small cases of which every figure was computed by hand; a pod takes 13 s to join, 3 s on a machine with the image."""

from __future__ import annotations

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Limits
from shoal_operator.whatif.ledger import NodeSeconds
from shoal_operator.whatif.startup import StartModel, parse_duration
from shoal_operator.whatif.waits import waits_of


def task(at: float, count: int, cpus: float, seconds: float, **fields: object) -> dict[str, object]:
    return {"at": at, "count": count, "resources": {"CPU": cpus}, "duration_seconds": seconds, **fields}


def changes(outcome) -> list[tuple[float, str, int, str]]:
    return [(round(d.at, 6), d.group, d.change, d.reason) for d in outcome.decisions if d.change]


def test_all_that_waits_gets_nodes_at_once_and_they_go_when_they_have_idled(replay, group):
    outcome = replay([task(5, 10, 2, 30)], group())
    assert changes(outcome) == [(5, "small", 5, "Demand"), (68, "small", -5, "Idle")]
    assert waits_of({13.0: 10}) == outcome.waits
    assert outcome.seconds == NodeSeconds(used=150, unfilled=0, idle=100, starting=65, draining=5)
    assert (outcome.lasted, outcome.came, outcome.ended) == (69, 10, 10)
    assert [(r.name, r.paid, r.used) for r in outcome.resources] == [("CPU", 320 * 4, 10 * 2 * 30)]


def test_what_finds_no_room_waits_for_what_runs(replay, group):
    """Two nodes take four tasks at a time; the last two go to one node each, which they fill by half."""
    outcome = replay([task(5, 10, 2, 30)], group(most=2))
    assert outcome.waits == waits_of({13.0: 4, 43.0: 4, 73.0: 2})
    assert outcome.seconds == NodeSeconds(used=150, unfilled=30, idle=40, starting=26, draining=2)
    [verdict] = [d for d in outcome.decisions if not d.change]
    assert (verdict.reason, verdict.at) == ("LimitReached", 5)
    assert verdict.text.startswith("6 wait: ")
    assert outcome.needs[0].most_waiting == 10


def test_a_machine_that_has_the_image_starts_pods_sooner(replay, group):
    outcome = replay([task(0, 2, 2, 30), task(100, 4, 2, 30)], group(), removal_seconds=0.0)
    assert outcome.needs[0].waits == waits_of({13.0: 4, 3.0: 2})
    assert outcome.groups[0].machines == 2
    assert outcome.groups[0].asked == 3


def test_pods_that_share_a_machine_wait_for_one_image(replay, group):
    outcome = replay([task(0, 3, 4, 10)], group(), start=StartModel(pods_per_machine=2))
    assert outcome.groups[0].machines == 2
    assert outcome.waits.longest == 13


def test_an_empty_machine_keeps_its_image_for_a_while(replay, group):
    kept = replay([task(0, 1, 4, 10), task(600, 1, 4, 10)], group())
    gone = replay([task(0, 1, 4, 10), task(700, 1, 4, 10)], group())
    assert [kept.groups[0].machines, gone.groups[0].machines] == [1, 2]


def test_a_gang_starts_with_all_of_its_bundles_or_not_at_all(replay, group):
    bundles = {"strategy": "STRICT_SPREAD", "bundles": [{"CPU": 3}, {"CPU": 3}]}
    lines = [task(0, 1, 4, 50), {"at": 20, "gang": bundles, "duration_seconds": 10}]
    outcome = replay(lines, group(most=2))
    gang = next(each for each in outcome.needs if each.need.kind == "gang")
    assert gang.waits == waits_of({56.0: 1}), "one more node makes no gang before the first is free at 63"


def test_a_spread_gang_that_cannot_spread_takes_what_there_is_after_three_seconds(replay, group):
    line = {"at": 0, "gang": {"strategy": "SPREAD", "bundles": [{"CPU": 1}] * 3}, "duration_seconds": 10}
    outcome = replay([line], group(most=1))
    assert outcome.waits == waits_of({16.0: 1})
    assert replay([{**line, "at": 30}], group(min_nodes=1, most=1), until=90).waits == waits_of({0.0: 1})


def test_a_floor_holds_nodes_until_it_is_taken_back(replay, group):
    lines = [{"at": 0, "request_resources": {"num_cpus": 16}}, {"at": 100, "request_resources": {}}]
    outcome = replay(lines, group())
    assert changes(outcome) == [(0, "small", 4, "RequestedResources"), (100, "small", -4, "Idle")]
    assert outcome.seconds == NodeSeconds(idle=87 * 4, starting=52, draining=4)


def test_minimum_nodes_are_there_from_the_start_and_stay(replay, group):
    outcome = replay([task(50, 2, 4, 10)], group(min_nodes=2), until=100)
    assert changes(outcome) == [(0, "small", 2, "MinReplicas")]
    assert outcome.waits.longest == 0
    assert outcome.seconds == NodeSeconds(used=20, idle=2 * (100 - 13 - 10), starting=26)


def test_units_that_come_spread_over_a_time_come_evenly(replay, group):
    outcome = replay([task(100, 4, 4, 5, over_seconds=40)], group(min_nodes=1, most=1), until=200)
    assert [(p.at, p.running) for p in outcome.needs[0].curve] == [
        (time, running) for start in (100, 110, 120, 130) for time, running in ((start, 1), (start + 5, 0))
    ]


def test_actors_without_an_end_run_to_the_end(replay, group):
    line = {"at": 0, "kind": "actor", "resources": {"CPU": 1}}
    outcome = replay([line], group(), until=113)
    assert (outcome.started, outcome.ended) == (1, 0)
    assert outcome.seconds == NodeSeconds(used=25, unfilled=75, starting=13)
    assert outcome.resources[0].used == 100


def test_what_no_group_could_hold_is_left_with_its_verdict(replay, group):
    outcome = replay([task(0, 3, 5, 10), task(0, 1, 1, 10)], group())
    assert outcome.left_waiting == 3
    assert [(d.reason, d.text) for d in outcome.decisions if not d.change] == [
        ("Infeasible", "3 wait: a task needs 5 CPU, group `small` offers at most 4")
    ]


def test_a_thousand_nodes_are_one_decision(replay, group):
    outcome = replay([task(3, 1000, 1, 60)], group(cpus=1, most=1000))
    assert changes(outcome)[0] == (3, "small", 1000, "Demand")
    assert (outcome.groups[0].asked, outcome.groups[0].most) == (1000, 1000)
    assert outcome.waits == waits_of({13.0: 1000})


def test_a_limit_of_the_cluster_holds(replay, group):
    limits = Limits(max_resources=ResourceSet.from_units({"CPU": 8}))
    outcome = replay([task(0, 8, 4, 10)], group(), terms={"limits": limits})
    assert outcome.groups[0].most == 2
    assert outcome.ended == 8


def test_pods_without_a_machine_are_blocked_and_the_next_group_steps_in(replay, group):
    groups = (group("spot", priority=1), group("steady"))
    outcome = replay([task(0, 4, 4, 30)], *groups, start=StartModel(pods_max=2))
    assert {each.name: each.most for each in outcome.groups}["steady"] >= 2
    assert outcome.ended == 4


def test_whole_replicas_come_and_go(replay, group):
    outcome = replay([task(0, 3, 4, 30)], group(hosts=2, most=8))
    assert [change for _, _, change, _ in changes(outcome)] == [4, -4]


def test_a_program_on_the_head_needs_no_worker(replay, group):
    outcome = replay([task(0, 3, 1, 30)], group(), head_resources=ResourceSet.from_units({"CPU": 2}), until=100)
    assert outcome.groups[0].asked == 1
    assert outcome.waits == waits_of({0.0: 2, 13.0: 1})
    assert outcome.seconds.paid == outcome.groups[0].seconds.paid, "the head is not counted"


@pytest.mark.parametrize(
    ("text", "times"),
    [("5", (5, 5, 5)), ("uniform:2:8", (3.5, 5, 6.5)), ("lognormal:5:0", (5, 5, 5)), ("lognormal:0:1", (0, 0, 0))],
)
def test_durations_have_the_quantiles_that_they_say(text, times):
    duration = parse_duration(text)
    assert [duration.at(chance) for chance in (0.25, 0.5, 0.75)] == pytest.approx(times)


@pytest.mark.parametrize("text", ["", "x", "-1", "1:2", "uniform:8:2", "uniform:1", "nan", "inf", "lognormal:1:9"])
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError, match=r"time|numbers|sigma"):
        parse_duration(text)
