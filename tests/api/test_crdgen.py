"""The definitions: structural, bounded, small, and the same as the committed files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoal_operator.api.crdgen import generate_crds, main, render_crds

CRDS = generate_crds()
ROOT = Path(__file__).parents[2]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


def schema_of(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = CRDS[name]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("name", CRDS)
def test_schema_is_structural_and_bounded(name: str) -> None:
    for path, node in nodes(schema_of(name)):
        assert not {"$ref", "anyOf", "allOf", "oneOf", "title", "const", "$defs"} & set(node), path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert node.get("default", "") is not None, path
        if node.get("type") == "string" and not path.startswith((".apiVersion", ".kind")):
            assert "maxLength" in node or "enum" in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert "items" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
        if node.get("x-kubernetes-list-type") == "map":
            for key in node["x-kubernetes-list-map-keys"]:
                assert key in node["items"]["required"], path


@pytest.mark.parametrize("name", CRDS)
def test_every_field_is_described(name: str) -> None:
    for path, node in nodes(schema_of(name)):
        if path.startswith((".spec.", ".status.")) and not path.endswith("[]"):
            assert node.get("description"), path
            assert "\n" not in node["description"].replace("\n\n", ""), path


@pytest.mark.parametrize("name", CRDS)
def test_status_has_no_defaults(name: str) -> None:
    assert not [path for path, node in nodes(schema_of(name)["properties"]["status"]) if "default" in node]


def test_size_is_far_below_what_kubectl_can_apply() -> None:
    for name, text in render_crds().items():
        assert len(text.encode()) < 200_000, name


def test_definition_names_and_columns() -> None:
    assert set(CRDS) == {"computeclusters.shoal.dev", "computejobs.shoal.dev", "computeservices.shoal.dev"}
    names = [crd["spec"]["names"]["shortNames"][0] for crd in CRDS.values()]
    assert names == ["cc", "cj", "cs"]
    for crd in CRDS.values():
        assert crd["spec"]["versions"][0]["subresources"] == {"status": {}}
        assert crd["spec"]["versions"][0]["additionalPrinterColumns"][-1]["name"] == "Age"


def test_pod_templates_are_open_objects() -> None:
    group = schema_of("computeclusters.shoal.dev")["properties"]["spec"]["properties"]["workerGroups"]["items"]
    template = group["properties"]["template"]
    assert (template["type"], template["x-kubernetes-preserve-unknown-fields"]) == ("object", True)
    assert group["x-kubernetes-validations"][0] == {
        "rule": "self.minReplicas <= self.maxReplicas",
        "message": "spec.workerGroups[].minReplicas must be less than or equal to maxReplicas",
    }


def test_committed_files_are_up_to_date() -> None:
    assert main(["--check", str(ROOT / "crds")]) == 0


def test_check_finds_a_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    changed = tmp_path / "shoal.dev_computejobs.yaml"
    changed.write_text(changed.read_text() + "# edited\n")
    assert main(["--check", str(tmp_path)]) == 1
    assert "shoal.dev_computejobs.yaml is out of date" in capsys.readouterr().err
    assert yaml.safe_load(changed.read_text())["kind"] == "CustomResourceDefinition"
