from datetime import UTC, datetime

import pytest

from shoal.protocol import PROTOCOL_VERSION, head_pb2
from shoal.resources import ResourceSet
from shoal_operator.domain.head import DemandView, DrainState, JobState, JobView
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
    assert view.demands == (DemandView(ResourceSet.from_units({"CPU": 1}), 7, (("a", "1"), ("b", "2"))),)
    assert view.jobs == (JobView("j-1", JobState.FAILED, start_time=NOW),)
    assert (view.incarnation, view.received_at, view.reachable) == ("i", NOW, True)


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
        (
            {"jobs": [head_pb2.JobSnapshot(state=head_pb2.JOB_STATE_RUNNING, start_time_seconds=1e300)]},
            "cannot be read",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_whole(fields, words):
    with pytest.raises(UnreadableHeadError, match=words):
        head_view(snapshot(**fields), NOW)
