"""Alerts, dashboard and who may read: every metric exists, every expression can be read, every alert is explained."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shoal_operator.telemetry import alerts, catalogue, dashboard

from .conftest import ROOT, Render
from .test_chart import MATRIX, of_kind, one

RUNBOOKS = ROOT / "docs" / "operating.md"
FUNCTIONS = {"absent", "histogram_quantile", "increase", "max", "rate", "sum"}
KEYWORDS = {"and", "by", "or", "unless"}
TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"[^"\\]*")|(?P<span>\[(?:\d+[smhd]|\$__rate_interval)\])|(?P<number>\d+(?:\.\d+)?)"""
    r"""|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<operator>!=|=~|!~|<=|>=|==|[-+*/<>=])|(?P<bracket>[(){},])"""
)
CLOSING = {")": "(", "}": "{"}


def tokens(expression: str) -> list[tuple[str, str]]:
    """Kind and text of every token.

    Raises:
        ValueError: there is something that is no token, or a bracket too many or too few.
    """
    found, place, opened = [], 0, []
    while place < len(expression):
        match = TOKEN.match(expression, place)
        if match is None:
            raise ValueError(f"cannot read {expression[place : place + 20]!r}")
        kind, text, place = str(match.lastgroup), match.group(), match.end()
        if text in {"(", "{"}:
            opened.append(text)
        elif text in CLOSING and (not opened or opened.pop() != CLOSING[text]):
            raise ValueError(f"{text!r} closes nothing")
        if kind != "space":
            found.append((kind, text))
    if opened:
        raise ValueError(f"{opened} are not closed")
    return found


def used(expression: str) -> tuple[set[str], set[str]]:
    """Metrics and labels of an expression."""
    metrics, labels, matched = set(), set(), tokens(expression)
    depth = 0
    for index, (kind, text) in enumerate(matched):
        before = matched[index - 1][1] if index else ""
        if text == "{" or (text == "(" and before == "by"):
            depth += 1
        elif text in {"}", ")"} and depth:
            depth -= 1
        elif kind == "name" and depth:
            labels.add(text)
        elif kind == "name" and text not in FUNCTIONS | KEYWORDS:
            metrics.add(text)
    return metrics, labels


def labels_of(metric: str) -> set[str]:
    base = re.sub(r"_(bucket|count|sum)$", "", metric)
    (spec,) = (each for each in catalogue.CATALOGUE if each.full_name in {metric, base})
    return {*spec.labels, *({"le"} if metric.endswith("_bucket") else ())}


EXPRESSIONS = {alert.name: alert.expression for alert in alerts.ALERTS}
EXPRESSIONS |= {panel.title: panel.expression for panel in dashboard.panels()}
ADDED_BY_SCRAPES = {"namespace", "job", "pod"}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expressions_name_metrics_and_labels_that_exist(expression: str) -> None:
    metrics, labels = used(expression)
    assert metrics
    assert metrics <= catalogue.exported_names()
    assert labels <= set().union(*map(labels_of, metrics)) | ADDED_BY_SCRAPES


@pytest.mark.parametrize("wrong", ["max(a", "max)a(", 'a{b="c}', "rate(a[5])", "a & b", "a{b='c'}"])
def test_the_reader_of_expressions_refuses_what_is_none(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read|closes nothing|not closed"):
        tokens(wrong)


def test_the_reader_tells_metrics_from_labels() -> None:
    assert used('sum by (x, y) (rate(m_total{a="b",c!="d"}[5m])) / 2 > 0.1') == ({"m_total"}, {"x", "y", "a", "c"})


@pytest.mark.parametrize("panel", dashboard.panels(), ids=lambda panel: panel.title)
def test_lines_are_named_by_labels_of_their_expression(panel: dashboard.Panel) -> None:
    _, labels = used(panel.expression)
    assert set(re.findall(r"{{(\w+)}}", panel.legend)) <= labels


def test_every_alert_has_a_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    names = [alert.name for alert in alerts.ALERTS]
    assert [name for name in names if name not in headings] == []
    assert [heading for heading in headings if heading.startswith("Shoal") and heading not in names] == []


def test_alerts_reach_prometheus_with_the_address_of_their_runbook(render: Render) -> None:
    rule = one(render(MATRIX["everything"]), "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (group,) = rule["spec"]["groups"]
    assert [each["alert"] for each in group["rules"]] == [alert.name for alert in alerts.ALERTS]
    for each, alert in zip(group["rules"], alerts.ALERTS, strict=True):
        assert each["expr"] == alert.expression
        assert re.fullmatch(r"\d+m", each["for"])
        assert each["labels"] == {"severity": alert.severity}
        assert each["annotations"]["runbook_url"] == f"https://r.example/o#{alert.name.lower()}"
        assert each["annotations"]["summary"] == alert.summary
    assert of_kind(render(), "PrometheusRule") == []


def test_the_dashboard_is_one(render: Render) -> None:
    found = one(render(MATRIX["everything"]), "ConfigMap")
    assert found["metadata"]["labels"]["grafana"] == "yes"
    board = json.loads(found["data"]["shoal-operator.json"])
    identities = [panel["id"] for panel in board["panels"]]
    assert len(set(identities)) == len(identities)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    shown = [panel["targets"][0]["expr"] for panel in board["panels"] if panel["type"] != "row"]
    assert shown == [panel.expression for panel in dashboard.panels()]


def test_prometheus_finds_the_service_and_shows_the_token(render: Render) -> None:
    objects = render(MATRIX["everything"])
    monitor, service = one(objects, "ServiceMonitor"), one(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["authorization"]["credentials"] == {"name": "metrics-token", "key": "word"}
    (plain,) = one(render(MATRIX["open"]), "ServiceMonitor")["spec"]["endpoints"]
    assert "authorization" not in plain


def test_nobody_reaches_the_operator_by_default(render: Render) -> None:
    objects = render()
    policy, deployment = one(objects, "NetworkPolicy"), one(objects, "Deployment")
    assert policy["spec"]["podSelector"] == deployment["spec"]["selector"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert not policy["spec"]["ingress"]
    assert of_kind(render(MATRIX["open"]), "NetworkPolicy") == []


def test_who_is_named_reaches_the_metrics_and_nothing_else(render: Render) -> None:
    objects = render(MATRIX["everything"])
    (rule,) = one(objects, "NetworkPolicy")["spec"]["ingress"]
    assert rule["from"] == MATRIX["everything"]["networkPolicy"]["metricsFrom"]
    (port,) = rule["ports"]
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert port["port"] in {each["name"] for each in container["ports"]}


def test_several_replicas_are_spread_and_go_one_at_a_time(render: Render) -> None:
    objects = render({"replicas": 2})
    budget, deployment = one(objects, "PodDisruptionBudget"), one(objects, "Deployment")
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert budget["spec"]["maxUnavailable"] == 1
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == deployment["spec"]["selector"]
    single: list[dict[str, Any]] = render()
    assert of_kind(single, "PodDisruptionBudget") == []
    assert "topologySpreadConstraints" not in one(single, "Deployment")["spec"]["template"]["spec"]
