"""The audit log against the table of rights: every difference is said, and none is invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import audit

USER = "system:serviceaccount:shoal-system:shoal"


def event(verb: str, plural: str, group: str = "", *, allowed: bool = True, code: int = 200, **more: Any) -> Any:
    resource, _, subresource = plural.partition("/")
    target = {"resource": resource, "apiGroup": group, "subresource": subresource, "namespace": "ns"}
    return {
        "user": {"username": more.get("user", USER)},
        "verb": verb,
        "requestURI": f"/{plural}",
        "objectRef": {key: value for key, value in target.items() if value},
        "responseStatus": {"code": code},
        "annotations": {"authorization.k8s.io/decision": "allow" if allowed else "forbid"},
    }


def everything() -> list[Any]:
    """Events that use every right of the table that a run uses."""
    return [event(verb, plural, group) for (group, plural, verb), seldom in audit.declared().items() if not seldom]


def compare(folder: Path, events: list[Any], *, complete: bool = True) -> list[str]:
    log = folder / "audit.log"
    log.write_text("".join(json.dumps(each) + "\n" for each in events))
    return audit.compare(log, USER, complete=complete)


def test_a_run_that_uses_every_right_has_no_difference(tmp_path: Path) -> None:
    assert compare(tmp_path, everything()) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (event("list", "secrets"), "used, but not in kube/rbac.py: list secrets"),
        (event("create", "pods/exec"), "used, but not in kube/rbac.py: create pods/exec"),
        (event("patch", "roles", "rbac.authorization.k8s.io", code=201), "create roles in rbac.authorization.k8s.io"),
        (event("get", "nodes", allowed=False, code=403), "refused: get nodes (/nodes)"),
    ],
)
def test_what_the_table_does_not_have_is_said(tmp_path: Path, more: Any, words: str) -> None:
    assert words in "\n".join(compare(tmp_path, [*everything(), more], complete=False))


def test_a_right_that_nothing_uses_is_said_after_a_complete_run(tmp_path: Path) -> None:
    events = [each for each in everything() if (each["verb"], each["objectRef"]["resource"]) != ("delete", "pods")]
    assert compare(tmp_path, events) == ["in kube/rbac.py, but never used: delete pods"]
    assert compare(tmp_path, events, complete=False) == []


def test_a_refusal_by_a_quota_is_a_use_and_others_do_not_count(tmp_path: Path) -> None:
    quota = event("create", "pods", code=403)
    stranger = event("list", "secrets", user="system:admin")
    assert compare(tmp_path, [*everything(), quota, stranger]) == []


def test_an_empty_log_is_no_proof(tmp_path: Path) -> None:
    assert compare(tmp_path, [], complete=False) != []
    assert audit.compare(tmp_path / "none.log", USER, complete=False) != []


def test_only_the_operator_is_written_down() -> None:
    logged = [rule for rule in audit.POLICY["rules"] if rule["level"] != "None"]
    assert logged == [{"level": "Metadata", "users": [USER]}], "bodies hold secrets"
