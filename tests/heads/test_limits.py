"""The largest clusters fit into a snapshot, and what no head should say ends in a condition."""

import time

import pytest

from shoal.protocol import head_pb2
from shoal.protocol.auth import MAX_MESSAGE_BYTES
from shoal_operator.heads.convert import NODES_MAX

from .conftest import address, wait_until

KEY = ("ml", "demo")


def amounts(**units):
    return head_pb2.Resources(amounts={name: int(value * 10_000) for name, value in units.items()})


def fill(snapshot):
    """20,000 nodes, 1,000 shapes, 1,000 gangs, 1,000 floors and 1,000 jobs, all wordy."""
    labels = {"topology.kubernetes.io/zone": "europe-west1-b", "node.kubernetes.io/instance-type": "n2-standard-32"}
    for n in range(NODES_MAX):
        snapshot.nodes.append(
            head_pb2.NodeSnapshot(
                node_id=f"{n:032x}",
                pod_name=f"a-cluster-with-a-long-name-group-{n}",
                group="a-group-with-a-long-name",
                address="10.100.100.100:7381",
                total=amounts(CPU=32, GPU=8, memory=2**38),
                available=amounts(CPU=31.5, GPU=8, memory=2**38),
                recently_available=amounts(CPU=32, GPU=8, memory=2**38),
                alive=True,
                idle_seconds=1.5,
                activity="12 leases, 3 actors, 1400 objects, 7 waiting requests",
                labels=labels,
            )
        )
    for n in range(1000):
        shape = amounts(CPU=n + 1, **{f"a-custom-resource-of-a-long-name-{m}": 1 for m in range(5)})
        wants = {"shape": shape, "count": 2**40, "recent_count": 2**41, "label_selector": labels}
        snapshot.demands.append(head_pb2.Demand(kind="task", examples=["x" * 200] * 3, **wants))
        snapshot.floors.append(head_pb2.Demand(kind="floor", **wants))
        bundle = head_pb2.GangBundle(shape=shape, count=1000, label_selector=labels)
        nodes = [f"{m:032x}" for m in range(10)]
        snapshot.gangs.append(
            head_pb2.Gang(
                gang_id=f"{n:032x}", name="y" * 200, strategy=1, bundles=[bundle] * 10, occupied_node_ids=nodes
            )
        )
        snapshot.jobs.append(
            head_pb2.JobSnapshot(
                submission_id=f"{n:0128d}",
                state=head_pb2.JOB_STATE_RUNNING,
                message="z" * 500,
                output_tail="w" * 4096 if n < 100 else "",
            )
        )


async def test_the_largest_cluster_fits_and_is_read(pool, head):
    fill(head.snapshot)
    size = head.snapshot.ByteSize()
    assert size < MAX_MESSAGE_BYTES / 2, f"{size / 2**20:.1f} MiB"
    began = time.monotonic()
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    await wait_until(lambda: pool.pool.view(KEY) is not None, seconds=20)
    view = pool.pool.view(KEY)
    assert (len(view.nodes), len(view.demands), len(view.gangs), len(view.floors)) == (NODES_MAX, 1000, 1000, 1000)
    assert time.monotonic() - began < 15


def too_many_nodes(snapshot):
    snapshot.nodes.extend([head_pb2.NodeSnapshot()] * (NODES_MAX + 1))


def too_large(snapshot):
    snapshot.cluster_id = "x" * (MAX_MESSAGE_BYTES + 1)


def negative_count(snapshot):
    snapshot.demands.append(head_pb2.Demand(count=-1))


def no_number(snapshot):
    snapshot.activity.idle_seconds = float("nan")


def unknown_strategy(snapshot):
    snapshot.gangs.append(head_pb2.Gang(strategy=77))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (too_many_nodes, "claims 20001 nodes"),
        (too_large, "RESOURCE_EXHAUSTED"),
        (negative_count, "must not be negative"),
        (no_number, "must be finite"),
        (unknown_strategy, "unknown value 77"),
    ],
)
async def test_nonsense_becomes_words_and_a_sane_word_heals_it(pool, head, spoil, words):
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    await wait_until(lambda: pool.pool.view(KEY) is not None)
    sane = head_pb2.HeadSnapshot()
    sane.CopyFrom(head.snapshot)
    spoil(head.snapshot)
    head.say()
    await wait_until(lambda: not pool.pool.view(KEY).reachable)
    assert words in pool.pool.view(KEY).unreachable_message
    head.snapshot.CopyFrom(sane)
    await wait_until(lambda: pool.pool.view(KEY).reachable, seconds=10)


async def test_what_programs_want_and_who_uses_the_cluster_is_news(pool, head):
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    await wait_until(lambda: pool.pool.view(KEY) is not None)

    async def is_news(change):
        before = len(pool.news)
        change()
        head.snapshot.version += 1
        seen = pool.pool.view(KEY)
        head.say()
        await wait_until(lambda: pool.pool.view(KEY) is not seen)
        return len(pool.news) > before

    said = head.snapshot
    assert await is_news(lambda: said.gangs.append(head_pb2.Gang(gang_id="g", strategy=1)))
    assert await is_news(lambda: said.floors.append(head_pb2.Demand(shape=amounts(CPU=1), count=1)))
    assert await is_news(lambda: said.demands.append(head_pb2.Demand(shape=amounts(CPU=1), recent_count=2)))
    assert await is_news(lambda: setattr(said.activity, "drivers", 1))
    assert not await is_news(lambda: setattr(said.activity, "drivers", 2)), "still drivers"
    assert await is_news(lambda: said.activity.CopyFrom(head_pb2.ClusterActivity(idle_seconds=1)))
    assert not await is_news(lambda: setattr(said.activity, "idle_seconds", 9)), "time only went on"
    assert await is_news(lambda: setattr(said.activity, "idle_seconds", 0.5)), "somebody was there in between"
