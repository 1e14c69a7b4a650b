from __future__ import annotations

from pathlib import Path

import pytest

from shoal_operator.local.checks import load_manifest
from shoal_operator.local.errors import LocalError, UsageProblem
from shoal_operator.local.manifest import located, parse_manifest
from shoal_operator.local.operations import localize

JOB = """\
apiVersion: shoal.dev/v1alpha1
kind: ComputeJob
metadata:
  name: census
spec:
  entrypoint: python main.py
  source:
    directory: program
  clusterSpec:
    workerGroups:
    - name: small
      maxReplicas: 4
"""


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1, 2\nb: 3\n", "f.yaml:2:2: not valid YAML"),
        ("a:\n\tb: 1\n", "f.yaml:2:1: not valid YAML: found character '\\t'"),
        ("a: 1\na: 2\n", "f.yaml:2:1: the key 'a' is there twice, first in line 1"),
        ("- a\n- b\n", "f.yaml:1:1: expected an object"),
        ("", "f.yaml: there is no object in it"),
        ("---\n---\n", "f.yaml: there is no object in it"),
        ("kind: X\nmetadata: {name: a}\n", "f.yaml:1:1: the object has no apiVersion"),
        ("apiVersion: v1\nkind: X\n", "f.yaml:1:1: the object has no metadata.name"),
        ("a: !!python/object:os.system {}\n", "f.yaml:1:4: could not determine a constructor"),
        ("a: *nowhere\n", "f.yaml:1:4: not valid YAML: found undefined alias"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(text: str, start: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_manifest(text, "f.yaml")
    assert caught.value.message.startswith(start)


def test_a_tab_gets_a_hint() -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_manifest("a:\n\tb: 1\n", "f.yaml")
    assert "spaces" in caught.value.hint


def test_several_documents_keep_their_lines() -> None:
    first, second = parse_manifest(JOB + "---\n" + JOB, "f.yaml")
    assert first.where("spec.clusterSpec.workerGroups[0].maxReplicas") == (12, 7)
    assert second.where("spec.entrypoint") == (19, 3)
    assert second.where("spec.nothing.below") == (18, 1)
    assert located(first, "f.yaml", [("spec.x", "is wrong"), ("kind", "is odd")]) == [
        "f.yaml:2:1: kind is odd",
        "f.yaml:5:1: spec.x is wrong",
    ]


def load(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    load_manifest(tmp_path / "job.yaml")


def test_a_misspelt_field_is_named_with_its_line_and_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem) as caught:
        load(tmp_path, JOB.replace("entrypoint", "entrypont").replace("maxReplicas", "maxReplica"))
    lines = caught.value.message.splitlines()
    assert any("job.yaml:6:3: spec.entrypont" in line and "`entrypoint`" in line for line in lines)
    assert any("job.yaml:12:7: " in line and "`maxReplicas`" in line for line in lines)


def test_a_kind_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"job\.yaml:2:1: kind must be one of .*`ComputeJob`"):
        load(tmp_path, JOB.replace("ComputeJob", "ComputeJb"))


def test_a_good_manifest_passes_with_objects_of_other_kinds(tmp_path: Path) -> None:
    load(tmp_path, JOB + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n")


def test_source_directories_start_at_the_manifest(tmp_path: Path) -> None:
    (document,) = parse_manifest(JOB, "f.yaml")
    with pytest.raises(LocalError, match=r"f\.yaml:8:5: spec\.source\.directory: .*program is not a directory"):
        localize(document, "f.yaml", tmp_path, "default")
    (tmp_path / "program").mkdir()
    body = localize(document, "f.yaml", tmp_path, "team")
    assert body["spec"]["source"]["directory"] == str(tmp_path / "program")
    assert body["metadata"]["namespace"] == "team"
    assert document.body["spec"]["source"]["directory"] == "program"
