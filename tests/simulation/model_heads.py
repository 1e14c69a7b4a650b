"""Heads as the operator knows them: a table of jobs, nodes with work, and the real protocol without a network.

A head runs programs whose entrypoint says what they do: ``tasks=3 seconds=5 exit=0`` starts three tasks of one CPU
and five seconds each and ends with 0 when all are done. Whatever a program ever did stands in the ledger, which is
the truth that the objects are compared with.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from tests.simulation.virtual_time import EPOCH

from shoal.protocol import PROTOCOL_VERSION, head_pb2

if TYPE_CHECKING:
    from tests.simulation.api_server import ModelServer

CPU = 10_000
HEARTBEAT_SECONDS = 10.0
DEAD_KEPT_SECONDS = 300.0
COALESCE_SECONDS = 0.1
_LIVE = (head_pb2.JOB_STATE_PENDING, head_pb2.JOB_STATE_RUNNING)


@dataclass
class Run:
    """One start of a program on one head process."""

    submission_id: str
    incarnation: str
    started: float
    state: Any = head_pb2.JOB_STATE_PENDING
    exit_code: int | None = None
    ended: float | None = None
    lost: bool = False


@dataclass
class Job:
    """A program in the table of a head."""

    run: Run
    tasks: int
    seconds: float
    exit_code: int
    finished: int = 0
    stopping: bool = False


@dataclass
class Node:
    """A worker that has joined."""

    node_id: str
    pod: str
    pod_uid: str
    group: str
    cpus: int
    running: dict[int, Job] = field(default_factory=dict)
    idle_since: float = 0.0
    drain: Any = head_pb2.DRAIN_STATE_ACTIVE


class ModelHead:
    """One head process."""

    def __init__(self, heads: ModelHeads, cluster: str, pod_uid: str, incarnation: str) -> None:
        self._heads = heads
        self._loop = asyncio.get_running_loop()
        self.cluster = cluster
        self.pod_uid = pod_uid
        self.born = self._loop.time()
        self.incarnation = incarnation
        self.jobs: dict[str, Job] = {}
        self.nodes: dict[str, Node] = {}
        self.dead: dict[str, tuple[float, Node]] = {}
        self.waiting: list[Job] = []
        self.version = 1
        self.silence = ""
        self.silent_since = 0.0
        self.alive = True
        self._changed: asyncio.Event = asyncio.Event()
        self._numbers = itertools.count()

    @property
    def is_busy(self) -> bool:
        return any(job.run.state in _LIVE for job in self.jobs.values())

    @property
    def age_seconds(self) -> float:
        return self._loop.time() - self.born

    # -- what happens to it ---------------------------------------------------------------------------------

    def die(self) -> None:
        self.alive = False
        for job in self.jobs.values():
            if job.run.state in _LIVE:
                job.run.lost = True
        self._touch()

    def set_silence(self, mode: str) -> None:
        self.silence, self.silent_since = mode, self._loop.time()
        self._touch()

    def join(self, node: Node) -> None:
        node.idle_since = self._loop.time()
        self.nodes[node.pod_uid] = node
        self._schedule()

    def leave(self, pod_uid: str) -> None:
        node = self.nodes.pop(pod_uid, None)
        if node is not None:
            self.dead[node.node_id] = (self._loop.time(), node)
            self.waiting += node.running.values()
            node.running.clear()
            self._schedule()

    def submit(self, request: Any) -> None:
        if request.submission_id in self.jobs:
            return
        wishes = dict(part.partition("=")[::2] for part in request.entrypoint.split())
        run = Run(request.submission_id, self.incarnation, self._loop.time())
        job = Job(run, int(wishes["tasks"]), float(wishes["seconds"]), int(wishes["exit"]))
        self.jobs[request.submission_id] = job
        self._heads.note(run)
        self._loop.call_later(0.2, self._start, job)
        self._touch()

    def stop(self, submission_id: str) -> bool:
        job = self.jobs.get(submission_id)
        if job is not None and job.run.state in _LIVE and not job.stopping:
            job.stopping = True
            self._loop.call_later(self._heads.rng.uniform(0.0, 2.0), self._end, job, head_pb2.JOB_STATE_STOPPED, None)
        return job is not None

    def drain(self, node_id: str, only_if_idle: bool) -> tuple[bool, str]:
        node = next((one for one in self.nodes.values() if one.node_id == node_id), None)
        if node is None:
            return False, "no such node"
        if node.running and only_if_idle:
            return False, "the node is busy"
        if node.drain == head_pb2.DRAIN_STATE_ACTIVE:
            node.drain = head_pb2.DRAIN_STATE_DRAINING
            self._loop.call_later(self._heads.rng.uniform(0.05, 1.0), self._settle_drain, node)
            self._touch()
        return True, ""

    # -- its work -------------------------------------------------------------------------------------------

    def _start(self, job: Job) -> None:
        if self.alive and job.run.state == head_pb2.JOB_STATE_PENDING:
            job.run.state = head_pb2.JOB_STATE_RUNNING
            self.waiting += [job] * job.tasks
            if not job.tasks:
                self._loop.call_later(job.seconds, self._finish, job)
            self._schedule()

    def _schedule(self) -> None:
        for node in self.nodes.values():
            while self.waiting and len(node.running) < node.cpus and node.drain == head_pb2.DRAIN_STATE_ACTIVE:
                job, number = self.waiting.pop(0), next(self._numbers)
                node.running[number] = job
                self._loop.call_later(job.seconds, self._task_done, node, number)
        self._touch()

    def _task_done(self, node: Node, number: int) -> None:
        job = node.running.pop(number, None)
        if job is None or not self.alive:
            return
        if not node.running:
            node.idle_since = self._loop.time()
            self._settle_drain(node)
        if job.run.state == head_pb2.JOB_STATE_RUNNING:
            job.finished += 1
            if job.finished == job.tasks:
                self._finish(job)
        self._schedule()

    def _settle_drain(self, node: Node) -> None:
        if node.drain == head_pb2.DRAIN_STATE_DRAINING and not node.running:
            node.drain = head_pb2.DRAIN_STATE_DRAINED
            self._touch()

    def _finish(self, job: Job) -> None:
        self._end(job, head_pb2.JOB_STATE_FAILED if job.exit_code else head_pb2.JOB_STATE_SUCCEEDED, job.exit_code)

    def _end(self, job: Job, state: Any, exit_code: int | None) -> None:
        if not self.alive or job.run.state not in _LIVE:
            return
        job.run.state, job.run.exit_code, job.run.ended = state, exit_code, self._loop.time()
        self.waiting = [one for one in self.waiting if one is not job]
        for node in self.nodes.values():
            for number in [number for number, one in node.running.items() if one is job]:
                del node.running[number]
                node.idle_since = self._loop.time()
            self._settle_drain(node)
        self._schedule()

    # -- its words ------------------------------------------------------------------------------------------

    def _touch(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def next_change(self, seen: int) -> None:
        """Return when there is news, or when it is time for a sign of life."""
        if self.version != seen:
            return
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._changed.wait()
            await asyncio.sleep(COALESCE_SECONDS)
        except TimeoutError:
            pass

    def snapshot(self) -> head_pb2.HeadSnapshot:
        demands = []
        if self.waiting:
            shape = head_pb2.Resources(amounts={"CPU": CPU})
            demands = [head_pb2.Demand(shape=shape, count=len(self.waiting), kind="task")]
        end = self._loop.time() - DEAD_KEPT_SECONDS
        self.dead = {node_id: (died, node) for node_id, (died, node) in self.dead.items() if died > end}
        own = head_pb2.NodeSnapshot(node_id=f"{self.incarnation}-head", pod_name=f"{self.cluster}-head", group="head",
                                    alive=True, drain_state=head_pb2.DRAIN_STATE_ACTIVE)  # fmt: skip
        return head_pb2.HeadSnapshot(
            protocol_version=PROTOCOL_VERSION,
            incarnation=self.incarnation,
            version=self.version,
            nodes=[
                own,
                *(self._node(node) for _, node in self.dead.values()),
                *(self._node(node) for node in self.nodes.values()),
            ],
            demands=demands,
            jobs=[_job(job) for job in self.jobs.values()],
        )

    def _node(self, node: Node) -> head_pb2.NodeSnapshot:
        idle = 0.0 if node.running else max(0.001, self._loop.time() - node.idle_since)
        return head_pb2.NodeSnapshot(
            node_id=node.node_id,
            pod_name=node.pod,
            group=node.group,
            total=head_pb2.Resources(amounts={"CPU": node.cpus * CPU}),
            available=head_pb2.Resources(amounts={"CPU": (node.cpus - len(node.running)) * CPU}),
            alive=node.pod_uid in self.nodes and self.nodes[node.pod_uid] is node,
            idle_seconds=idle,
            drain_state=node.drain,
        )


def _job(job: Job) -> head_pb2.JobSnapshot:
    run = job.run
    row = head_pb2.JobSnapshot(
        submission_id=run.submission_id,
        state=run.state,
        start_time_seconds=EPOCH + run.started if run.state != head_pb2.JOB_STATE_PENDING else 0,
        tasks_submitted=job.tasks,
        tasks_finished=job.finished,
    )
    if run.ended is not None:
        row.end_time_seconds = EPOCH + run.ended
    if run.exit_code is not None:
        row.exit_code, row.has_exit_code = run.exit_code, True
    if run.state == head_pb2.JOB_STATE_FAILED:
        row.reason, row.message = "EntrypointFailed", f"exit code {run.exit_code}"
    return row


class ModelHeads:
    """All head processes, the workers that look for them, and the ledger."""

    def __init__(self, server: ModelServer, rng: random.Random) -> None:
        self._server = server
        self.rng = rng
        self.by_cluster: dict[str, ModelHead] = {}
        self.ledger: dict[str, list[Run]] = {}
        self.on_program: Callable[[Run], None] = lambda run: None
        self._workers: dict[str, Node] = {}
        self._hung: dict[str, str] = {}
        self.unknown: set[str] = set()
        """Pods whose runtime hangs, and whose head has never heard of it; only their liveness probe ends them."""
        self._incarnations = itertools.count(1)

    def note(self, run: Run) -> None:
        self.ledger.setdefault(run.submission_id, []).append(run)
        self.on_program(run)

    def container_starts(self, pod: dict[str, Any]) -> None:
        meta, loop = pod["metadata"], asyncio.get_running_loop()
        labels = meta["labels"]
        cluster, number = labels["shoal.dev/cluster"], next(self._incarnations)
        if labels["shoal.dev/role"] == "head":
            self.by_cluster[cluster] = ModelHead(self, cluster, meta["uid"], f"head-{number}")
            self.unknown |= {uid for uid, owner in self._hung.items() if owner == cluster}
            for node in list(self._workers.values()):
                loop.call_later(self.rng.uniform(0.1, 3.0), self._join, cluster, node)
            return
        node = Node(f"node-{number}", meta["name"], meta["uid"], labels["shoal.dev/group"], 1)
        self._workers[meta["uid"]] = node
        loop.call_later(self.rng.uniform(0.1, 2.0), self._join, cluster, node)

    def container_stops(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        cluster = meta["labels"]["shoal.dev/cluster"]
        head = self.by_cluster.get(cluster)
        if head is not None and head.pod_uid == meta["uid"]:
            del self.by_cluster[cluster]
            head.die()
            return
        self._hung.pop(meta["uid"], None)
        self.unknown.discard(meta["uid"])
        if self._workers.pop(meta["uid"], None) is not None and head is not None:
            head.leave(meta["uid"])

    def node_dies(self, pod: dict[str, Any]) -> None:
        """The runtime in the pod does nothing any more, and the pod lives."""
        meta = pod["metadata"]
        head = self.by_cluster.get(meta["labels"]["shoal.dev/cluster"])
        if self._workers.pop(meta["uid"], None) is None:
            return
        self._hung[meta["uid"]] = meta["labels"]["shoal.dev/cluster"]
        if head is not None and meta["uid"] in head.nodes:
            head.leave(meta["uid"])
        else:
            self.unknown.add(meta["uid"])

    def node_of(self, pod: dict[str, Any]) -> Node | None:
        """What the pod's worker does, when it has joined a head that is there."""
        head = self.by_cluster.get(pod["metadata"]["labels"]["shoal.dev/cluster"])
        return None if head is None else head.nodes.get(pod["metadata"]["uid"])

    def head_at(self, target: str) -> ModelHead | None:
        """The head behind the Service with that address."""
        address = target.rpartition(":")[0]
        for service in self._server.all("services"):
            if service["spec"].get("clusterIP") == address:
                return self.by_cluster.get(service["metadata"]["labels"]["shoal.dev/cluster"])
        return None

    def _join(self, cluster: str, node: Node) -> None:
        head = self.by_cluster.get(cluster)
        pod = self._server.get("pods", node.pod)
        belongs = pod is not None and pod["metadata"]["labels"]["shoal.dev/cluster"] == cluster
        if head is not None and belongs and self._workers.get(node.pod_uid) is node and node.pod_uid not in head.nodes:
            node.running, node.drain = {}, head_pb2.DRAIN_STATE_ACTIVE
            head.join(node)


class Channel:
    """What one operator process opens to one address; speaks like ``grpc.aio.Channel``."""

    def __init__(self, heads: ModelHeads, target: str, is_cut: Any) -> None:
        self._heads = heads
        self._target = target
        self._is_cut = is_cut

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Any:
        async def call(request: Any, timeout: float = 10.0) -> Any:
            head = await self.reach(timeout)
            await asyncio.sleep(self._heads.rng.uniform(0.001, 0.02))
            reply = _answer(head, path, request)
            await asyncio.sleep(self._heads.rng.uniform(0.001, 0.02))
            if self._is_cut() or not head.alive or head.silence:
                raise failed(grpc.StatusCode.DEADLINE_EXCEEDED)  # it was done, and nobody hears of it
            return reply

        return call

    def unary_stream(self, *_: Any, **__: Any) -> Any:
        return lambda _request: Stream(self)

    stream_unary = stream_stream = unary_unary

    async def reach(self, seconds: float) -> ModelHead:
        head = None if self._is_cut() else self._heads.head_at(self._target)
        if head is None or head.silence == "refuses":
            raise failed(grpc.StatusCode.UNAVAILABLE)
        if head.silence == "hangs":
            await asyncio.sleep(seconds)
            raise failed(grpc.StatusCode.DEADLINE_EXCEEDED)
        return head

    @property
    def is_cut(self) -> bool:
        return bool(self._is_cut())


class Stream:
    """The snapshots of one head process."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._head: ModelHead | None = None
        self._seen = 0

    async def read(self) -> Any:
        if self._head is None:
            self._head = await self._channel.reach(3600.0)
        while True:
            await self._head.next_change(self._seen)
            if not self._head.alive or self._head.silence == "refuses":
                raise failed(grpc.StatusCode.UNAVAILABLE)
            if not self._head.silence and not self._channel.is_cut:
                break
            self._seen = self._head.version
        self._seen = self._head.version
        return self._head.snapshot()


def failed(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=code.name)


def _answer(head: ModelHead, path: str, request: Any) -> Any:
    if not head.alive:
        raise failed(grpc.StatusCode.UNAVAILABLE)
    match path.rpartition("/")[2]:
        case "SubmitJob":
            head.submit(request)
            return head_pb2.SubmitJobReply(created=True)
        case "StopJob":
            return head_pb2.StopJobReply(found=head.stop(request.submission_id))
        case "DrainNode":
            accepted, message = head.drain(request.node_id, request.only_if_idle)
            return head_pb2.DrainNodeReply(accepted=accepted, message=message)
        case "RecordDecisions":
            return head_pb2.RecordDecisionsReply()
    raise failed(grpc.StatusCode.UNIMPLEMENTED)
