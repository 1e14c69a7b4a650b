"""What the operator counts about its own work, and the registry that holds all metrics.

Invariant: names, labels and buckets come from ``telemetry.catalogue``; label values are bounded: a reason that the
operator does not know is ``Other``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shoal_operator import __version__
from shoal_operator.autoscaler.reasons import Rule
from shoal_operator.domain.reasons import Reason
from shoal_operator.telemetry import catalogue
from shoal_operator.telemetry.catalogue import MetricSpec

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "Other"
_REASONS: Final = frozenset(Reason)
_ERRORS: Final = frozenset({"unavailable", "error"})
RULES: Final = frozenset({*Rule, "MissingHost", Reason.OUTDATED_POD})
"""What asks for workers."""
_RETRIES: Final = frozenset({"requeue", "conflict", "unavailable", "error"})


def bounded_reason(reason: object) -> str:
    """``reason`` when it is one of ours, else ``Other``."""
    return str(reason) if reason in _REASONS else OTHER


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series each, which nobody reads
        self.registry = CollectorRegistry()
        self._reconciles = self._counter(catalogue.RECONCILES)
        self._reconcile_errors = self._counter(catalogue.RECONCILE_ERRORS)
        self._reconcile_seconds = self._histogram(catalogue.RECONCILE_SECONDS)
        self._queue_seconds = self._histogram(catalogue.QUEUE_SECONDS)
        self._retries = self._counter(catalogue.QUEUE_RETRIES)
        self._adds = self._counter(catalogue.QUEUE_ADDS)
        self._requests = self._counter(catalogue.REQUESTS)
        self._request_seconds = self._histogram(catalogue.REQUEST_SECONDS)
        self._relists = self._counter(catalogue.INFORMER_RELISTS)
        self._watch_events = self._counter(catalogue.INFORMER_EVENTS)
        self._head_commands = self._counter(catalogue.HEAD_COMMAND_FAILURES)
        self._pod_creations = self._counter(catalogue.POD_CREATIONS)
        self._pod_deletions = self._counter(catalogue.POD_DELETIONS)
        self._workers_added = self._counter(catalogue.WORKERS_ADDED)
        self._drains = self._counter(catalogue.DRAINS)
        self._decision_seconds = self._histogram(catalogue.DECISION_SECONDS)
        self._cluster_ready = self._histogram(catalogue.CLUSTER_READY_SECONDS)
        self._job_wait = self._histogram(catalogue.JOB_WAIT_SECONDS)
        self._job_run = self._histogram(catalogue.JOB_RUN_SECONDS)
        self._jobs_finished = self._counter(catalogue.JOBS_FINISHED)
        self._worker_join = self._histogram(catalogue.WORKER_JOIN_SECONDS)
        self.leader = Gauge(catalogue.LEADER.full_name, catalogue.LEADER.meaning, registry=self.registry)
        self.sample(catalogue.BUILD, lambda: {__version__: 1.0})

    def observe_reconcile(self, controller: str, result: str, seconds: float, waited_seconds: float) -> None:
        """One pass ended."""
        self._reconciles.labels(controller, result).inc()
        self._reconcile_seconds.labels(controller).observe(seconds)
        self._queue_seconds.labels(controller).observe(waited_seconds)
        if result in _ERRORS:
            self._reconcile_errors.labels(controller).inc()
        if result in _RETRIES:
            self._retries.labels(controller).inc()

    def observe_add(self, controller: str) -> None:
        """A key was added to a queue."""
        self._adds.labels(controller).inc()

    def observe_request(self, method: str, code: int) -> None:
        """One request was answered (code 0: it was not)."""
        self._requests.labels(method, str(code)).inc()

    def observe_request_seconds(self, method: str, seconds: float) -> None:
        """One request was answered after so long."""
        self._request_seconds.labels(method).observe(seconds)

    def observe_relist(self, kind: str, reason: str) -> None:
        """A collection was listed."""
        self._relists.labels(kind, reason).inc()

    def observe_watch_event(self, kind: str) -> None:
        """A watch said something."""
        self._watch_events.labels(kind).inc()

    def observe_head_command_failure(self, command: str) -> None:
        """A head refused a command, or did not answer."""
        self._head_commands.labels(command).inc()

    def observe_pod_creation(self, role: str, result: str) -> None:
        """A pod was asked for; ``result``: created, exists, refused or failed."""
        self._pod_creations.labels(role, result).inc()

    def observe_pod_deletion(self, reason: str) -> None:
        """A pod was deleted."""
        self._pod_deletions.labels(bounded_reason(reason)).inc()

    def observe_worker_added(self, rule: str) -> None:
        """A worker's pod was created, because of ``rule``."""
        self._workers_added.labels(rule if rule in RULES else OTHER).inc()

    def observe_drain(self, reason: str) -> None:
        """A worker's drain began."""
        self._drains.labels(bounded_reason(reason)).inc()

    def observe_decision(self, seconds: float) -> None:
        """The plan of a cluster was made."""
        self._decision_seconds.observe(seconds)

    def observe_cluster_ready(self, seconds: float) -> None:
        """A cluster became Ready for the first time, so long after its creation."""
        self._cluster_ready.observe(seconds)

    def observe_job_start(self, waited_seconds: float) -> None:
        """A job's program started, so long after the job's creation."""
        self._job_wait.observe(waited_seconds)

    def observe_job_end(self, outcome: str, reason: object, run_seconds: float | None) -> None:
        """A job became Complete or Failed; None: its program never started."""
        self._jobs_finished.labels(outcome, bounded_reason(reason)).inc()
        if run_seconds is not None:
            self._job_run.labels(outcome).observe(run_seconds)

    def observe_worker_join(self, seconds: float) -> None:
        """A worker joined its head, so long after its pod's creation."""
        self._worker_join.observe(seconds)

    def sample(self, spec: MetricSpec, read: Callable[[], Mapping[str, float]]) -> None:
        """A gauge with one label that is read when somebody asks: label value to number."""
        self.registry.register(_Sampled(spec, read))

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def _counter(self, spec: MetricSpec) -> Counter:
        return Counter(spec.full_name, spec.meaning, spec.labels, registry=self.registry)

    def _histogram(self, spec: MetricSpec) -> Histogram:
        return Histogram(spec.full_name, spec.meaning, spec.labels, buckets=spec.buckets, registry=self.registry)


class _Sampled(Collector):
    def __init__(self, spec: MetricSpec, read: Callable[[], Mapping[str, float]]) -> None:
        self._spec = spec
        self._read = read

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily(self._spec.full_name, self._spec.meaning, labels=self._spec.labels)
        for value, number in sorted(self._read().items()):
            family.add_metric([value], number)
        return [family]
