"""The table of all metrics: name, kind, labels and meaning, each said once.

Invariant: what is not in the table is not exported, and label values are bounded (kinds, results, reasons, codes):
never a name or a uid of an object, save for ``PER_OBJECT``, which somebody has to ask for. ``docs/metrics.md`` is this
table; alert rules and the dashboard of the chart name nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

PREFIX: Final = "shoal_operator_"
SHORT_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LONG_SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600)
RUN_SECONDS: Final = (1, 5, 15, 60, 300, 900, 3_600, 4 * 3_600, 12 * 3_600, 24 * 3_600, 7 * 24 * 3_600)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric.

    Attributes:
        name: without the prefix; a counter's ends in ``_total``.
        kind: as Prometheus calls it.
        meaning: one sentence.
        labels: names of its labels.
        buckets: upper bounds in seconds, of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is exported."""
        return PREFIX + self.name


def _counter(name: str, meaning: str, *labels: str) -> MetricSpec:
    return MetricSpec(name, "counter", meaning, labels)


def _gauge(name: str, meaning: str, *labels: str) -> MetricSpec:
    return MetricSpec(name, "gauge", meaning, labels)


def _histogram(name: str, meaning: str, *labels: str, buckets: tuple[float, ...]) -> MetricSpec:
    return MetricSpec(name, "histogram", meaning, labels, buckets)


RECONCILES = _counter("reconcile_total", "Passes by controller and result.", "controller", "result")
RECONCILE_ERRORS = _counter("reconcile_errors_total", "Passes that ended in an error.", "controller")
RECONCILE_SECONDS = _histogram("reconcile_time_seconds", "Seconds of one pass.", "controller", buckets=SHORT_SECONDS)
QUEUE_DEPTH = _gauge("workqueue_depth", "Keys that wait for a worker.", "controller")
QUEUE_ADDS = _counter("workqueue_adds_total", "Keys that were added.", "controller")
QUEUE_RETRIES = _counter("workqueue_retries_total", "Keys that were added again after a back-off.", "controller")
QUEUE_SECONDS = _histogram(
    "workqueue_queue_duration_seconds",
    "Seconds for which a key waited for a worker.",
    "controller",
    buckets=SHORT_SECONDS,
)
QUEUE_UNFINISHED = _gauge(
    "workqueue_unfinished_work_seconds", "Seconds that workers have had their keys, added up.", "controller"
)
QUEUE_LONGEST = _gauge(
    "workqueue_longest_running_processor_seconds",
    "Seconds for which the slowest worker has had its key.",
    "controller",
)
REQUESTS = _counter(
    "rest_client_requests_total", "Requests to the API server; code 0: no answer came.", "method", "code"
)
REQUEST_SECONDS = _histogram(
    "rest_client_request_duration_seconds",
    "Seconds until the API server began to answer, watches aside.",
    "method",
    buckets=SHORT_SECONDS,
)
INFORMER_OBJECTS = _gauge("informer_objects", "Objects in the store.", "kind")
INFORMER_AGE = _gauge(
    "informer_last_event_age_seconds", "Seconds since the server said anything about the kind.", "kind"
)
INFORMER_SYNCED = _gauge("informer_synced", "1 when the kind was listed as a whole since the start.", "kind")
INFORMER_RELISTS = _counter("informer_relists_total", "Whole lists, by why.", "kind", "reason")
INFORMER_EVENTS = _counter("informer_events_total", "Events of watches, bookmarks too.", "kind")
LEADER = _gauge("leader_election_master_status", "1 while this process leads.")
BUILD = _gauge("build_info", "Always 1; the label says which version runs.", "version")
HEAD_LINKS = _gauge("head_links", "Heads by what their link is: connected, connecting or unreachable.", "state")
HEAD_COMMAND_FAILURES = _counter("head_command_failures_total", "Commands that heads did not take.", "command")
POD_CREATIONS = _counter(
    "pod_creations_total", "Pods asked for, by role and what the API server said.", "role", "result"
)
POD_DELETIONS = _counter("pod_deletions_total", "Pods deleted, by why.", "reason")
WORKERS_ADDED = _counter(
    "workers_added_total",
    "Worker pods that were created, by the rule that asked for them: MinReplicas, Replicas, Demand, PlacementGroup, "
    "RequestedResources, MissingHost or PodOutdated.",
    "rule",
)
DRAINS = _counter("drains_total", "Workers whose drain began, by why.", "reason")
DECISION_SECONDS = _histogram(
    "autoscaler_decision_seconds",
    "Seconds of one decision about a cluster: from the observed world to its plan.",
    buckets=SHORT_SECONDS,
)
CLUSTER_READY_SECONDS = _histogram(
    "cluster_ready_seconds",
    "Seconds from the creation of a ComputeCluster until it was Ready for the first time.",
    buckets=LONG_SECONDS,
)
JOB_WAIT_SECONDS = _histogram(
    "job_wait_seconds",
    "Seconds from the creation of a ComputeJob until its program started; suspended ones are left out.",
    buckets=LONG_SECONDS,
)
JOB_RUN_SECONDS = _histogram(
    "job_run_seconds", "Seconds from the start of a job's program to its end.", "outcome", buckets=RUN_SECONDS
)
JOBS_FINISHED = _counter("jobs_finished_total", "Jobs that ended, by outcome and why.", "outcome", "reason")
WORKER_JOIN_SECONDS = _histogram(
    "worker_join_seconds",
    "Seconds from the creation of a worker's pod until its head knew the node.",
    buckets=LONG_SECONDS,
)
CLUSTERS = _gauge(
    "clusters", "ComputeClusters by condition, its status and its reason.", "condition", "status", "reason"
)
CLUSTERS_TOTAL = _gauge("clusters_observed", "ComputeClusters that there are.")
JOBS = _gauge("jobs", "ComputeJobs by condition, its status and its reason.", "condition", "status", "reason")
JOBS_TOTAL = _gauge("jobs_observed", "ComputeJobs that there are.")
NOT_READY_SECONDS = _gauge(
    "clusters_not_ready_longest_seconds",
    "Seconds since the cluster that has been unready for longest was Ready last; suspended ones are left out.",
)
WORKERS = _gauge("workers", "Workers over all clusters: desired, ready, pending or draining.", "state")
WAITING_DEMAND = _gauge("demand_waiting", "Tasks, actors and bundles that wait for a node, as heads last said.")
UNMET_DEMAND = _gauge("clusters_unmet_demand", "Clusters with work that gets no node, by verdict.", "verdict")
PER_OBJECT_CUT = _gauge("per_object_metrics_cut", "Objects without gauges of their own, over the limit.", "kind")

CLUSTER_CONDITION = _gauge(
    "cluster_condition",
    "1 for the condition's status: true, false or unknown.",
    "namespace",
    "name",
    "condition",
    "status",
)
CLUSTER_WORKERS = _gauge("cluster_workers", "Workers of one cluster.", "namespace", "name", "state")
JOB_CONDITION = _gauge(
    "job_condition", "1 for the condition's status: true, false or unknown.", "namespace", "name", "condition", "status"
)

PER_OBJECT: Final = (CLUSTER_CONDITION, CLUSTER_WORKERS, JOB_CONDITION)
"""Only with ``--per-object-metrics``."""
LEADER_ONLY: Final = (
    CLUSTERS,
    CLUSTERS_TOTAL,
    JOBS,
    JOBS_TOTAL,
    NOT_READY_SECONDS,
    WORKERS,
    WAITING_DEMAND,
    UNMET_DEMAND,
    PER_OBJECT_CUT,
    *PER_OBJECT,
)
"""State of the world: said by the leader alone, so that sums over replicas are right."""
CATALOGUE: Final = tuple(value for value in list(globals().values()) if isinstance(value, MetricSpec))
"""All of them, in the order above."""


def exported_names() -> frozenset[str]:
    """Every name that a query may use: those of the table, and what a histogram is made of."""
    return frozenset(name for spec in CATALOGUE for name in _series(spec))


def _series(spec: MetricSpec) -> Iterator[str]:
    if spec.kind == "histogram":
        yield from (f"{spec.full_name}{suffix}" for suffix in ("_bucket", "_count", "_sum"))
    else:
        yield spec.full_name


def render_table() -> str:
    """The table as Markdown, as it stands in ``docs/metrics.md``."""
    lines = ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
    for spec in CATALOGUE:
        marks = " (leader)" if spec in LEADER_ONLY else ""
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        lines.append(f"| `{spec.full_name}` | {spec.kind}{marks} | {labels} | {spec.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_table())
