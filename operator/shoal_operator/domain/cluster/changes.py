"""What happens to pods that are there: which are deleted, drained, marked, and which are left.

Invariants:
- an intent to drain is an annotation before a head hears of it;
- without a head that answers, no worker goes that may hold something;
- a replica goes as a whole: its pods are deleted when the last of them has finished.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from shoal_operator.autoscaler.model import Removal
from shoal_operator.domain import conditions, labels
from shoal_operator.domain.cluster.assessment import (
    ENDED_POD_RETRY_SECONDS,
    JOIN_TIMEOUT_SECONDS,
    Assessment,
    age_seconds,
    pod_text,
    until_hanging_seconds,
)
from shoal_operator.domain.cluster.drains import FORCED, Begun, Drain, start_drain
from shoal_operator.domain.cluster.groups import retirement
from shoal_operator.domain.cluster.head_life import wait_seconds
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.cluster.workers import NODE_DEAD_SECONDS, Replica, Worker
from shoal_operator.domain.head import DrainState, NodeView
from shoal_operator.domain.plan import (
    REQUEUE_SECONDS_MIN,
    DrainNode,
    EventRecord,
    HeadCommand,
    PodAnnotation,
    PodDeletion,
)
from shoal_operator.domain.reasons import Action, Reason

DRAIN_RETRY_SECONDS: Final = 2.0
"""A node that was asked to drain and has not answered by its state is asked again after this time."""

_WORDS: Final = {
    Reason.IDLE: "idle workers",
    Reason.OVER_LIMIT: "workers beyond the group's number",
    Reason.OUTDATED_POD: "workers of an earlier template",
    Reason.GROUP_REMOVED: "workers of a removed group",
    Reason.GROUP_SUSPENDED: "workers of a suspended group",
}


@dataclass(slots=True)
class Changes:
    """The part of a plan about pods that exist. ``decide`` fills it in."""

    assessment: Assessment
    now: datetime
    deletions: dict[str, PodDeletion] = field(default_factory=dict)
    annotations: list[PodAnnotation] = field(default_factory=list)
    commands: list[HeadCommand] = field(default_factory=list)
    events: list[EventRecord] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    started: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Names of pods whose drain begins, by reason and the planner's rule."""
    _removals: dict[str, Removal] = field(init=False)
    """What the planner drains, by name of the pod."""

    def __post_init__(self) -> None:
        self._removals = {removal.pod_name: removal for removal in self.assessment.scaling.drain}

    def decide(self) -> None:
        """Look at every pod once."""
        self._replace_ended()
        self._replace_head()
        self._discard()
        self._mark_complete_replicas()
        self._mark_dead_nodes()
        self._await_hanging_pods()
        if self.assessment.head is not None:
            self._drain_workers()
            self._cancel_workers()

    def requeue_after(self) -> float | None:
        """The earliest time at which the passing of time alone changes the decision."""
        later = self.assessment.scaling.next_check_seconds
        if later is not None:
            self.wakes.append(later)
        return max(REQUEUE_SECONDS_MIN, min(self.wakes)) if self.wakes else None

    def _replace_ended(self) -> None:
        """Delete pods that will never run again; what they were for is created anew."""
        for pod in self.assessment.ended:
            age = age_seconds(pod, self.now)
            is_head = pod.role == labels.ROLE_HEAD
            wait = wait_seconds(pod, age) if is_head else ENDED_POD_RETRY_SECONDS - age
            if wait > 0:
                self.wakes.append(wait)
                continue
            self._delete(pod, Reason.FAILED_POD)
            action = Action.REPLACE_HEAD if is_head else Action.SCALE_UP
            reason = Reason.RECREATING_HEAD if is_head else Reason.FAILED_POD
            text = conditions.shorten(f"pod {pod.name} ended and is replaced: {pod_text(pod)}")
            self.events.append(EventRecord("Warning", reason, text, action))

    def _replace_head(self) -> None:
        pod = self.assessment.head_pod
        if pod is not None and self.assessment.rollout.replace_head:
            self._delete(pod, Reason.OUTDATED_POD)
            text = f"pod {pod.name} was made from an earlier template and is replaced"
            self.events.append(EventRecord("Normal", Reason.RECREATING_HEAD, text, Action.REPLACE_HEAD))

    def _discard(self) -> None:
        """Delete replicas that hold nothing, or nothing any more."""
        for group in self.assessment.rollout.groups:
            for replica in group.discard:
                self._delete_replica(replica, Reason.OUTDATED_POD)
        for replica in self.assessment.replicas:
            if replica.has_lost_a_host:
                self._delete_replica(replica, Reason.HOST_LOST)
                self.events.append(EventRecord("Warning", Reason.HOST_LOST, _loss_text(replica), Action.SCALE_UP))
            elif (reason := retirement(self.assessment.cluster.spec, replica.group)) and replica.holds_nothing:
                self._delete_replica(replica, reason)

    def _mark_complete_replicas(self) -> None:
        for replica in self.assessment.replicas:
            if replica.hosts > 1 and replica.has_joined:
                for worker in replica.workers:
                    if not worker.pod.replica_ran:
                        note = {labels.REPLICA_RAN: "true"}
                        self.annotations.append(PodAnnotation(worker.pod.name, worker.pod.uid, note))

    def _mark_dead_nodes(self) -> None:
        """Note since when nodes are dead in pods that live; the time is part of the world, not of a memory."""
        for replica in self.assessment.replicas:
            for worker in replica.workers:
                pod = worker.pod
                if worker.node_died and pod.node_dead_since is None and not replica.is_draining:
                    note = {labels.NODE_DEAD: self.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
                    self.annotations.append(PodAnnotation(pod.name, pod.uid, note))
                elif worker.node is not None and pod.node_dead_since is not None:
                    self.annotations.append(PodAnnotation(pod.name, pod.uid, {labels.NODE_DEAD: None}))
                elif worker.node_died and worker.node_dead_seconds < NODE_DEAD_SECONDS:
                    self.wakes.append(NODE_DEAD_SECONDS - worker.node_dead_seconds)
                elif self.assessment.head and not worker.node and worker.age_seconds < JOIN_TIMEOUT_SECONDS:
                    self.wakes.append(JOIN_TIMEOUT_SECONDS - worker.age_seconds)

    def _await_hanging_pods(self) -> None:
        self.wakes += waits_for_hanging(self.assessment, self.now)

    def _drain_workers(self) -> None:
        """Carry every drain one step further."""
        chosen = {removal.pod_name: removal.reason for removal in self.assessment.scaling.drain}
        for group in self.assessment.rollout.groups:
            for replica in group.retire:
                chosen |= {worker.pod.name: Reason.OUTDATED_POD for worker in replica.workers}
        for replica in self.assessment.replicas:
            if retired := retirement(self.assessment.cluster.spec, replica.group):
                chosen |= {worker.pod.name: retired for worker in replica.workers}
            reason = next((chosen[w.pod.name] for w in replica.workers if w.pod.name in chosen), "")
            if (reason or replica.is_draining) and replica.workers[0].pod.name not in self.deletions:
                self._drain_replica(replica, reason)
        for begun in self.begun():
            what = _WORDS.get(Reason(begun.reason), "workers")
            text = f"draining {what}: {_some(begun.pod_names)}" + (f" ({begun.text})" if begun.text else "")
            self.events.append(
                EventRecord("Normal", Reason.DRAINING_WORKERS, conditions.shorten(text), Action.SCALE_DOWN)
            )

    def begun(self) -> tuple[Begun, ...]:
        """The drains that begin in this pass: those of one reason and rule together."""
        return tuple(
            Begun(reason, self._removal_of(names[0], reason).text, tuple(names))
            for (reason, _), names in self.started.items()
        )

    def _drain_replica(self, replica: Replica, reason: str) -> None:
        under_way = any(w.node and w.node.drain_state is not DrainState.ACTIVE for w in replica.workers)
        forced = replica.hosts > 1 and under_way
        leaves, stands = bool(reason) or replica.is_draining, bool(reason) or under_way
        ends = [
            self._end_of(worker, leaves=leaves, stands=stands and not _refuses(worker, forced))
            for worker in replica.workers
        ]
        if all(ends):
            for worker, end in zip(replica.workers, ends, strict=True):
                self._delete(worker.pod, end)
            return
        for worker in replica.workers:
            if worker.node is None or worker.node.drain_state is DrainState.DRAINED:
                continue
            if worker.drain is None:
                self._begin(worker, worker.node, reason or (Reason.DRAINED if forced else ""))
            elif worker.drain.deadline <= self.now and _refuses(worker, forced):
                # It would not go to the end, though it seems idle: it is no longer asked on the strength of that.
                self._annotate(worker.pod, None)
            elif reason or forced or worker.node.drain_state is DrainState.DRAINING:
                self._continue(worker, worker.node, worker.drain, forced=forced)
            else:
                # The node has work again: the head refused, or would; the intent is taken back.
                self._annotate(worker.pod, None)

    def _end_of(self, worker: Worker, *, leaves: bool, stands: bool) -> str:
        """Why the worker may be deleted now; empty while it has to be waited for.

        Args:
            leaves: whether it is to go, or was.
            stands: whether that still holds; a deadline that passed while no head answered ends no worker that is
                wanted again, and none ends a worker that may refuse, and does.
        """
        if worker.node is None:
            return Reason.NODE_GONE if leaves else ""
        if worker.node.drain_state is DrainState.DRAINED:
            return Reason.DRAINED
        if worker.drain is not None and worker.drain.deadline <= self.now and stands:
            return Reason.DRAIN_TIMED_OUT
        return ""

    def _cancel_workers(self) -> None:
        """Give up pods that have not joined and are no longer wanted."""
        by_name = {worker.pod.name: worker.pod for worker in self.assessment.workers}
        given_up: dict[tuple[str, str], list[str]] = {}
        for removal in self.assessment.scaling.cancel:
            if removal.pod_name in by_name and removal.pod_name not in self.deletions:
                self._delete(by_name[removal.pod_name], removal.reason)
                given_up.setdefault((removal.reason, removal.text), []).append(removal.pod_name)
        for (reason, why), names in given_up.items():
            text = conditions.shorten(f"giving up {_some(names)}: {why or reason}")
            self.events.append(EventRecord("Normal", Reason(reason), text, Action.SCALE_DOWN))

    def _begin(self, worker: Worker, node: NodeView, reason: str) -> None:
        if node.drain_state is DrainState.DRAINING:
            # The head drains already (an intent whose annotation was lost): take it over.
            self._annotate(worker.pod, self._new_drain(reason or Reason.DRAINED, worker.pod))
        elif reason:
            rule = self._removal_of(worker.pod.name, reason).rule
            self.started.setdefault((reason, rule), []).append(worker.pod.name)
            self._annotate(worker.pod, self._new_drain(reason, worker.pod))

    def _continue(self, worker: Worker, node: NodeView, drain: Drain, *, forced: bool) -> None:
        left = (drain.deadline - self.now) / timedelta(seconds=1)
        self.wakes.append(left)
        if node.drain_state is DrainState.ACTIVE:
            self.wakes.append(DRAIN_RETRY_SECONDS)
            cluster = self.assessment.cluster.metadata.name
            only_if_idle = not (forced or drain.reason in FORCED)
            self.commands.append(
                DrainNode(cluster, node.node_id, worker.pod.name, drain.reason, max(left, 1.0), only_if_idle)
            )

    def _new_drain(self, reason: str, pod: PodView) -> Drain:
        spec = self.assessment.cluster.spec
        strategy, autoscaling = spec.update_strategy, spec.autoscaling
        seconds = strategy.drain_timeout_seconds if reason in FORCED else autoscaling.drain_timeout_seconds
        return start_drain(reason, self.now, seconds, self._removal_of(pod.name, reason).text)

    def _removal_of(self, pod_name: str, reason: str) -> Removal:
        """What the planner said of a pod that goes for that reason; without words where it did not choose it."""
        found = self._removals.get(pod_name)
        return found if found and found.reason == reason else Removal(pod_name, "", "", reason)

    def _annotate(self, pod: PodView, drain: Drain | None) -> None:
        value = drain.encode() if drain else None
        self.annotations.append(PodAnnotation(pod.name, pod.uid, {labels.DRAIN: value}))

    def _delete_replica(self, replica: Replica, reason: str) -> None:
        for worker in replica.workers:
            self._delete(worker.pod, reason)

    def _delete(self, pod: PodView, reason: str) -> None:
        self.deletions.setdefault(pod.name, PodDeletion(pod.name, pod.uid, str(reason)))


def waits_for_hanging(assessment: Assessment, now: datetime) -> list[float]:
    """In how many seconds pods that are on their way out will count as hanging there."""
    pods = (*assessment.leaving, *([assessment.head_pod] if assessment.head_pod else []))
    return [wait for pod in pods if (wait := until_hanging_seconds(pod, now))]


def _refuses(worker: Worker, forced: bool) -> bool:
    """Whether a node that was to go only if it is idle has not begun to."""
    is_free = not forced and worker.drain is not None and worker.drain.reason == Reason.IDLE
    return is_free and worker.node is not None and worker.node.drain_state is DrainState.ACTIVE


def _loss_text(replica: Replica) -> str:
    if replica.hosts == 1:
        name = replica.workers[0].pod.name
        return f"the node in pod {name} has been dead for {NODE_DEAD_SECONDS:g} s, and the pod lives: it is replaced"
    hosts = ", ".join(map(str, sorted({*replica.missing, *replica.dead_hosts})))
    return f"replica {replica.index} of group `{replica.group}` lost host {hosts} and is replaced"


def _some(names: Iterable[str]) -> str:
    given = list(names)
    return ", ".join(given[:5]) + (f" and {len(given) - 5} more" if len(given) > 5 else "")
