"""The alert rules of the chart: what is wrong, for how long, and where it is explained.

Invariant: an expression names metrics of the catalogue only; every rule has a section of its name in
``docs/operating.md``. A rule fires on what people should act on, not on what heals itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal

from shoal_operator.domain.reasons import Reason
from shoal_operator.telemetry import catalogue as c
from shoal_operator.telemetry.catalogue import MetricSpec

RUNBOOK: Final = "RUNBOOK"
"""Stands for the address of ``operating.md``; the chart puts a value there."""
NOT_READY_SECONDS: Final = 900
SILENT_SECONDS: Final = 150
QUEUE_SECONDS: Final = 30
REFUSALS: Final = (
    Reason.ADMISSION_DENIED,
    Reason.ADMISSION_UNAVAILABLE,
    Reason.INVALID_TEMPLATE,
    Reason.PRIORITY_CLASS_MISSING,
    Reason.QUOTA_EXCEEDED,
    Reason.SERVICE_ACCOUNT_MISSING,
    Reason.WRITE_REFUSED,
)
"""Why the API server does not take an object, as conditions say it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule.

    Attributes:
        name: CamelCase, with the project's name first.
        expression: PromQL; it gives something while the rule is broken.
        lasting: how long that has to last: ``5m``.
        severity: ``critical`` needs somebody now, ``warning`` today.
        summary: one sentence; may use Prometheus' own templates.
    """

    name: str
    expression: str
    lasting: str
    severity: Literal["critical", "warning"]
    summary: str


def _rate(spec: MetricSpec, span: str, suffix: str = "", by: str = "controller") -> str:
    return f"sum by ({by}) (rate({spec.full_name}{suffix}[{span}]))"


def _failed(span: str) -> str:
    return f'sum(increase({c.JOBS_FINISHED.full_name}{{outcome="Failed"}}[{span}]))'


ALERTS: Final = (
    Alert(
        "ShoalNoLeader",
        f"absent({c.LEADER.full_name}) or max by (namespace, job) ({c.LEADER.full_name}) < 1",
        "2m",
        "critical",
        "No replica of the operator leads: nothing is started, scaled or cleaned up.",
    ),
    Alert(
        "ShoalReconcileErrors",
        f"{_rate(c.RECONCILE_ERRORS, '10m')} / {_rate(c.RECONCILES, '10m')} > 0.1",
        "15m",
        "warning",
        "More than a tenth of the passes of {{ $labels.controller }} end in an error.",
    ),
    Alert(
        "ShoalQueueSlow",
        f"histogram_quantile(0.99, {_rate(c.QUEUE_SECONDS, '10m', '_bucket', 'le, controller')}) > {QUEUE_SECONDS}",
        "10m",
        "warning",
        "Objects wait longer than " + str(QUEUE_SECONDS) + " s for a worker of {{ $labels.controller }}.",
    ),
    Alert(
        "ShoalWatchStale",
        f"max by (kind) ({c.INFORMER_AGE.full_name}) > {SILENT_SECONDS}",
        "1m",
        "critical",
        "The operator hears nothing about {{ $labels.kind }} objects.",
    ),
    Alert(
        "ShoalClusterNotReady",
        f"max({c.NOT_READY_SECONDS.full_name}) > {NOT_READY_SECONDS}",
        "1m",
        "warning",
        "A ComputeCluster has not been Ready for {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "ShoalInfeasibleDemand",
        f'sum({c.UNMET_DEMAND.full_name}{{verdict="{Reason.INFEASIBLE}"}}) > 0',
        "5m",
        "warning",
        "{{ $value }} cluster(s) have work that fits no worker group: it waits for ever.",
    ),
    Alert(
        "ShoalHeadUnreachable",
        f'sum({c.HEAD_LINKS.full_name}{{state="unreachable"}}) > 0',
        "5m",
        "warning",
        "{{ $value }} head(s) do not answer the operator.",
    ),
    Alert(
        "ShoalJobsFail",
        f"{_failed('1h')} > 3 and {_failed('1h')} / sum(increase({c.JOBS_FINISHED.full_name}[1h])) > 0.25",
        "5m",
        "warning",
        "More than a quarter of the jobs that ended in the last hour failed.",
    ),
    Alert(
        "ShoalWritesRefused",
        f'sum({c.CLUSTERS.full_name}{{condition="Ready",reason=~"{"|".join(REFUSALS)}"}}) > 0',
        "10m",
        "warning",
        "The API server refuses what {{ $value }} cluster(s) need: a quota, a policy or a bad template.",
    ),
)


def render_rules() -> str:
    """The groups of a PrometheusRule, as YAML (JSON scalars) with ``RUNBOOK`` where its address belongs."""
    lines = ["groups:", "  - name: shoal-operator", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.lasting}",
            f"        labels: {{severity: {alert.severity}}}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          runbook_url: {json.dumps(f'{RUNBOOK}#{alert.name.lower()}')}",
        ]
    return "\n".join(lines) + "\n"
