"""What clients ask of a head and makes no sense: a typed error with words, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.head.service import HeadService
from shoal.jobs.package_store import PackageStore
from shoal.protocol import PROTOCOL_VERSION, head_pb2, node_pb2
from shoal.protocol.link import HeadCallError

CPU = {"CPU": 10_000}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[HeadService]:
    """A head with a node of four CPUs, a group of two bundles, an actor and a floor."""
    head = HeadService(PackageStore(tmp_path))
    address = node_pb2.NodeAddress(node_id="a", ip="127.0.0.1", port=1)
    total = head_pb2.Resources(amounts={"CPU": 40_000})
    register = node_pb2.RegisterNode(protocol_version=PROTOCOL_VERSION, address=address, total=total)
    head.open_session(register, lambda _message: None, lambda _reason: None)
    head.calls.call("CreatePlacementGroup", group("there", shapes=(CPU, {"CPU": 20_000})))
    head.calls.call("CreateActor", actor(actor_id="there", name="there"))
    head.calls.call("RequestResources", node_pb2.RequestResourcesRequest(floors=[floor()]))
    yield head
    head.close()


def group(group_id: str = "g", shapes: tuple[Any, ...] = (CPU, CPU), labels: Any = None, **fields: Any) -> Any:
    bundles = [node_pb2.PlacedBundle(shape=head_pb2.Resources(amounts=each), label_selector=labels) for each in shapes]
    values = {"group_id": group_id, "job_id": "job", "strategy": "PACK", **fields}
    return node_pb2.CreatePlacementGroupRequest(group=node_pb2.PlacementGroup(bundles=bundles, **values))


def actor(resources: Any = None, placement: Any = None, **fields: Any) -> node_pb2.CreateActorRequest:
    return node_pb2.CreateActorRequest(
        resources=head_pb2.Resources(amounts=resources or {}),
        placement=head_pb2.Resources(amounts=placement or {}),
        **{"actor_id": "x", "job_id": "job", "namespace": "n", **fields},
    )


def floor(amounts: Any = None, labels: Any = None, count: int = 1) -> head_pb2.Demand:
    shape = head_pb2.Resources(amounts=CPU if amounts is None else amounts)
    return head_pb2.Demand(shape=shape, count=count, label_selector=labels)


def told(head: HeadService) -> tuple[Any, ...]:
    """What a head tells of work."""
    snapshot = head.snapshot()
    groups = head.calls.call("ListPlacementGroups", node_pb2.ListPlacementGroupsRequest())
    found = head.calls.call("GetActor", node_pb2.GetActorRequest(actor_id="x"))
    named = head.calls.call("GetActor", node_pb2.GetActorRequest(name="there", namespace="n"))
    names = [(each.group_id, len(each.bundles)) for each in groups.groups]
    return list(snapshot.demands), list(snapshot.floors), names, found.found, named.found


SELECTORS = [
    ({"zone": "in(a"}, "'zone' has 'in(a', which is none of"),
    ({"zone": "a b"}, "'zone' has 'a b', which is none of"),
    ({"zone": "in()"}, "which is none of"),
    ({"zone": ""}, "which is none of"),
    ({"": "a"}, "'' is no name of a label"),
    ({"a/b/c": "a"}, "'a/b/c' is no name of a label"),
    ({"k" * 64: "a"}, "is no name of a label"),
    ({"zone": "v" * 64}, "which is none of"),
]
SHAPES = [
    ({"CPU": -1}, "'CPU' must not be negative"),
    ({"": 1}, "a resource's name has 1 to 256 characters"),
    ({"r" * 257: 1}, "a resource's name has 1 to 256 characters"),
    ({"CPU": 2**63 - 1}, "'CPU' must be at most 1e+14"),
    ({f"r{n}": 1 for n in range(1_001)}, "has 1001 resources, at most 1000 are taken"),
]
BAD_GROUPS = [
    *((group(labels=labels), words) for labels, words in SELECTORS),
    *((group(shapes=(CPU, shape)), words) for shape, words in SHAPES),
    (group(labels={"zone": "in(a"}), "the label selector of bundle 0 of the placement group: "),
    (group(shapes=(CPU, {"CPU": 0})), "bundle 1 of the placement group asks for nothing"),
    (group(strategy="pack"), "'pack' is no placement strategy: it is one of PACK, SPREAD, STRICT_PACK, STRICT_SPREAD"),
    (group(strategy=""), "'' is no placement strategy"),
    (group(namespace="n" * 1_025), "have at most 1024 characters"),
    (group(job_id="j" * 1_025), "have at most 1024 characters"),
    (group(group_id=""), "1 to 256 characters"),
]
BAD_ACTORS = [
    *((actor(label_selector=labels), words) for labels, words in SELECTORS),
    *((actor(resources=shape), words) for shape, words in SHAPES),
    *((actor(placement=shape), words) for shape, words in SHAPES),
    (actor(actor_id=""), "actor_id must have 1 to 256 characters"),
    (actor(name="n" * 1_025), "name must have at most 1024 characters, got 1025: 'nnn"),
    (actor(namespace="n" * 1_025), "namespace must have at most 1024 characters"),
    (actor(max_restarts=-2), "max_restarts must be -1 (without limit) or at least 0, got -2"),
    (actor(bundle=node_pb2.BundleKey(group_id="", index=0)), "bundle.group_id must have 1 to 256 characters"),
    (actor(bundle=node_pb2.BundleKey(group_id="there", index=-2)), "bundle.index must be from 0 to 999, or -1"),
    (actor(bundle=node_pb2.BundleKey(group_id="there", index=2)), "has no bundle 2, only 0 to 1"),
    (actor({"GPU": 1}, bundle=node_pb2.BundleKey(group_id="there", index=-1)), "does not fit in any bundle"),
    (
        actor({"CPU": 20_000}, bundle=node_pb2.BundleKey(group_id="there", index=0)),
        "it needs 2 CPU, which does not fit in bundle 0 of the placement group",
    ),
]
BAD_FLOORS = [
    *((floor(labels=labels), words) for labels, words in SELECTORS),
    *((floor(shape), words) for shape, words in SHAPES),
    (floor({}), "a bundle of request_resources asks for nothing"),
    (floor(count=0), "a bundle is asked for at least once, got 0"),
    (floor(count=-1), "a bundle is asked for at least once, got -1"),
    (floor(count=1_000_001), "at most 1000000"),
]


@pytest.mark.parametrize(
    ("method", "cases"),
    [
        ("CreatePlacementGroup", BAD_GROUPS),
        ("CreateActor", BAD_ACTORS),
        (
            "RequestResources",
            [(node_pb2.RequestResourcesRequest(floors=[floor({"GPU": 1}), bad]), words) for bad, words in BAD_FLOORS],
        ),
    ],
)
def test_nonsense_is_refused_with_words_and_changes_nothing(
    head: HeadService, method: Any, cases: list[tuple[Any, str]]
) -> None:
    before = told(head)
    assert before[2:] == ([("there", 2)], False, True)
    for request, words in cases:
        with pytest.raises(HeadCallError) as raised:
            head.calls.call(method, request)
        assert raised.value.kind == "InvalidArgument", words
        assert words in raised.value.message
        assert told(head) == before, words


def test_a_node_that_says_more_waits_than_can_be_summed_up_is_told_so(head: HeadService) -> None:
    address = node_pb2.NodeAddress(node_id="b", ip="127.0.0.1", port=1)
    register = node_pb2.RegisterNode(protocol_version=PROTOCOL_VERSION, address=address)
    session = head.open_session(register, lambda _message: None, lambda _reason: None)
    before = told(head)
    for count in (-1, 2**63 - 1):
        report = node_pb2.NodeReport(demands=[head_pb2.Demand(count=count, kind="task")])
        with pytest.raises(ValueError, match="the count of a demand must be from 0 to"):
            session.receive(node_pb2.NodeMessage(report=report))
    assert told(head) == before
