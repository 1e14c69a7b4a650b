"""Answers to "may I?" and "who am I?" (`kubectl auth can-i`, `kubectl auth whoami`).

Invariant: an answer is what `authorization` would decide about the same request by the same user.
"""

from __future__ import annotations

from typing import Any

from shoal_operator.local.apiserver import authorization, errors
from shoal_operator.local.apiserver.authorization import Attributes, User
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.store import Store
from shoal_operator.local.apiserver.values import Document, dig

_READABLE_PATHS = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz"]


def review(store: Store, user: User, resource: Resource, body: Any) -> Document:
    """The reviewed object with its status.

    Raises:
        StatusError: the body is no object.
    """
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: the body must be a JSON object")
    match resource.kind:
        case "SelfSubjectAccessReview":
            status = _access(store, user, dig(body, "spec", default={}) or {})
        case "SelfSubjectRulesReview":
            status = _rules(store, user, str(dig(body, "spec", "namespace", default="") or "default"))
        case _:
            status = {"userInfo": {"username": user.name, "groups": sorted(user.groups, reverse=True)}}
    return body | {"kind": resource.kind, "apiVersion": resource.api_version, "status": status}


def _access(store: Store, user: User, spec: Document) -> Document:
    if user.is_master:
        return {"allowed": True, "reason": "the embedded server's token may do everything"}
    asked = spec.get("resourceAttributes")
    if not isinstance(asked, dict):
        verb = dig(spec, "nonResourceAttributes", "verb", default="")
        return {"allowed": verb in ("get", "head")}
    wanted = Attributes(
        verb=str(asked.get("verb", "")),
        group=str(asked.get("group", "")),
        plural=str(asked.get("resource", "")),
        subresource=str(asked.get("subresource", "")),
        namespace=str(asked.get("namespace", "")) or None,
        name=str(asked.get("name", "")),
    )
    return {"allowed": authorization.allows(store, user, wanted)}


def _rules(store: Store, user: User, namespace: str) -> Document:
    if user.is_master:
        every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
        return {"incomplete": False, "resourceRules": [every], "nonResourceRules": [paths]}
    readable = {"verbs": ["get"], "nonResourceURLs": _READABLE_PATHS}
    found = [dict(rule) for rule in authorization.rules_of(store, user, namespace)]
    return {"incomplete": False, "resourceRules": found, "nonResourceRules": [readable]}
