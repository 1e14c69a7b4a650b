"""What a scenario has in its hands: a namespace of its own, kubectl in it, and everything that happened there.

Invariant: a scenario changes the world with kubectl and looks at objects; it knows no process, file or address.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from e2e import manifests
from e2e.api import GROUP, Api, Object
from e2e.eventually import eventually
from e2e.history import History
from e2e.kubectl import Kubectl, Running
from e2e.manifests import Manifest
from e2e.providers import Provider

Found = TypeVar("Found")

JOB_SECONDS: Final = 25.0
GONE_SECONDS: Final = 15.0


def condition(item: Object | None, kind: str) -> Object:
    """A condition of an object; empty when it has none of that type."""
    conditions = ((item or {}).get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def is_true(item: Object | None, kind: str) -> bool:
    """Whether an object has the condition, with status True."""
    return condition(item, kind).get("status") == "True"


@dataclass
class World:
    """One scenario's namespace. Made by the fixture ``world``."""

    namespace: str
    kubectl: Kubectl
    api: Api
    provider: Provider
    jobs: History
    clusters: History
    pods: History
    applied_at: dict[str, float] = field(default_factory=dict)
    """Unix time of the first apply of each job."""
    followers: list[Running] = field(default_factory=list)
    may_fail: set[str] = field(default_factory=set)
    """Jobs that a wait lets fail. Any other one ends the wait at once."""

    @classmethod
    def open(cls, name: str, kubectl: Kubectl, api: Api, provider: Provider) -> World:
        """Make the namespace and begin to watch it."""
        kubectl.apply(manifests.namespace(name))
        within = f"/namespaces/{name}"
        eventually(lambda: api.find(f"/api/v1{within}"), "the namespace is there", 10.0)
        jobs, clusters = (History(api, f"{GROUP}{within}/{kind}") for kind in ("computejobs", "computeclusters"))
        return cls(name, kubectl.within(name), api, provider, jobs, clusters, History(api, f"/api/v1{within}/pods"))

    def close(self) -> None:
        """Stop watching, and ask for the namespace's end without waiting for it."""
        for running in self.followers:
            running.close()
        for history in (self.jobs, self.clusters, self.pods):
            history.close()
        self.kubectl("delete", "namespace", self.namespace, "--wait=false")

    @property
    def image(self) -> str:
        """The runtime image."""
        return self.provider.runtime_image

    def apply(self, *items: Manifest) -> str:
        """`kubectl apply` of all of them; notes the time for jobs."""
        now = time.time()
        for item in items:
            if item["kind"] == "ComputeJob":
                self.applied_at.setdefault(item["metadata"]["name"], now)
        return self.kubectl.apply(*items)

    def start_job(self, text: str, name: str = "job", groups: tuple[Manifest, ...] = (), **fields: Any) -> None:
        """Apply a program and a job that runs it on a cluster of its own."""
        fields.setdefault("clusterSpec", manifests.cluster_spec(self.image, groups))
        program = manifests.program(f"{name}-program", textwrap.dedent(text).replace("GATE", manifests.GATE))
        self.apply(program, manifests.job(name, f"{name}-program", **fields))

    def patch(self, resource: str, change: Manifest) -> None:
        """`kubectl patch` with a merge patch: ``patch("computejob/job", {"spec": ...})``."""
        self.kubectl("patch", resource, "--type=merge", "--patch", json.dumps(change))

    def open_gate(self, name: str = "job") -> None:
        """Let a program go on that waits in ``pass_gate()``: a worker of its cluster's group ``gate`` joins."""
        groups = self.jobs.now()[name]["spec"]["clusterSpec"]["workerGroups"]
        opened = [{**one, "minReplicas": 1} if one["name"] == "gate" else one for one in groups]
        self.patch(f"computejob/{name}", {"spec": {"clusterSpec": {"workerGroups": opened}}})

    def until(self, probe: Callable[[], Found | None], what: str, seconds: float = JOB_SECONDS) -> Found:
        """`eventually`, with the provider's patience, and the namespace's state in the error."""

        def look() -> Found | None:
            found = probe()
            failed = [] if found else [name for name in self.applied_at if is_true(self.jobs.last(name), "Failed")]
            assert set(failed) <= self.may_fail, f"{failed} failed while this was waited for: {what}\n{self.describe()}"
            return found

        return eventually(look, what, seconds * self.provider.patience, instead=self.describe)

    def finish(self, name: str = "job", outcome: str = "Complete", seconds: float = JOB_SECONDS) -> Object:
        """Wait until the job has ended, in the way that was expected; returns it."""

        def ended() -> Object | None:
            job = self.jobs.last(name)
            return job if is_true(job, "Complete") or is_true(job, "Failed") else None

        if outcome == "Failed":
            self.may_fail.add(name)
        job = self.until(ended, f"job {name} ends", seconds)
        assert is_true(job, outcome), f"job {name} did not become {outcome}\n{self.describe()}"
        self.kubectl("wait", f"--for=condition={outcome}", f"computejob/{name}", "--timeout=5s")
        return job

    def seconds_to_complete(self, name: str) -> float | None:
        """From the apply to the moment at which Complete was seen."""
        seen = self.jobs.first(name, lambda job: is_true(job, "Complete"))
        return seen.at - self.applied_at[name] if seen and name in self.applied_at else None

    def transitions(self, name: str = "job") -> list[str]:
        """Conditions of a job in the order in which they became true, or false again: ["Running", "not Running"]."""
        found: list[str] = []
        state: dict[str, str] = {}
        for seen in self.jobs.all(name):
            for one in (seen.object.get("status") or {}).get("conditions") or []:
                before = state.get(one["type"], "False")
                state[one["type"]] = one["status"]
                if one["status"] != before:
                    found.append(one["type"] if one["status"] == "True" else f"not {one['type']}")
        return found

    def workers(self, *, ready: bool = False) -> list[Object]:
        """The worker pods that are there and stay."""
        pods = [pod for pod in self.pods.now().values() if _role(pod) == "worker"]
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return [pod for pod in staying if is_true(pod, "Ready")] if ready else staying

    def pod_is_ready(self, name: str) -> Object | None:
        """The pod, once it is ready."""
        pod = self.pods.now().get(name)
        return pod if is_true(pod, "Ready") else None

    def output(self, name: str = "job") -> str:
        """What the job's status says the program wrote last."""
        return str(((self.jobs.last(name) or {}).get("status") or {}).get("outputTail") or "")

    def wrote(self, words: str, name: str = "job", seconds: float = JOB_SECONDS) -> str:
        """Wait until the program has written some words; returns its output."""

        def said() -> str:
            output = self.output(name)
            return output if words in output else ""

        return self.until(said, f"{name} wrote {words!r}", seconds)

    def prints(self, log: Running, words: str, seconds: float = JOB_SECONDS) -> None:
        """Wait until a followed log has some words."""
        self.until(lambda: words in log.text, f"the log has {words!r}", seconds)

    def resource_versions(self) -> dict[str, str]:
        """Every object of the namespace, of every kind that the server has, with its version."""
        found: dict[str, str] = {}
        listed = self.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        items = json.loads(self.kubectl("get", ",".join(listed), "--output=json", "--ignore-not-found") or "{}")
        for item in items.get("items") or []:
            key = f"{item['apiVersion']} {item['kind']} {item['metadata']['name']}"
            found[key] = f"{item['metadata']['uid']} {item['metadata']['resourceVersion']}"
        return found

    def settles(self, seconds: float = 2.5) -> None:
        """Wait until pods, jobs and clusters have been left alone for so long."""

        def is_quiet() -> bool:
            history = max((self.jobs, self.clusters, self.pods), key=lambda one: one.changed_at)
            return time.time() - history.changed_at > seconds

        self.until(is_quiet, "things settle")

    def follow_log(self, pod: str) -> Running:
        """`kubectl logs -f`, as soon as the pod's container runs."""
        self.until(lambda: _runs(self.pods.now().get(pod)), f"pod {pod} runs")
        running = self.kubectl.start("logs", "--follow", pod, "--container", manifests.RUNTIME_CONTAINER)
        self.followers.append(running)
        return running

    def pods_are_gone(self, seconds: float = GONE_SECONDS) -> None:
        """Wait until no pod is left."""
        self.until(lambda: not self.pods.now(), "all pods are gone", seconds)

    def describe(self) -> str:
        """The state of the namespace, for errors."""
        parts = [
            self.kubectl.run("get", "computejobs,computeclusters,pods", "-o", "wide").out,
            self.kubectl.run("get", "events", "--sort-by=.metadata.creationTimestamp").out,
        ]
        for name, pod in self.pods.now().items():
            if _role(pod):
                parts.append(f"--- log of {name}\n{self.kubectl.run('logs', name, '--tail=30').out}")
                if _has_restarted(pod):
                    before = self.kubectl.run("logs", name, "--previous", "--tail=60").out
                    parts.append(f"--- log of {name} before it was restarted\n{before}")
        parts.extend(f"--- status of {name}: {job.get('status')}" for name, job in self.jobs.now().items())
        return "\n".join(parts)


def _role(pod: Object) -> str:
    """``head``, ``worker``, or nothing: a pod that a scenario made itself."""
    return str(pod["metadata"].get("labels", {}).get("shoal.dev/role", ""))


def _has_restarted(pod: Object) -> bool:
    return any(one.get("restartCount") for one in (pod.get("status") or {}).get("containerStatuses") or [])


def _runs(pod: Object | None) -> bool:
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or []
    return any("running" in (one.get("state") or {}) for one in statuses if one["name"] == manifests.RUNTIME_CONTAINER)
