"""Users: what they make at the beginning, and what they change their minds about."""

from __future__ import annotations

import random
from typing import Any

from tests.simulation.api_server import ModelServer, Target
from tests.simulation.history import History

from shoal_operator.local.apiserver.store import Key

Json = dict[str, Any]
API_VERSION = "shoal.dev/v1alpha1"
NAMESPACE = "default"
_STRATEGIES: tuple[Json, ...] = (
    {"type": "Recreate"},
    {"maxSurge": 2, "maxUnavailable": 0},
    {"maxSurge": 0, "maxUnavailable": "50%"},
    {"maxSurge": "100%", "drainTimeoutSeconds": 5},
)
_SIZES = ("minReplicas", "maxReplicas")
GROUPS = ("small", "big", "spare")


class People:
    """Edits objects like kubectl does."""

    def __init__(self, server: ModelServer, history: History, rng: random.Random) -> None:
        self._server = server
        self._history = history
        self._rng = rng

    def begin(self) -> None:
        """One to three clusters, made by hand or by a job, and one or two jobs."""
        rng = self._rng
        clusters = [f"cluster-{number}" for number in range(rng.choice((0, 1, 1, 2)))]
        for name in clusters:
            self._create("computeclusters", "ComputeCluster", name, self._cluster_spec())
        for number in range(rng.choice((0, 1, 1, 2)) if clusters else rng.choice((1, 2))):
            self._create("computejobs", "ComputeJob", f"job-{number}", self._job_spec(clusters))

    def change_something(self) -> None:
        """One edit of one object."""
        rng = self._rng
        edits = (self._edit_cluster,) * 6 + (self._edit_job,) * 2 + (self._delete_pod,) * 3 + (self._delete_root,)
        rng.choice(edits)()

    # -- objects --------------------------------------------------------------------------------------------

    def _create(self, plural: str, kind: str, name: str, spec: Json) -> None:
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self._server.create(Target(plural, NAMESPACE, None, None), body)
        self._history.note("people", f"create {kind} {name}: {spec}")

    def _cluster_spec(self) -> Json:
        rng = self._rng
        names = rng.sample(GROUPS, rng.choice((1, 1, 2)))
        spec: Json = {
            "workerGroups": [self._group(name) for name in names],
            "autoscaling": {"idleTimeoutSeconds": rng.randint(3, 15), "drainTimeoutSeconds": rng.randint(5, 30)},
        }
        if rng.random() < 0.15:
            spec["autoscaling"]["enabled"] = False
        if rng.random() < 0.4:
            spec["updateStrategy"] = rng.choice(_STRATEGIES)
        return spec

    def _group(self, name: str) -> Json:
        rng = self._rng
        least = rng.choice((0, 0, 1, 2))
        group: Json = {"name": name, "minReplicas": least, "maxReplicas": least + rng.randint(0, 2)}
        if rng.random() < 0.2:
            group["priority"] = rng.randint(0, 2)
        if rng.random() < 0.25:
            group["hostsPerReplica"] = 2
        return group

    def _job_spec(self, clusters: list[str]) -> Json:
        rng = self._rng
        spec: Json = {
            "entrypoint": f"tasks={rng.randint(0, 4)} seconds={rng.randint(1, 12)} exit={rng.choice((0, 0, 0, 3))}",
            "backoffLimit": rng.choice((0, 1, 1, 2)),
        }
        if clusters and rng.random() < 0.7:
            spec["clusterRef"] = {"name": rng.choice(clusters)}
        else:
            spec["clusterSpec"] = self._cluster_spec()
            for group in spec["clusterSpec"]["workerGroups"]:
                group["maxReplicas"] = max(1, group["maxReplicas"])
        if rng.random() < 0.2:
            spec["activeDeadlineSeconds"] = rng.randint(10, 60)
        if rng.random() < 0.2:
            spec["ttlSecondsAfterFinished"] = rng.randint(1, 60)
        return spec

    # -- edits ----------------------------------------------------------------------------------------------

    def _pick(self, plural: str) -> Json | None:
        found = [one for one in self._server.all(plural) if not one["metadata"].get("deletionTimestamp")]
        return self._rng.choice(found) if found else None

    def _edit_cluster(self) -> None:
        cluster = self._pick("computeclusters")
        if cluster is None or cluster["metadata"].get("ownerReferences"):
            return
        edit = self._rng.choice(
            (self._resize, self._resize, self._add_group, self._remove_group, self._rename_group, self._new_image)
            + (self._suspend,) * 2
        )
        self._change(cluster, edit)

    def _edit_job(self) -> None:
        job = self._pick("computejobs")
        if job is None:
            return
        self._change(job, self._suspend)
        cluster = self._server.get("computeclusters", (job["spec"].get("clusterRef") or {}).get("name", ""))
        if cluster is not None and self._rng.random() < 0.5:
            self._change(cluster, self._suspend)

    def _change(self, document: Json, edit: Any) -> None:
        plural = f"{document['kind'].lower()}s"
        key = Key(plural, NAMESPACE, document["metadata"]["name"])
        changed = self._server.change(key, lambda obj: edit(obj["spec"]))
        if changed is not None:
            self._history.note("people", f"{edit.__name__.strip('_')} {key.name}: {changed['spec']}")

    def _resize(self, spec: Json) -> None:
        group = self._rng.choice(spec["workerGroups"])
        group |= {name: value for name, value in self._group(group["name"]).items() if name in _SIZES}

    def _add_group(self, spec: Json) -> None:
        free = [name for name in GROUPS if name not in {group["name"] for group in spec["workerGroups"]}]
        if free:
            spec["workerGroups"].insert(self._rng.randint(0, 1), self._group(self._rng.choice(free)))

    def _remove_group(self, spec: Json) -> None:
        if len(spec["workerGroups"]) > 1:
            spec["workerGroups"].pop(self._rng.randrange(len(spec["workerGroups"])))

    def _rename_group(self, spec: Json) -> None:
        free = [name for name in GROUPS if name not in {group["name"] for group in spec["workerGroups"]}]
        if free:
            self._rng.choice(spec["workerGroups"])["name"] = self._rng.choice(free)

    def _new_image(self, spec: Json) -> None:
        spec["image"] = f"shoal/runtime:{self._rng.randint(2, 4)}"

    def _suspend(self, spec: Json) -> None:
        spec["suspend"] = not spec.get("suspend", False)

    def _delete_pod(self) -> None:
        pod = self._pick("pods")
        if pod is not None:
            self._history.note("people", f"delete pod {pod['metadata']['name']}")
            self._server.delete(Key("pods", NAMESPACE, pod["metadata"]["name"]), {})

    def _delete_root(self) -> None:
        plural = self._rng.choice(("computeclusters", "computejobs"))
        document = self._pick(plural)
        if document is not None and self._rng.random() < 0.5:
            name = document["metadata"]["name"]
            self._history.note("people", f"delete {document['kind']} {name}")
            self._server.delete(Key(plural, NAMESPACE, name), {})
