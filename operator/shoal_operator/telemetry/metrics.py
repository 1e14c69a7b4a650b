"""All metrics of the operator, and the registry that holds them.

Invariant: names, labels and buckets are said here and nowhere else; label values are bounded (kinds, results,
methods, codes): never a name or a uid of an object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._reconciles = Counter(
            "shoal_operator_reconcile",
            "Passes by controller and result.",
            ["controller", "result"],
            registry=registry,
        )
        self._reconcile_seconds = Histogram(
            "shoal_operator_reconcile_time_seconds",
            "Seconds of one pass.",
            ["controller"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "shoal_operator_workqueue_queue_duration_seconds",
            "Seconds for which a key waited for a worker.",
            ["controller"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._adds = Counter(
            "shoal_operator_workqueue_adds", "Keys that were added.", ["controller"], registry=registry
        )
        self._requests = Counter(
            "shoal_operator_rest_client_requests",
            "Requests to the API server; code 0: no answer.",
            ["method", "code"],
            registry=registry,
        )
        self._relists = Counter(
            "shoal_operator_informer_relists", "Whole lists, by why.", ["kind", "reason"], registry=registry
        )
        self._watch_events = Counter(
            "shoal_operator_informer_events", "Events of watches, bookmarks too.", ["kind"], registry=registry
        )
        self.leader = Gauge(
            "shoal_operator_leader_election_master_status", "1 while this process leads.", registry=registry
        )
        self._head_commands = Counter(
            "shoal_operator_head_command_failures",
            "Commands that heads did not take.",
            ["command"],
            registry=registry,
        )

    def observe_reconcile(self, controller: str, result: str, seconds: float, waited_seconds: float) -> None:
        """One pass ended."""
        self._reconciles.labels(controller, result).inc()
        self._reconcile_seconds.labels(controller).observe(seconds)
        self._queue_seconds.labels(controller).observe(waited_seconds)

    def observe_add(self, controller: str) -> None:
        """A key was added to a queue."""
        self._adds.labels(controller).inc()

    def observe_request(self, method: str, code: int) -> None:
        """One request was answered (code 0: it was not)."""
        self._requests.labels(method, str(code)).inc()

    def observe_relist(self, kind: str, reason: str) -> None:
        """A collection was listed."""
        self._relists.labels(kind, reason).inc()

    def observe_watch_event(self, kind: str) -> None:
        """A watch said something."""
        self._watch_events.labels(kind).inc()

    def observe_head_command_failure(self, command: str) -> None:
        """A head refused a command, or did not answer."""
        self._head_commands.labels(command).inc()

    def sample(self, name: str, documentation: str, label: str, read: Callable[[], dict[str, float]]) -> None:
        """A gauge that is read when somebody asks: label value to number."""
        self.registry.register(_Sampled(name, documentation, label, read))

    def render(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Sampled(Collector):
    def __init__(self, name: str, documentation: str, label: str, read: Callable[[], dict[str, float]]) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._read = read

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, number in sorted(self._read().items()):
            family.add_metric([value], number)
        return [family]
