"""What is generated is fresh, and the schema of the values leaves no room for a misspelt one."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from shoal_operator import chartgen

from .conftest import CHART, ROOT

PASSED_ON = {
    "/global",
    "/extraEnv/items/valueFrom",
    "/affinity/nodeAffinity",
    "/affinity/podAffinity",
    "/affinity/podAntiAffinity",
    "/topologySpreadConstraints/items/labelSelector",
    "/networkPolicy/metricsFrom/items/namespaceSelector",
    "/networkPolicy/metricsFrom/items/podSelector",
    "/networkPolicy/metricsFrom/items/ipBlock",
}
"""Parts of Kubernetes' own API that the chart passes on; the API server checks them."""


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return loaded


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def test_generated_files_are_fresh() -> None:
    assert chartgen.outdated_chart_files(CHART) == [], "run 'make crds'"


def test_the_check_finds_what_is_outdated(tmp_path: Path) -> None:
    chartgen.write_chart_files(tmp_path)
    assert chartgen.main(["--check", str(tmp_path)]) == 0
    (tmp_path / chartgen.RULES_FILE).write_text("", encoding="utf-8")
    (tmp_path / chartgen.CRD_FOLDER / "gone.yaml").write_text("", encoding="utf-8")
    assert chartgen.outdated_chart_files(tmp_path) == [chartgen.RULES_FILE, f"{chartgen.CRD_FOLDER}/gone.yaml"]
    assert chartgen.main(["--check", str(tmp_path)]) == 1


def objects(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if node.get("type") == "object":
        yield path, node
        for name, child in node.get("properties", {}).items():
            yield from objects(child, f"{path}/{name}")
    elif node.get("type") == "array":
        yield from objects(node["items"], f"{path}/items")


def test_no_object_of_the_schema_is_open() -> None:
    opened = {path for path, node in objects(schema()) if node.get("additionalProperties", True) is True}
    assert opened == PASSED_ON


def test_the_schema_is_one_and_the_values_fit_it() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(values(), schema(), jsonschema.Draft7Validator)
    assert set(values()) | {"global"} == set(schema()["properties"])


@pytest.mark.parametrize("wrong", [{"imag": {}}, {"image": {"tga": "x"}}, {"replicas": "2"}, {"podLabels": {"a": 1}}])
def test_a_wrong_value_does_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema(), jsonschema.Draft7Validator)


def test_chart_image_and_package_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (version, version)
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert dockerfile.count(f"ARG VERSION={version}\n") == 2
