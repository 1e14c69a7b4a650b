"""The dashboard of the chart, as Grafana reads it.

Invariant: expressions name metrics of the catalogue only; panels say the question that they answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from shoal_operator.telemetry import catalogue as c
from shoal_operator.telemetry.catalogue import MetricSpec

UID: Final = "shoal-operator"
COLUMNS: Final = 3
WIDTH: Final = 24 // COLUMNS
HEIGHT: Final = 8
SPAN: Final = "$__rate_interval"
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph.

    Attributes:
        title: the question.
        expression: PromQL.
        legend: the name of a line, from its labels.
        unit: as Grafana names it: ``s``, ``ops``, ``short``.
    """

    title: str
    expression: str
    legend: str
    unit: str = "short"


def _now(spec: MetricSpec, by: str) -> str:
    return f"max by ({by}) ({spec.full_name})"


def _per_second(spec: MetricSpec, by: str) -> str:
    return f"sum by ({by}) (rate({spec.full_name}[{SPAN}]))"


def _quantile(quantile: float, spec: MetricSpec, *by: str) -> str:
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({spec.full_name}_bucket[{SPAN}])))"


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Clusters and workers",
        (
            Panel(
                "How many clusters are Ready?",
                f'sum by (status) ({c.CLUSTERS.full_name}{{condition="Ready"}})',
                "{{status}}",
            ),
            Panel(
                "Why are clusters not Ready?",
                f'sum by (reason) ({c.CLUSTERS.full_name}{{condition="Ready",status!="True"}})',
                "{{reason}}",
            ),
            Panel("How many workers are there?", _now(c.WORKERS, "state"), "{{state}}"),
            Panel("How long until a cluster is Ready? (p90)", _quantile(0.9, c.CLUSTER_READY_SECONDS), "p90", "s"),
            Panel("How long until a worker joins? (p90)", _quantile(0.9, c.WORKER_JOIN_SECONDS), "p90", "s"),
            Panel("Why do pods go?", _per_second(c.POD_DELETIONS, "reason"), "{{reason}}", "ops"),
        ),
    ),
    (
        "Jobs and demand",
        (
            Panel("How do jobs end?", _per_second(c.JOBS_FINISHED, "outcome, reason"), "{{outcome}} {{reason}}", "ops"),
            Panel("How long do jobs wait? (p90)", _quantile(0.9, c.JOB_WAIT_SECONDS), "p90", "s"),
            Panel("How long do jobs run? (p50)", _quantile(0.5, c.JOB_RUN_SECONDS, "outcome"), "{{outcome}}", "s"),
            Panel("How much work waits?", f"max({c.WAITING_DEMAND.full_name})", "waiting"),
            Panel("Which work gets no node?", _now(c.UNMET_DEMAND, "verdict"), "{{verdict}}"),
            Panel("Do heads answer?", f"sum by (state) ({c.HEAD_LINKS.full_name})", "{{state}}"),
        ),
    ),
    (
        "The operator itself",
        (
            Panel("Who leads?", f"max by (pod) ({c.LEADER.full_name})", "{{pod}}"),
            Panel(
                "How do passes end?",
                _per_second(c.RECONCILES, "controller, result"),
                "{{controller}} {{result}}",
                "ops",
            ),
            Panel(
                "How long does a pass take? (p99)",
                _quantile(0.99, c.RECONCILE_SECONDS, "controller"),
                "{{controller}}",
                "s",
            ),
            Panel(
                "How long do keys wait? (p99)", _quantile(0.99, c.QUEUE_SECONDS, "controller"), "{{controller}}", "s"
            ),
            Panel("How many keys wait?", _now(c.QUEUE_DEPTH, "controller"), "{{controller}}"),
            Panel("What does the slowest worker do?", _now(c.QUEUE_LONGEST, "controller"), "{{controller}}", "s"),
            Panel(
                "What does the API server answer?",
                _per_second(c.REQUESTS, "method, code"),
                "{{method}} {{code}}",
                "ops",
            ),
            Panel("Are watches fresh?", _now(c.INFORMER_AGE, "kind"), "{{kind}}", "s"),
            Panel("How long does a decision take? (p99)", _quantile(0.99, c.DECISION_SECONDS), "p99", "s"),
        ),
    ),
)


def panels() -> list[Panel]:
    """All panels, from the top."""
    return [panel for _, row in ROWS for panel in row]


def render_dashboard() -> str:
    """The dashboard as JSON, indented."""
    dashboard = {
        "uid": UID,
        "title": "Shoal operator",
        "tags": ["shoal"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": _laid_out(),
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _laid_out() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        found.append({"id": len(found) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        for index, panel in enumerate(row):
            place = {"h": HEIGHT, "w": WIDTH, "x": index % COLUMNS * WIDTH, "y": top + 1 + index // COLUMNS * HEIGHT}
            found.append(_panel(len(found) + 1, panel, place))
        top += 1 + (len(row) + COLUMNS - 1) // COLUMNS * HEIGHT
    return found


def _panel(identity: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    target = {"refId": "A", "expr": panel.expression, "legendFormat": panel.legend, "datasource": _SOURCE}
    return {
        "id": identity,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [target],
    }
