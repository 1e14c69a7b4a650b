"""One gRPC server that answers for the heads of all clusters.

A call proves the token of its cluster, and so tells which head it is meant for. A head's nodes are the cluster's
Ready worker pods; its jobs run for ever; its demand is what the measurement sets.

Invariant: what a fake head says costs the operator what a real one's word would: whole snapshots, coalesced as a
real head does, and one every ten seconds.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from shoal.protocol import PROTOCOL_VERSION, head_pb2, head_pb2_grpc
from shoal.protocol.auth import METADATA_KEY, SERVER_OPTIONS, sign
from shoal.resources import ResourceSet

PORT = 7380
COALESCE_SECONDS = 0.1
HEARTBEAT_SECONDS = 10.0

Json = dict[str, Any]
ClusterKey = tuple[str, str]


@dataclass
class FakeHead:
    """One cluster's head. `silent` ones take calls and never answer."""

    key: ClusterKey
    token: bytes
    silent: bool = False
    demand: tuple[ResourceSet, int] | None = None
    nodes: dict[str, head_pb2.NodeSnapshot] = field(default_factory=dict)
    jobs: dict[str, head_pb2.JobSnapshot] = field(default_factory=dict)
    decisions: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    version: int = 0

    def snapshot(self) -> head_pb2.HeadSnapshot:
        """What the head would say now."""
        self.version += 1
        demands = []
        if self.demand is not None and self.demand[1] > 0:
            shape = head_pb2.Resources(amounts=dict(self.demand[0]))
            demands = [head_pb2.Demand(shape=shape, count=self.demand[1], kind="task")]
        return head_pb2.HeadSnapshot(
            protocol_version=PROTOCOL_VERSION,
            incarnation="fake",
            version=self.version,
            nodes=list(self.nodes.values()),
            demands=demands,
            jobs=list(self.jobs.values()),
        )


class FakeHeads(head_pb2_grpc.HeadServicer):
    """The server and all its heads."""

    def __init__(self) -> None:
        self.heads: dict[ClusterKey, FakeHead] = {}
        self.silent: set[ClusterKey] = set()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen on the port of all heads."""
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        head_pb2_grpc.add_HeadServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"0.0.0.0:{PORT}")
        await self._server.start()

    async def stop(self) -> None:
        """End all streams."""
        if self._server is not None:
            await self._server.stop(0)

    def note_secret(self, secret: Json) -> None:
        """A token was made: its cluster has a head from now on."""
        cluster = secret["metadata"]["labels"].get("shoal.dev/cluster")
        data = secret.get("data") or {}
        if cluster and "token" in data:
            key = (secret["metadata"]["namespace"], cluster)
            self.heads[key] = FakeHead(key, base64.b64decode(data["token"]), silent=key in self.silent)

    def note_pod(self, pod: Json, *, gone: bool) -> None:
        """A worker pod came, became Ready, or went."""
        meta = pod["metadata"]
        head = self.heads.get((meta["namespace"], meta["labels"].get("shoal.dev/cluster", "")))
        if head is None or meta["labels"].get("shoal.dev/role") != "worker":
            return
        before = len(head.nodes)
        if gone or meta.get("deletionTimestamp"):
            head.nodes.pop(meta["name"], None)
        elif is_ready(pod) and meta["name"] not in head.nodes:
            head.nodes[meta["name"]] = _node(pod)
        if len(head.nodes) != before:
            head.changed.set()

    def set_demand(self, key: ClusterKey, shape: ResourceSet, count: int) -> None:
        """So much work waits at that head from now on."""
        head = self.heads[key]
        head.demand = (shape, count)
        head.changed.set()

    async def Watch(self, request: head_pb2.WatchRequest, context: Any) -> AsyncIterator[head_pb2.HeadSnapshot]:
        """The stream of one head."""
        head = await self._head_of("Watch", context)
        while True:
            head.changed.clear()
            yield head.snapshot()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await head.changed.wait()
            await asyncio.sleep(COALESCE_SECONDS)

    async def SubmitJob(self, request: head_pb2.SubmitJobRequest, context: Any) -> head_pb2.SubmitJobReply:
        """Take a job, which runs from now on."""
        head = await self._head_of("SubmitJob", context)
        name = request.submission_id
        known = head.jobs.get(name)
        if known is None:
            head.jobs[name] = head_pb2.JobSnapshot(
                submission_id=name, state=head_pb2.JOB_STATE_RUNNING, start_time_seconds=time.time()
            )
            head.changed.set()
        return head_pb2.SubmitJobReply(job=head.jobs[name], created=known is None)

    async def DrainNode(self, request: head_pb2.DrainNodeRequest, context: Any) -> head_pb2.DrainNodeReply:
        """Nothing runs on the nodes, so they are drained at once."""
        head = await self._head_of("DrainNode", context)
        node = head.nodes.get(request.node_id)
        if node is None:
            return head_pb2.DrainNodeReply(accepted=False, message="no such node")
        node.drain_state = head_pb2.DRAIN_STATE_DRAINED
        head.changed.set()
        return head_pb2.DrainNodeReply(accepted=True)

    async def RecordDecisions(
        self, request: head_pb2.RecordDecisionsRequest, context: Any
    ) -> head_pb2.RecordDecisionsReply:
        """Keep what was decided."""
        head = await self._head_of("RecordDecisions", context)
        head.decisions += [decision.what for decision in request.decisions]
        return head_pb2.RecordDecisionsReply()

    async def _head_of(self, method: str, context: Any) -> FakeHead:
        proof = next((value for key, value in context.invocation_metadata() if key == METADATA_KEY), "")
        head = self._matching(f"/shoal.protocol.v1.Head/{method}", str(proof))
        if head is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no head has that token")
            raise AssertionError("abort returns never")
        while head.silent:
            await asyncio.sleep(HEARTBEAT_SECONDS)
        return head

    def _matching(self, method: str, proof: str) -> FakeHead | None:
        parts = proof.split(" ")
        if len(parts) != 4:
            return None
        stamp, nonce = float(parts[1]), parts[2]
        return next((head for head in self.heads.values() if sign(head.token, method, stamp, nonce) == proof), None)


def is_ready(pod: Json) -> bool:
    """Whether the pod's condition Ready is True."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _node(pod: Json) -> head_pb2.NodeSnapshot:
    """The node that a worker pod's process would be, with the resources that its arguments name."""
    meta = pod["metadata"]
    arguments = pod["spec"]["containers"][0].get("args") or []
    given = json.loads(arguments[arguments.index("--resources") + 1]) if "--resources" in arguments else {"CPU": 1}
    total = head_pb2.Resources(amounts=dict(ResourceSet.from_units(given)))
    return head_pb2.NodeSnapshot(
        node_id=meta["name"],
        pod_name=meta["name"],
        group=meta["labels"]["shoal.dev/group"],
        address="10.0.0.1:7381",
        total=total,
        available=total,
        alive=True,
        drain_state=head_pb2.DRAIN_STATE_ACTIVE,
    )
