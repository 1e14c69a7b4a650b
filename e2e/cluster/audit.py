"""What the operator was seen to ask of the API server, held against the table of its rights.

Invariant: a right is there because a run has used it, or because its line of the table says why none does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import product
from shoal_operator.kube import rbac

Right = tuple[str, str, str]
"""Group, resource with subresource, verb: ``("", "pods", "create")``."""

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [product.ACCOUNT]}, {"level": "None"}],
}
"""Everything the operator does, and nothing else. A watch is told when it starts: it may outlive the run."""


def write_policy(folder: Path) -> Path:
    """Write the API server's audit policy."""
    path = folder / "audit-policy.yaml"
    path.write_text(yaml.safe_dump(POLICY))
    return path


def compare(log: Path, user: str, *, complete: bool) -> list[str]:
    """Differences between what ``user`` did and what its roles grant, one a line; none is good.

    Args:
        log: the API server's audit log.
        user: whose events count.
        complete: everything that the operator can do was tried, so that what was not used is not needed.
    """
    events = [event for event in _events(log) if event.get("user", {}).get("username") == user]
    if not events:
        return [f"the audit log {log} has no request of {user}"]
    done, granted = used(events), declared()
    found = [f"refused: {_words(right)} ({where})" for right, where in refused(events)]
    found += [f"used, but not in kube/rbac.py: {_words(right)}" for right in sorted(done - granted.keys())]
    if complete:
        unused = {right for right, seldom in granted.items() if not seldom} - done
        found += [f"in kube/rbac.py, but never used: {_words(right)}" for right in sorted(unused)]
    return found


def used(events: Iterable[dict[str, Any]]) -> set[Right]:
    """The rights that requests needed. An apply that made its object needed ``create`` too."""
    found: set[Right] = set()
    for event in events:
        right = _right(event)
        if right is None or not _is_allowed(event):
            continue
        found.add(right)
        if right[2] == "patch" and event.get("responseStatus", {}).get("code") == 201:
            found.add((*right[:2], "create"))
    return found


def refused(events: Iterable[dict[str, Any]]) -> Iterator[tuple[Right, str]]:
    """Requests that no role allowed, each right once, with the place of the first. Not those that a quota refused."""
    seen: set[Right] = set()
    for event in events:
        right = _right(event)
        if right is not None and not _is_allowed(event) and right not in seen:
            seen.add(right)
            yield right, str(event.get("requestURI", ""))


def declared() -> dict[Right, str]:
    """The table: right to the reason why a run does not use it; empty when it does."""
    return {
        (permission.resource.group, permission.plural, verb): permission.seldom
        for permission in (*rbac.WORK, *rbac.ELECTION)
        for verb in permission.verbs
    }


def _events(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        yield json.loads(line)


def _right(event: dict[str, Any]) -> Right | None:
    target = event.get("objectRef")
    if not target:
        return None  # /version and the like: open to everybody who is somebody
    resource = target["resource"]
    if target.get("subresource"):
        resource = f"{resource}/{target['subresource']}"
    return target.get("apiGroup", ""), resource, event["verb"]


def _is_allowed(event: dict[str, Any]) -> bool:
    decision = event.get("annotations", {}).get("authorization.k8s.io/decision")
    return bool(decision == "allow") if decision else event.get("responseStatus", {}).get("code") != 403


def _words(right: Right) -> str:
    group, resource, verb = right
    return f"{verb} {resource}" + (f" in {group}" if group else "")
