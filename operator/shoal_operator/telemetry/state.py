"""Metrics about what there is: clusters, jobs, workers and demand, counted when somebody asks.

Invariant: read from the stores and from the last words of heads, and kept nowhere; only the leader counts, so that a
sum over replicas is right. By default no number has the name of an object; with names, at most ``OBJECTS_MAX`` objects
of a kind have numbers of their own, and how many have none is a number as well.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shoal_operator.domain.reasons import ConditionType, Reason
from shoal_operator.telemetry import catalogue
from shoal_operator.telemetry.catalogue import MetricSpec
from shoal_operator.telemetry.metrics import bounded_reason

logger = logging.getLogger(__name__)

Json = dict[str, Any]

OBJECTS_MAX: Final = 1_000
WORKER_STATES: Final = ("desired", "ready", "pending", "draining")
VERDICTS: Final = (Reason.INFEASIBLE, Reason.LIMIT_REACHED, Reason.WORKERS_BLOCKED)
_CONDITIONS: Final = frozenset(ConditionType)


@dataclass(frozen=True)
class StateSources:
    """Where the numbers come from.

    Attributes:
        clusters: all ComputeClusters, as the store has them.
        jobs: all ComputeJobs.
        waiting: units of work that wait on all heads.
        is_leader: whether this process counts.
        now: the wall clock.
    """

    clusters: Callable[[], Iterable[Json]]
    jobs: Callable[[], Iterable[Json]]
    waiting: Callable[[], int]
    is_leader: Callable[[], bool]
    now: Callable[[], datetime]


class StateCollector(Collector):
    """Counts when the registry is read.

    Args:
        sources: what to count.
        per_object: gauges for each object as well.
    """

    def __init__(self, sources: StateSources, *, per_object: bool = False) -> None:
        self._sources = sources
        self._per_object = per_object
        self._said = False

    def collect(self) -> list[Metric]:
        if not self._sources.is_leader():
            return []
        clusters, jobs = list(self._sources.clusters()), list(self._sources.jobs())
        families = [
            _family(catalogue.CLUSTERS_TOTAL, {(): len(clusters)}),
            _family(catalogue.JOBS_TOTAL, {(): len(jobs)}),
            _family(catalogue.CLUSTERS, _by_condition(clusters)),
            _family(catalogue.JOBS, _by_condition(jobs)),
            _family(catalogue.WORKERS, _workers(clusters)),
            _family(catalogue.UNMET_DEMAND, _unmet(clusters)),
            _family(catalogue.WAITING_DEMAND, {(): self._sources.waiting()}),
            _family(catalogue.NOT_READY_SECONDS, {(): _longest_not_ready(clusters, self._sources.now())}),
        ]
        return [*families, *self._of_objects(clusters, jobs)] if self._per_object else families

    def _of_objects(self, clusters: list[Json], jobs: list[Json]) -> Iterator[Metric]:
        kinds = {"ComputeCluster": clusters, "ComputeJob": jobs}
        cut: dict[tuple[str, ...], float] = {(kind,): max(0, len(each) - OBJECTS_MAX) for kind, each in kinds.items()}
        if any(cut.values()) and not self._said:
            self._said = True
            logger.warning("per-object metrics: only the first %d objects of a kind by name have them", OBJECTS_MAX)
        yield _family(catalogue.PER_OBJECT_CUT, cut)
        clusters, jobs = _first(clusters), _first(jobs)
        yield _family(catalogue.CLUSTER_CONDITION, dict(_conditions_of(clusters)))
        yield _family(catalogue.JOB_CONDITION, dict(_conditions_of(jobs)))
        counts = {(*_name(each), *state): count for each in clusters for state, count in _workers([each]).items()}
        yield _family(catalogue.CLUSTER_WORKERS, counts)


def _family(spec: MetricSpec, samples: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(spec.full_name, spec.meaning, labels=spec.labels)
    for labels, number in sorted(samples.items()):
        family.add_metric(labels, number)
    return family


def conditions_of(document: Json) -> Iterator[Json]:
    """The conditions of an object of the server, of types that we know."""
    for condition in (document.get("status") or {}).get("conditions") or ():
        if condition.get("type") in _CONDITIONS:
            yield condition


def condition_of(document: Json | None, kind: ConditionType) -> Json | None:
    """One condition of an object; None when it has none of that type."""
    return next((each for each in conditions_of(document or {}) if each["type"] == kind), None)


def seconds_since(stamp: str | None, now: datetime) -> float | None:
    """Seconds since a time stamp of the API; None when it is none. Never negative: clocks differ."""
    try:
        return max(0.0, (now - datetime.fromisoformat(stamp or "")).total_seconds())
    except (TypeError, ValueError):
        return None


def _by_condition(documents: list[Json]) -> Mapping[tuple[str, ...], float]:
    return Counter(
        (each["type"], str(each.get("status")), bounded_reason(each.get("reason")))
        for document in documents
        for each in conditions_of(document)
    )


def _conditions_of(documents: list[Json]) -> Iterator[tuple[tuple[str, ...], float]]:
    for document in documents:
        for each in conditions_of(document):
            yield (*_name(document), each["type"], str(each.get("status")).lower()), 1.0


def _workers(clusters: list[Json]) -> Mapping[tuple[str, ...], float]:
    counts = [(cluster.get("status") or {}).get("workers") or {} for cluster in clusters]
    return {(state,): sum(int(count.get(state) or 0) for count in counts) for state in WORKER_STATES}


def _unmet(clusters: list[Json]) -> Mapping[tuple[str, ...], float]:
    facts = [condition_of(cluster, ConditionType.DEMAND_SATISFIED) for cluster in clusters]
    reasons = Counter(str(fact.get("reason")) for fact in facts if fact is not None and fact.get("status") == "False")
    return {(str(verdict),): reasons[str(verdict)] for verdict in VERDICTS}


def _longest_not_ready(clusters: list[Json], now: datetime) -> float:
    ages = [0.0]
    for cluster in clusters:
        ready = condition_of(cluster, ConditionType.READY)
        is_asked_for = not (cluster.get("spec") or {}).get("suspend") and not is_deleting(cluster)
        if ready is not None and ready.get("status") != "True" and is_asked_for:
            ages.append(seconds_since(ready.get("lastTransitionTime"), now) or 0.0)
    return max(ages)


def is_deleting(document: Json) -> bool:
    """Whether somebody deleted the object already."""
    return bool(document["metadata"].get("deletionTimestamp"))


def _first(documents: list[Json]) -> list[Json]:
    return sorted(documents, key=_name)[:OBJECTS_MAX]


def _name(document: Json) -> tuple[str, str]:
    metadata = document["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])
