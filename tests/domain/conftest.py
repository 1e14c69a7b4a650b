"""A model world: just enough of an API server, a kubelet and a head to carry plans out and look again.

It is strict: a plan that names a wrong UID, creates what is there, or annotates what is gone fails the test.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from shoal.resources import ResourceSet
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.autoscaler.model import Demand, Gang
from shoal_operator.domain.cluster.observed import ClusterObservation, PodView, child_view, pod_view
from shoal_operator.domain.cluster.plan import plan_cluster
from shoal_operator.domain.cluster.status import cluster_status
from shoal_operator.domain.head import ActivityView, DrainState, HeadView, JobState, JobView, NodeView
from shoal_operator.domain.job.observed import JobObservation, Rival
from shoal_operator.domain.job.plan import plan_job
from shoal_operator.domain.job.status import job_status
from shoal_operator.domain.manifests.network import OperatorPlace
from shoal_operator.domain.plan import DrainNode, Plan, StopJob, SubmitJob
from shoal_operator.domain.refusals import Refusal

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLACE = OperatorPlace("shoal-system", {"app": "operator"})


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def cpus(amount: float) -> ResourceSet:
    return ResourceSet.from_units({"CPU": amount})


@dataclass
class ClusterWorld:
    """One cluster, its objects, and its head."""

    spec: dict[str, Any]
    status: dict[str, Any] = field(default_factory=dict)
    now: datetime = START
    name: str = "demo"
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By ``Kind/name``: what else the operator applies and deletes."""
    operator: OperatorPlace = PLACE
    jobs: tuple[JobView, ...] = ()
    nodes: dict[str, NodeView] = field(default_factory=dict)
    demands: tuple[Demand, ...] = ()
    head_answers: bool = False
    incarnation: str = "one"
    refuses_drains: bool = False
    tokens: int = 0
    uids: Any = field(default_factory=lambda: count(1))
    events: list[Any] = field(default_factory=list)
    generation: int = 1
    activity: ActivityView | None = None
    """Who uses the cluster, by the head's word; its ``idle_seconds`` are of now."""
    wanted_by: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    """What the API server does not let in now."""
    silence_seconds: float = 0.0
    """Since the head's last word, although nothing says that it is gone."""
    gangs: tuple[Gang, ...] = ()
    gangs_left_out: int = 0
    floors: tuple[Demand, ...] = ()

    def cluster(self) -> ComputeCluster:
        metadata = {"name": self.name, "namespace": "ns", "uid": "cluster-uid", "generation": self.generation}
        return ComputeCluster.parse({"metadata": metadata, "spec": self.spec, "status": self.status})

    def observe(self) -> ClusterObservation:
        head = None
        if self.head_answers:
            nodes = tuple(self.nodes.values())
            head = HeadView(
                self.incarnation,
                self.now - timedelta(seconds=self.silence_seconds),
                nodes=nodes,
                demands=self.demands,
                jobs=self.jobs,
                activity=self.activity,
                gangs=self.gangs,
                gangs_left_out=self.gangs_left_out,
                floors=self.floors,
            )
        return ClusterObservation(
            cluster=self.cluster(),
            pods=tuple(pod_view(pod) for pod in self.pods.values()),
            services=tuple(child_view(service) for service in self.services.values()),
            secrets=frozenset(self.secrets),
            head=head,
            policies=tuple(child_view(each) for each in self.others.values() if each["kind"] == "NetworkPolicy"),
            claims=tuple(child_view(each) for each in self.others.values() if each["kind"] == "PersistentVolumeClaim"),
            budgets=tuple(child_view(each) for each in self.others.values() if each["kind"] == "PodDisruptionBudget"),
            operator=self.operator,
            wanted_by=self.wanted_by,
            refusals=self.refusals,
        )

    def new_token(self) -> str:
        self.tokens += 1
        return f"secret-{self.tokens}"

    def plan(self) -> Plan:
        return plan_cluster(self.observe(), self.now, new_token=self.new_token)

    def reconcile(self) -> Plan:
        """One pass: plan, status, carry out."""
        observed = self.observe()
        plan = plan_cluster(observed, self.now, new_token=self.new_token)
        self.status = cluster_status(observed, plan, self.now)
        self.carry_out(plan)
        return plan

    def settle(self, passes: int = 6) -> list[Plan]:
        """Passes until one is empty, at a standing clock; fails when there is no end."""
        plans = []
        for _ in range(passes):
            plans.append(self.reconcile())
            if plans[-1].is_empty:
                return plans
        raise AssertionError(f"does not come to rest: {plans[-2:]}")

    def carry_out(self, plan: Plan) -> None:
        for deletion in plan.delete_pods:
            assert self.pods[deletion.name]["metadata"]["uid"] == deletion.uid
            del self.pods[deletion.name]
            self.nodes.pop(deletion.name, None)
            if deletion.name == f"{self.name}-head":
                self.head_answers = False
        for annotation in plan.annotate_pods:
            metadata = self.pods[annotation.name]["metadata"]
            assert metadata["uid"] == annotation.uid
            merged = {**metadata.get("annotations", {}), **annotation.annotations}
            metadata["annotations"] = {key: value for key, value in merged.items() if value is not None}
        for secret in plan.create:
            assert secret["metadata"]["name"] not in self.secrets
            self.secrets[secret["metadata"]["name"]] = secret
        for manifest in plan.apply:
            self._apply(manifest)
        for reference in plan.delete:
            kept, key = (
                (self.services, reference.name)
                if reference.kind == "Service"
                else (self.others, f"{reference.kind}/{reference.name}")
            )
            assert kept.pop(key)["metadata"]["uid"] == reference.uid
        for pod in plan.create_pods:
            self._create(pod)
        for command in plan.head_commands:
            self._drain(command)
        self.events += plan.events

    def _apply(self, manifest: dict[str, Any]) -> None:
        applied, name = copy.deepcopy(manifest), manifest["metadata"]["name"]
        applied["metadata"]["uid"] = f"applied-{next(self.uids)}"
        if applied["kind"] == "Service":
            self.services[name] = applied
        else:
            self.others[f"{applied['kind']}/{name}"] = applied

    def _drain(self, command: Any) -> None:
        assert isinstance(command, DrainNode)
        assert command.deadline_seconds > 0
        node = self.nodes[command.pod_name]
        assert node.node_id == command.node_id
        if node.idle_seconds > 0 and not self.refuses_drains:
            self.nodes[command.pod_name] = replace(node, drain_state=DrainState.DRAINED)
        elif not command.only_if_idle:
            self.nodes[command.pod_name] = replace(node, drain_state=DrainState.DRAINING)

    def _create(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        assert name not in self.pods, f"pod {name} is there already"
        created = copy.deepcopy(pod)
        created["metadata"] |= {"uid": f"pod-{next(self.uids)}", "creationTimestamp": text(self.now)}
        created["status"] = {"phase": "Pending"}
        self.pods[name] = created

    def start_pods(self) -> None:
        """Every pending pod runs and joins; the head answers."""
        for name, pod in self.pods.items():
            if pod["status"]["phase"] == "Pending":
                ready = [{"type": "Ready", "status": "True"}]
                pod["status"] = {"phase": "Running", "conditions": ready, "podIP": "127.0.0.2"}
                if pod["metadata"]["labels"]["shoal.dev/role"] == "worker":
                    self._join(name, pod)
        self.head_answers = True

    def _join(self, name: str, pod: dict[str, Any]) -> None:
        arguments = pod["spec"]["containers"][0]["args"]
        total = ResourceSet.from_units(json.loads(arguments[arguments.index("--resources") + 1]))
        group = pod["metadata"]["labels"]["shoal.dev/group"]
        self.nodes[name] = NodeView(f"node-{name}-{next(self.uids)}", name, group, total, total)

    def end_pod(self, name: str, reason: str = "Evicted") -> None:
        self.pods[name]["status"] = {"phase": "Failed", "reason": reason, "message": "the host needs memory"}
        self.nodes.pop(name, None)

    def hold_up_pod(self, name: str, reason: str, message: str) -> None:
        waiting = {"waiting": {"reason": reason, "message": message}}
        self.pods[name]["status"] = {
            "phase": "Pending",
            "containerStatuses": [{"name": "shoal", "ready": False, "state": waiting}],
        }

    def gate_pod(self, name: str, reason: str = "Unschedulable", message: str = "0/3 nodes are available") -> None:
        """The scheduler does not place the pod."""
        said = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        self.pods[name]["status"] = {"phase": "Pending", "conditions": [said]}

    def busy(self, name: str) -> None:
        self.nodes[name] = replace(self.nodes[name], available=ResourceSet(), idle_seconds=0.0)

    def idle(self, name: str, seconds: float) -> None:
        node = self.nodes[name]
        self.nodes[name] = replace(node, available=node.total, idle_seconds=seconds)

    def finish(self, name: str) -> None:
        """A worker that drains has finished what it held."""
        self.nodes[name] = replace(self.nodes[name], drain_state=DrainState.DRAINED)

    def lose_pod(self, name: str) -> None:
        """The pod is gone, by somebody else's hand."""
        del self.pods[name]
        self.nodes.pop(name, None)

    def hashes(self) -> dict[str, str]:
        """Template hashes of all pods by name."""
        return {name: pod["metadata"]["labels"]["shoal.dev/template-hash"] for name, pod in self.pods.items()}

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def workers(self) -> list[str]:
        return sorted(n for n, p in self.pods.items() if p["metadata"]["labels"]["shoal.dev/role"] == "worker")

    def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in self.status["conditions"] if c["type"] == kind)


@dataclass
class JobWorld:
    """One job, its cluster object, and the job table of that cluster's head."""

    spec: dict[str, Any]
    status: dict[str, Any] = field(default_factory=dict)
    now: datetime = START
    cluster: dict[str, Any] | None = None
    head_ready: bool = False
    incarnation: str = "one"
    reachable: bool = True
    jobs: dict[str, JobView] = field(default_factory=dict)
    deleted: bool = False
    submissions: list[SubmitJob] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    loses_status: bool = False
    ignores_stops: bool = False
    stops: list[StopJob] = field(default_factory=list)
    finalizers: tuple[str, ...] = ()
    deleted_at: datetime | None = None
    pods: tuple[PodView, ...] = ()
    rivals: tuple[Rival, ...] = ()
    demands: tuple[Demand, ...] = ()
    uids: Any = field(default_factory=lambda: count(1))

    def job(self) -> ComputeJob:
        metadata = {
            "name": "census",
            "namespace": "ns",
            "uid": "job-uid",
            "generation": 1,
            "creationTimestamp": text(START),
            "finalizers": list(self.finalizers),
            **({"deletionTimestamp": text(self.deleted_at)} if self.deleted_at else {}),
        }
        return ComputeJob.parse({"metadata": metadata, "spec": self.spec, "status": self.status})

    def observe(self) -> JobObservation:
        head = None
        if self.cluster is not None and self.head_ready:
            jobs = tuple(self.jobs.values())
            head = HeadView(self.incarnation, self.now, reachable=self.reachable, jobs=jobs, demands=self.demands)
        cluster = ComputeCluster.parse(self.cluster) if self.cluster else None
        return JobObservation(self.job(), cluster, head, pods=self.pods, rivals=self.rivals)

    def reconcile(self) -> Plan:
        observed = self.observe()
        plan = plan_job(observed, self.now)
        if not self.loses_status:
            self.status = job_status(observed, self.now)
        self.carry_out(plan)
        return plan

    def settle(self, passes: int = 6) -> list[Plan]:
        """Passes until one plans and says nothing new, at a standing clock; fails when there is no end."""
        plans = []
        for _ in range(passes):
            before = self.status
            plans.append(self.reconcile())
            if self.deleted or (plans[-1].is_empty and self.status == before):
                return plans
        raise AssertionError(f"does not come to rest: {plans[-2:]}")

    def carry_out(self, plan: Plan) -> None:
        if plan.finalizers is not None:
            assert plan.finalizers != self.finalizers
            self.finalizers = plan.finalizers
            self.deleted = self.deleted_at is not None and not plan.finalizers
        for manifest in plan.apply:
            uid = self.cluster["metadata"]["uid"] if self.cluster else f"cluster-{next(self.uids)}"
            status = self.cluster.get("status", {}) if self.cluster else {}
            self.cluster = {**copy.deepcopy(manifest), "status": status}
            self.cluster["metadata"]["uid"] = uid
        for ref in plan.delete:
            if ref.kind == "ComputeCluster":
                assert self.cluster is not None
                assert self.cluster["metadata"]["uid"] == ref.uid
                self.cluster, self.head_ready, self.jobs = None, False, {}
            else:
                assert ref.uid == "job-uid"
                self.deleted = not self.finalizers
        for command in plan.head_commands:
            assert self.head_ready, "a command to a head that is not there"
            if isinstance(command, SubmitJob):
                self.submissions.append(command)
                pending = JobView(command.submission_id, JobState.PENDING)
                self.jobs.setdefault(command.submission_id, pending)
            elif isinstance(command, StopJob):
                assert self.reachable
                self.stops.append(command)
                row = self.jobs[command.submission_id]
                if not self.ignores_stops:
                    ended = replace(row, state=JobState.STOPPED, reason=command.reason)
                    self.jobs[command.submission_id] = ended
        self.events += plan.events

    def start_head(self, incarnation: str = "one") -> None:
        """The head of the cluster is ready and answers; a new incarnation knows no jobs."""
        assert self.cluster is not None
        condition = {"type": "HeadReady", "status": "True", "reason": "HeadRunning"}
        self.cluster["status"] = {"conditions": [condition | {"lastTransitionTime": text(self.now)}]}
        if incarnation != self.incarnation:
            self.jobs = {}
        self.head_ready, self.incarnation = True, incarnation

    def row(self, attempt: int = 1, **changes: Any) -> None:
        key = f"job-uid-{attempt}"
        self.jobs[key] = replace(self.jobs[key], **changes)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in self.status["conditions"] if c["type"] == kind)


@pytest.fixture(scope="session")
def cluster_world() -> Callable[..., ClusterWorld]:
    """Make a world for a cluster spec: ``cluster_world(workerGroups=[...])``."""
    return lambda **spec: ClusterWorld(spec)


@pytest.fixture(scope="session")
def job_world() -> Callable[..., JobWorld]:
    """Make a world for a job spec; the entrypoint is ``python main.py`` unless given."""
    return lambda **spec: JobWorld({"entrypoint": "python main.py", **spec})
