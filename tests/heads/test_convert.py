import gc
from datetime import UTC, datetime

import pytest

from shoal.protocol import PROTOCOL_VERSION, head_pb2
from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Bundle, Demand, Gang, GangStrategy
from shoal_operator.domain.head import ActivityView, DrainState, JobState, JobView
from shoal_operator.heads.convert import UnreadableHeadError, head_view

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def snapshot(**fields):
    return head_pb2.HeadSnapshot(**{"protocol_version": PROTOCOL_VERSION, "incarnation": "i", **fields})


def amounts(**units):
    return head_pb2.Resources(amounts={name: int(value * 10_000) for name, value in units.items()})


def test_a_snapshot_becomes_plain_values():
    view = head_view(
        snapshot(
            nodes=[
                head_pb2.NodeSnapshot(
                    node_id="n",
                    pod_name="demo-small-0",
                    group="small",
                    total=amounts(CPU=2),
                    available=amounts(CPU=0.5),
                    alive=True,
                    idle_seconds=3.5,
                    drain_state=head_pb2.DRAIN_STATE_DRAINING,
                    activity="1 lease",
                )
            ],
            demands=[head_pb2.Demand(shape=amounts(CPU=1), count=7, label_selector={"b": "2", "a": "1"})],
            jobs=[
                head_pb2.JobSnapshot(
                    submission_id="j-1", state=head_pb2.JOB_STATE_FAILED, exit_code=0, start_time_seconds=1767225600
                )
            ],
        ),
        NOW,
    )
    [node] = view.nodes
    assert node.total == ResourceSet.from_units({"CPU": 2})
    assert node.available == ResourceSet.from_units({"CPU": 0.5})
    assert (node.idle_seconds, node.drain_state) == (3.5, DrainState.DRAINING)
    one_cpu, selector = ResourceSet.from_units({"CPU": 1}), (("a", "1"), ("b", "2"))
    assert view.demands == (Demand(one_cpu, 7, selector, recent_count=7),)
    assert view.jobs == (JobView("j-1", JobState.FAILED, start_time=NOW),)
    assert (view.incarnation, view.received_at, view.reachable) == ("i", NOW, True)


def test_gangs_floors_labels_and_activity_become_plain_values():
    view = head_view(
        snapshot(
            nodes=[head_pb2.NodeSnapshot(node_id="n", labels={"zone": "b", "disk": "ssd"})],
            demands=[head_pb2.Demand(shape=amounts(CPU=1), count=0, recent_count=3)],
            gangs=[
                head_pb2.Gang(
                    gang_id="g",
                    name="train",
                    strategy=head_pb2.GANG_STRATEGY_STRICT_SPREAD,
                    bundles=[head_pb2.GangBundle(shape=amounts(GPU=1), count=4, label_selector={"a": "1"})],
                    occupied_node_ids=["n"],
                )
            ],
            gangs_left_out=2,
            floors=[head_pb2.Demand(shape=amounts(CPU=8), count=1)],
            activity=head_pb2.ClusterActivity(drivers=1, jobs=2, detached_actors=3, idle_seconds=0),
        ),
        NOW,
    )
    assert view.nodes[0].labels == (("disk", "ssd"), ("zone", "b"))
    assert [(demand.count, demand.recent_count) for demand in view.demands] == [(0, 3)]
    bundle = Bundle(ResourceSet.from_units({"GPU": 1}), (("a", "1"),), 4)
    assert view.gangs == (Gang("g", "train", GangStrategy.STRICT_SPREAD, (bundle,), ("n",)),)
    assert view.gangs_left_out == 2
    assert view.floors == (Demand(ResourceSet.from_units({"CPU": 8}), 1, recent_count=1),)
    assert view.activity == ActivityView(1, 2, 3, 0.0)


def test_absurdly_wordy_resources_are_not_kept_when_the_head_has_gone():
    def wordy():
        return [one for one in gc.get_objects() if isinstance(one, ResourceSet) and len(one) > 900]

    snapshot = head_pb2.HeadSnapshot(protocol_version=PROTOCOL_VERSION)
    for count in (1000, 1001, 1002):
        shape = head_pb2.Resources(amounts={f"resource-{number}": 1 for number in range(count)})
        snapshot.demands.append(head_pb2.Demand(shape=shape, count=1))
    view = head_view(snapshot, NOW)
    assert [len(demand.shape) for demand in view.demands] == [1000, 1001, 1002]
    assert len(wordy()) == 3
    del view
    assert wordy() == []


def test_a_head_that_says_nothing_of_its_use_is_not_taken_for_unused():
    view = head_view(snapshot(), NOW)
    assert (view.activity, view.gangs, view.floors) == (None, (), ())


def test_the_end_of_long_output_is_kept_whole_characters():
    [job] = head_view(
        snapshot(jobs=[head_pb2.JobSnapshot(state=head_pb2.JOB_STATE_RUNNING, output_tail="ä" * 5000)]), NOW
    ).jobs
    assert job.output_tail == "ä" * 2048


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"protocol_version": PROTOCOL_VERSION + 1}, "same release"),
        ({"jobs": [head_pb2.JobSnapshot()]}, "cannot be read"),
        ({"jobs": [head_pb2.JobSnapshot(state=99)]}, "cannot be read"),
        ({"demands": [head_pb2.Demand(shape=head_pb2.Resources(amounts={"CPU": -1}))]}, "negative"),
        ({"demands": [head_pb2.Demand()] * 10_001}, "not believed"),
        ({"demands": [head_pb2.Demand(count=-1)]}, "count must not be negative"),
        ({"demands": [head_pb2.Demand(recent_count=-1)]}, "count must not be negative"),
        ({"floors": [head_pb2.Demand(count=-1)]}, "count must not be negative"),
        ({"floors": [head_pb2.Demand()] * 10_001}, "not believed"),
        ({"gangs": [head_pb2.Gang()]}, "unknown value 0"),
        ({"gangs": [head_pb2.Gang(strategy=9)]}, "unknown value 9"),
        ({"gangs": [head_pb2.Gang()] * 10_001}, "not believed"),
        (
            {"gangs": [head_pb2.Gang(strategy=1, bundles=[head_pb2.GangBundle()] * 50_001)] * 2},
            "100002 bundles",
        ),
        (
            {"gangs": [head_pb2.Gang(strategy=1, bundles=[head_pb2.GangBundle(count=-4)])]},
            "count must not be negative",
        ),
        ({"gangs_left_out": -1}, "count must not be negative"),
        ({"nodes": [head_pb2.NodeSnapshot(idle_seconds=float("nan"))]}, "finite"),
        ({"nodes": [head_pb2.NodeSnapshot(idle_seconds=float("inf"))]}, "finite"),
        ({"nodes": [head_pb2.NodeSnapshot(idle_seconds=-1)]}, "not negative"),
        ({"nodes": [head_pb2.NodeSnapshot(idle_seconds=1e12)]}, "at most 1,000,000,000 s"),
        ({"activity": head_pb2.ClusterActivity(idle_seconds=float("nan"))}, "finite"),
        ({"activity": head_pb2.ClusterActivity(idle_seconds=1e12)}, "at most 1,000,000,000 s"),
        ({"activity": head_pb2.ClusterActivity(drivers=-1)}, "count must not be negative"),
        ({"jobs": [head_pb2.JobSnapshot(state=head_pb2.JOB_STATE_FAILED, reason="no word")]}, "one CamelCase word"),
        (
            {"jobs": [head_pb2.JobSnapshot(state=head_pb2.JOB_STATE_RUNNING, start_time_seconds=1e300)]},
            "cannot be read",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_whole(fields, words):
    with pytest.raises(UnreadableHeadError, match=words):
        head_view(snapshot(**fields), NOW)
