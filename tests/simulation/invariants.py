"""What must hold after every write, and what must hold once faults have stopped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from tests.simulation.api_server import ModelServer, parse_path
from tests.simulation.history import History
from tests.simulation.machines import Machines
from tests.simulation.model_heads import ModelHeads, Run
from tests.simulation.network import Wire
from tests.simulation.virtual_time import EPOCH

from shoal.protocol import head_pb2
from shoal_operator.domain import labels
from shoal_operator.domain.cluster.assessment import HANG_SECONDS
from shoal_operator.domain.cluster.drains import read_drain
from shoal_operator.local.apiserver.store import Change, Key

Json = dict[str, Any]
UNSEEN_SECONDS = 45.0
"""What a decision may rest on is at most so old: a request's deadline and some lag."""
REPEAT_SECONDS = 28.0
"""Less than expectations are kept."""
STOP_SECONDS = 70.0
"""Less than a stop may stay unconfirmed, and more than an operator may need to see that nothing runs."""
WRITES_MAX = 1_500


class BrokenError(AssertionError):
    """An invariant does not hold."""


def is_live(pod: Json) -> bool:
    """Whether a pod counts: it is not on its way out and has not ended."""
    ended = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return not pod["metadata"].get("deletionTimestamp") and not ended


def true_conditions(document: Json) -> dict[str, Json]:
    found = (document.get("status") or {}).get("conditions") or ()
    return {one["type"]: one for one in found if one["status"] == "True"}


class Invariants:
    """Watches one world. What breaks is remembered and raised at the next ``check``."""

    def __init__(self, server: ModelServer, heads: ModelHeads, history: History, now: Callable[[], float]) -> None:
        self._server = server
        self._heads = heads
        self._history = history
        self._now = now
        self.machines: Machines | None = None
        self.violations: list[str] = []
        self.wall_jumps = False
        self._limits: dict[tuple[str, str], list[tuple[float, int]]] = {}
        self._may_stop: dict[str, float] = {}
        self._stopping_since: dict[str, float] = {}
        self._headless_since: dict[str, float] = {}
        self._outcomes: dict[str, tuple[str, Json]] = {}
        server.store.subscribe(self._follow)

    def broken(self, what: str) -> None:
        if not self.violations:
            self._history.note("BROKEN", what)
        self.violations.append(what)

    def check(self) -> None:
        if self.violations:
            raise BrokenError(self.violations[0])

    # -- after every change ---------------------------------------------------------------------------------

    def _follow(self, change: Change) -> None:
        match change.key.collection:
            case "computeclusters":
                self._follow_cluster(change)
            case "computejobs" if change.type == "MODIFIED":
                self._follow_job(change)
            case "pods" if change.type == "ADDED":
                self._check_count(change.document)

    def _follow_cluster(self, change: Change) -> None:
        spec, uid, now = change.document["spec"], change.document["metadata"]["uid"], self._now()
        leaving = change.type == "DELETED" or change.document["metadata"].get("deletionTimestamp")
        wanted = {} if leaving else {group["name"]: _limit(spec, group) for group in spec.get("workerGroups") or ()}
        for name in {*wanted, *(group for owner, group in self._limits if owner == uid)}:
            known = self._limits.setdefault((uid, name), [])
            if not known or known[-1][1] != wanted.get(name, 0):
                known.append((now, wanted.get(name, 0)))
        if change.type == "DELETED" or "Suspended" in true_conditions(change.document):
            self._headless_since.setdefault(change.key.name, now)
        else:
            self._headless_since.pop(change.key.name, None)
        if leaving or spec.get("suspend"):
            self._may_stop[uid] = math.inf
        elif self._may_stop.get(uid) == math.inf:
            self._may_stop[uid] = now + UNSEEN_SECONDS

    def _check_count(self, pod: Json) -> None:
        meta = pod["metadata"]
        if meta["labels"][labels.ROLE] != "worker":
            return
        uid, group, cluster = meta["ownerReferences"][0]["uid"], meta["labels"][labels.GROUP], None
        live = [one for one in self._server.all("pods") if is_live(one) and _owner(one) == uid]
        live = [one for one in live if one["metadata"]["labels"][labels.GROUP] == group]
        cluster = next((one for one in self._server.all("computeclusters") if one["metadata"]["uid"] == uid), None)
        allowed = self._most(uid, group)
        if cluster is not None and len({one["metadata"]["labels"][labels.TEMPLATE_HASH] for one in live}) > 1:
            allowed += _surge(cluster["spec"], group, allowed)
        if len(live) > allowed:
            self.broken(f"group {group} of {meta['labels'][labels.CLUSTER]} has {len(live)} pods, allowed {allowed}")

    def _most(self, uid: str, group: str) -> int:
        """The highest maximum that a decision could still rest on."""
        steps = self._limits.get((uid, group), [])
        ends = [*(time for time, _ in steps[1:]), math.inf]
        return max((most for (_, most), end in zip(steps, ends, strict=True) if end > self._now() - UNSEEN_SECONDS),
                   default=0)  # fmt: skip

    def _follow_job(self, change: Change) -> None:
        uid = change.document["metadata"]["uid"]
        conditions = {one["type"]: one for one in (change.document.get("status") or {}).get("conditions") or ()}
        running = conditions.get("Running", {})
        if running.get("status") == "True" and running.get("reason") == "ClusterSuspended":
            self.broken(f"job {change.key.name} runs and its cluster is suspended")
        if "Stopping" in true_conditions(change.document):
            self._stopping_since.setdefault(uid, self._now())
        else:
            self._check_stop(change.document, self._stopping_since.pop(uid, self._now()))
        outcome = true_conditions(change.document).keys() & {"Complete", "Failed"}
        if len(outcome) > 1:
            self.broken(f"job {change.key.name} is both complete and failed")
        status = change.document.get("status") or {}
        verdict = (next(iter(outcome), ""), {name: status.get(name) for name in ("attempt", "completionTime")})
        before = self._outcomes.get(uid)
        if before is not None and before != verdict:
            self.broken(f"the outcome of job {change.key.name} changed from {before} to {verdict}")
        elif before is None and outcome:
            self._outcomes[uid] = verdict
            self._check_truth(change.document)

    def _check_stop(self, job: Json, since: float) -> None:
        """A stop is not waited for where nothing can run."""
        cluster = (job["spec"].get("clusterRef") or job["metadata"])["name"]
        idle = self._now() - max(since, self._headless_since.get(cluster, math.inf))
        if idle > STOP_SECONDS:
            self.broken(f"job {job['metadata']['name']} waited {idle:.0f} s for its stop, and its cluster has no head")

    def _check_truth(self, job: Json) -> None:
        """The outcome is what the head's table said."""
        status, name = job["status"], job["metadata"]["name"]
        runs = self._heads.ledger.get(str(status.get("submissionId")), [])
        states = {run.state for run in runs}
        verdict = true_conditions(job)
        if "Complete" in verdict and head_pb2.JOB_STATE_SUCCEEDED not in states:
            self.broken(f"job {name} is complete, and its program never succeeded: {runs}")
        if "Failed" in verdict:
            reason = verdict["Failed"]["reason"]
            if reason == "EntrypointFailed" and head_pb2.JOB_STATE_FAILED not in states:
                self.broken(f"job {name} has failed ({reason}), and its program never did: {runs}")
            if any(run.state == head_pb2.JOB_STATE_SUCCEEDED and self._is_known(run) for run in runs):
                self.broken(f"job {name} has failed ({reason}), and its program succeeded: {runs}")

    def _is_known(self, run: Run) -> bool:
        """Whether the head that ran it lives, answers, and had time to say so."""
        for head in self._heads.by_cluster.values():
            if head.incarnation == run.incarnation:
                return not head.silence and self._now() - max(run.ended or 0.0, head.silent_since) > UNSEEN_SECONDS
        return False

    def program_starts(self, run: Run) -> None:
        """A program was taken by a head."""
        uid = run.submission_id.rpartition("-")[0]
        if uid in self._outcomes:
            self.broken(f"the program of a finished job starts again: {run.submission_id}, {self._outcomes[uid]}")

    # -- after every write of an operator -------------------------------------------------------------------

    def on_write(self, wire: Wire, method: str, path: str, body: Json | None, status: int, started: float) -> None:
        target = parse_path(path)
        if wire.writes > WRITES_MAX:
            self.broken(f"{wire.name} does not stop writing: {wire.writes} writes")
        if target.collection != "pods":
            return
        if method == "POST" and body is not None:
            self._note_creation(wire, f"{body['metadata']['name']} {_owner(body)}", status, started)
        elif method == "DELETE":
            uid = ((body or {}).get("preconditions") or {}).get("uid", "")
            self._note_deletion(wire, str(target.name), uid, status, started)

    def _note_creation(self, wire: Wire, name: str, status: int, started: float) -> None:
        """``name``: of the pod and, after a space, the uid of its cluster."""
        held = self._server.get("pods", name.partition(" ")[0])
        uid = held["metadata"]["uid"] if held is not None else ""
        known = wire.made.get(name)
        if status == 409 and known is not None and known[0] == uid and self._now() - known[1] < REPEAT_SECONDS:
            self.broken(f"{wire.name} makes pod {name} again, which it has just made: it does not wait for its own")
        if status == 201:
            wire.made[name] = (uid, started)

    def _note_deletion(self, wire: Wire, name: str, uid: str, status: int, started: float) -> None:
        if not uid:
            self.broken(f"{wire.name} deletes pod {name} without saying which (no UID)")
        if self._now() - wire.deleted.get(uid, -math.inf) < REPEAT_SECONDS:
            self.broken(f"{wire.name} deletes pod {name} again, which it has just deleted")
        if status == 200:
            wire.deleted[uid] = started

    def before_deletion(self, wire: Wire, path: str, now: datetime) -> None:
        """A worker that works is asked to drain first, and gets its time."""
        pod = self._server.get("pods", str(parse_path(path).name))
        if pod is None:
            return
        node, meta = self._heads.node_of(pod), pod["metadata"]
        head = self._heads.by_cluster.get(meta["labels"][labels.CLUSTER])
        if node is None or not node.running or head is None or not is_live(pod):
            return
        if self._now() < self._may_stop.get(_owner(pod), -1.0):
            return
        if head.silence or self._now() - head.silent_since < UNSEEN_SECONDS or head.age_seconds < UNSEEN_SECONDS:
            return
        drain = read_drain((meta.get("annotations") or {}).get(labels.DRAIN, ""))
        if drain is not None and (self.wall_jumps or drain.deadline <= now):
            return
        self.broken(f"{wire.name} deletes pod {meta['name']}, which works, without a drain (drain: {drain})")

    # -- at the end -----------------------------------------------------------------------------------------

    def unsettled(self) -> list[str]:
        """What is not yet as it shall be, in words; empty: the world has converged."""
        return list(self._open_points())

    def _open_points(self) -> Iterator[str]:
        if self.machines is not None and self.machines.are_coming_back():
            yield "a machine is on its way back"
        for key in self._server.orphans():
            held = self._server.store.get(key)
            if held is not None and not (key.collection == "pods" and self._is_lost(held)):
                yield f"{key.collection} {key.name} is an orphan"
        yield from (f"the head of {name} is silent" for name, head in self._heads.by_cluster.items() if head.silence)
        for cluster in self._server.all("computeclusters"):
            yield from self._points_of_cluster(cluster)
        for job in self._server.all("computejobs"):
            yield from self._points_of_job(job)

    def _points_of_cluster(self, cluster: Json) -> Iterator[str]:
        meta, spec, status = cluster["metadata"], cluster["spec"], cluster.get("status") or {}
        name = f"cluster {meta['name']}"
        pods = [pod for pod in self._server.all("pods") if _owner(pod) == meta["uid"]]
        lost = [pod for pod in pods if self._is_lost(pod)]
        pods = [pod for pod in pods if pod not in lost]
        yield from (f"{name}: pod {pod['metadata']['name']} is not known to hang" for pod in lost if self._is_new(pod))
        if meta.get("deletionTimestamp"):
            yield f"{name} is still there, deleted at {meta['deletionTimestamp']}"
            return
        if status.get("observedGeneration") != meta["generation"]:
            yield f"{name}: generation {meta['generation']}, observed {status.get('observedGeneration')}"
        yield from (f"{name}: pod {pod['metadata']['name']} is on its way out" for pod in pods if not is_live(pod))
        if spec.get("suspend"):
            if lost:
                if status.get("reason") != "Suspending":
                    yield f"{name} waits for lost pods, and says {status.get('reason')}"
                return
            yield from (f"{name} is suspended and has pod {pod['metadata']['name']}" for pod in pods)
            if "Suspended" not in true_conditions(cluster):
                yield f"{name} does not say that it is suspended"
            return
        if any(pod["metadata"]["labels"][labels.ROLE] == "head" for pod in lost):
            if status.get("reason") != "HeadNodeLost":
                yield f"{name} waits for its lost head, and says {status.get('reason')}"
            return
        yield from self._points_of_running_cluster(name, cluster, pods, Counter(map(_group, lost)))

    def _is_new(self, pod: Json) -> bool:
        """Whether the pod may still end, for all that an operator knows, or has just been found to hang."""
        ends = datetime.fromisoformat(pod["metadata"]["deletionTimestamp"])
        return (wall_time(self._now(), 0.0) - ends).total_seconds() < HANG_SECONDS + UNSEEN_SECONDS

    def _is_lost(self, pod: Json) -> bool:
        return self.machines is not None and not is_live(pod) and self.machines.is_lost(pod)

    def _points_of_running_cluster(
        self, name: str, cluster: Json, pods: list[Json], lost: Counter[str]
    ) -> Iterator[str]:
        spec, status = cluster["spec"], cluster.get("status") or {}
        heads = [pod for pod in pods if pod["metadata"]["labels"][labels.ROLE] == "head"]
        if len(heads) != 1:
            yield f"{name} has {len(heads)} heads"
        wanted = {group["name"]: group for group in spec["workerGroups"]}
        counts = dict.fromkeys(wanted, 0)
        for pod in pods:
            group = _group(pod)
            if group != labels.HEAD_GROUP:
                counts[group] = counts.get(group, 0) + 1
        for group, count in counts.items():
            least = _least(spec, wanted[group]) if group in wanted else 0
            most = _limit(spec, wanted[group]) if group in wanted else 0
            if lost[group] > most and status.get("reason") == "NodeLost":
                least = min(least, max(0, 2 * most - lost[group]))  # no more are made up for than a group's size
            if not least <= count <= most:
                yield f"{name}: group {group} has {count} pods, not {least} to {most}"
            said: Json = next((one for one in status.get("workerGroups") or () if one["name"] == group), {})
            if group in wanted and said.get("ready") != count:
                yield f"{name}: group {group} has {count} pods, the status says {said}"
        if not status.get("reason") and "Ready" not in true_conditions(cluster):
            yield f"{name} is not ready and says no reason"
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        if conditions.get("UpToDate") == "False" and not self._is_used(cluster):
            yield f"{name} is not up to date"
        if "HeadReachable" not in true_conditions(cluster):
            yield f"{name}: the head is not reached"

    def _points_of_job(self, job: Json) -> Iterator[str]:
        meta, status = job["metadata"], job.get("status") or {}
        name, verdict = f"job {meta['name']}", true_conditions(job)
        lost = self._waits_for_a_lost_head(job)
        if meta.get("deletionTimestamp"):
            if not lost:
                yield f"{name} is still there, deleted at {meta['deletionTimestamp']}: {meta.get('finalizers')}"
        elif verdict.keys() & {"Complete", "Failed"}:
            if "ttlSecondsAfterFinished" in job["spec"]:
                yield f"{name} has ended, and will be deleted"
        elif "Stopping" in verdict or ("startTime" in status and "activeDeadlineSeconds" in job["spec"]):
            yield f"{name} is being stopped, or will be"
        elif lost:
            if not status.get("reason"):
                yield f"{name} waits for a lost head, and says no reason"
        elif status.get("observedGeneration") != meta["generation"]:
            yield f"{name}: generation {meta['generation']}, observed {status.get('observedGeneration')}"
        elif status.get("reason") in {"ClusterNotFound", "ClusterSuspended", "ClusterNameTaken", "Suspended"}:
            return
        elif self._cannot_end(job):
            if not status.get("reason") and not self._cluster_reason(job):
                yield f"{name} cannot end, and says no reason"
        else:
            yield f"{name} has not ended: {status.get('summary')} {status.get('reason')} {status.get('message')}"

    def _waits_for_a_lost_head(self, job: Json) -> bool:
        cluster = (job["spec"].get("clusterRef") or job["metadata"])["name"]
        head = self._server.get("pods", f"{cluster}-head")
        return head is not None and self._is_lost(head)

    def _cannot_end(self, job: Json) -> bool:
        """Whether its tasks wait for workers that its cluster must not start."""
        head = self._heads.by_cluster.get(str((job.get("status") or {}).get("clusterName")))
        return head is not None and bool(head.waiting) and not any(node.running for node in head.nodes.values())

    def _is_used(self, cluster: Json) -> bool:
        """Whether a program runs there: it may keep its pods as long as it likes."""
        head = self._heads.by_cluster.get(cluster["metadata"]["name"])
        return head is not None and head.is_busy

    def _cluster_reason(self, job: Json) -> str:
        cluster = self._server.get("computeclusters", str((job.get("status") or {}).get("clusterName")))
        return str(((cluster or {}).get("status") or {}).get("reason") or "")


def wall_time(now: float, offset_seconds: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + now + offset_seconds, UTC)


def pod_key(pod: Json) -> Key:
    return Key("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])


def _owner(pod: Json) -> str:
    owners = pod["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


def _is_automatic(spec: Json) -> bool:
    return bool((spec.get("autoscaling") or {}).get("enabled", True))


def _least(spec: Json, group: Json) -> int:
    least = int(group.get("minReplicas", 0))
    return (least if _is_automatic(spec) else int(group.get("replicas", least))) * int(group.get("hostsPerReplica", 1))


def _group(pod: Json) -> str:
    return str(pod["metadata"]["labels"][labels.GROUP])


def _limit(spec: Json, group: Json) -> int:
    if not _is_automatic(spec):
        return _least(spec, group)
    return int(group.get("maxReplicas", 10)) * int(group.get("hostsPerReplica", 1))


def _surge(spec: Json, group: str, size: int) -> int:
    wanted = (spec.get("updateStrategy") or {}).get("maxSurge", 1)
    hosts = max((int(one.get("hostsPerReplica", 1)) for one in spec["workerGroups"] if one["name"] == group), default=1)
    return math.ceil(size * int(wanted[:-1]) / 100) if isinstance(wanted, str) else int(wanted) * hosts
