"""A small API server in memory: the rules that a controller can trip over, and nothing else.

It keeps objects in the embedded server's own store (versions, history, 410 when history is lost) and follows the
real rules for names, uids, preconditions, generations, grace periods, finalizers, owners, merge patches and
server-side apply (by what each manager applied last; lists are atomic). It does not validate: the scenarios on the
embedded and on real servers do that.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from shoal_operator.local.apiserver.store import Change, Key, Store

Json = dict[str, Any]
_WITH_GENERATION = {"computeclusters", "computejobs", "networkpolicies", "poddisruptionbudgets"}
_KINDS = {
    "pods": "Pod",
    "services": "Service",
    "secrets": "Secret",
    "events": "Event",
    "leases": "Lease",
    "configmaps": "ConfigMap",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "networkpolicies": "NetworkPolicy",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "computeclusters": "ComputeCluster",
    "computejobs": "ComputeJob",
    "computeservices": "ComputeService",
}


class Refusal(Exception):
    """The answer is a Status with this code."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason

    def document(self) -> Json:
        return {"kind": "Status", "status": "Failure", "code": self.code, "reason": self.reason, "message": str(self)}


class Target(NamedTuple):
    """What a path is about."""

    collection: str
    namespace: str | None
    name: str | None
    subresource: str | None


def parse_path(path: str) -> Target:
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = None
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    rest += [""] * (3 - len(rest))
    return Target(rest[0], namespace, rest[1] or None, rest[2] or None)


class ModelServer:
    """Requests in, documents out, at once."""

    def __init__(self, now: Callable[[], datetime], *, history_limit: int) -> None:
        self.store = Store(history_limit=history_limit)
        self._now = now
        self._uids = itertools.count(1)
        self._addresses = itertools.count(1)
        self._applied: dict[tuple[str, str], Json] = {}
        self._children: dict[str, dict[Key, None]] = {}
        self._alive: set[str] = set()
        self.store.subscribe(self._follow)

    # -- reading --------------------------------------------------------------------------------------------

    def get(self, collection: str, name: str, namespace: str = "default") -> Json | None:
        return self.store.get(Key(collection, namespace, name))

    def all(self, collection: str) -> list[Json]:
        return [document for _, document in self.store.scan(collection)]

    def page(self, target: Target, query: Mapping[str, str]) -> Json:
        items = [document for _, document in self.store.scan(target.collection, target.namespace)]
        chosen = [document for document in items if selected(document, query)]
        return {
            "kind": "List",
            "metadata": {"resourceVersion": str(self.store.resource_version)},
            "items": [{k: v for k, v in document.items() if k not in ("kind", "apiVersion")} for document in chosen],
        }

    # -- writing --------------------------------------------------------------------------------------------

    def handle(self, method: str, path: str, query: Mapping[str, str], body: Json | None, media_type: str) -> Any:
        """Status code and document of one request.

        Raises:
            Refusal: with the Status to answer.
        """
        if path == "/version":
            return 200, {"gitVersion": "v1.33.0", "major": "1", "minor": "33"}
        target = parse_path(path)
        if target.name is None:
            if method == "GET":
                return 200, self.page(target, query)
            assert body is not None
            return 201, self.create(target, body, dry_run=query.get("dryRun") == "All")
        key = Key(target.collection, target.namespace or "", target.name)
        if method == "PATCH" and media_type == "application/apply-patch+yaml":
            assert body is not None
            return 200, self.apply(key, body, query["fieldManager"], target.subresource)
        if method == "DELETE":
            return 200, self.delete(key, body or {})
        held = self._require(key)
        if method == "GET":
            return 200, held
        assert body is not None
        _check_identity(key, held, body)
        new = merge_patch(held, body) if method == "PATCH" else body
        return 200, self._commit(key, held, new, target.subresource)

    def create(self, target: Target, body: Json, *, dry_run: bool = False) -> Json:
        key = Key(target.collection, target.namespace or "", body["metadata"]["name"])
        if self.store.get(key) is not None:
            raise Refusal(409, "AlreadyExists", f'{key.collection} "{key.name}" already exists')
        document = {**body, "metadata": dict(body["metadata"])}
        if "spec" in body:
            document["spec"] = dict(body["spec"])
        document.setdefault("kind", _KINDS[key.collection])
        meta = document["metadata"]
        meta |= {"namespace": key.namespace, "uid": f"uid-{next(self._uids):04d}", "creationTimestamp": self.stamp()}
        if key.collection in _WITH_GENERATION:
            meta["generation"] = 1
        if key.collection == "services" and document["spec"].get("clusterIP") is None:
            document["spec"]["clusterIP"] = f"10.0.0.{next(self._addresses)}"
        if key.collection == "pods":
            document["status"] = {"phase": "Pending"}
        if dry_run:
            return document
        return self.store.put(key, document)

    def apply(self, key: Key, body: Json, manager: str, subresource: str | None) -> Json:
        held = self.store.get(key)
        uid = body["metadata"].get("uid")
        if held is None:
            if subresource is not None:
                raise Refusal(404, "NotFound", f'{key.collection} "{key.name}" not found')
            if uid:
                raise Refusal(409, "Conflict", f"uid mismatch: the provided object specified uid {uid}")
            made = self.create(Target(key.collection, key.namespace, None, None), body)
            self._applied[made["metadata"]["uid"], manager] = _appliable(body)
            return made
        _check_identity(key, held, body)
        wanted = {"status": body.get("status")} if subresource == "status" else _appliable(body)
        identity = (held["metadata"]["uid"], manager)
        new = _three_way(held, self._applied.get(identity, {}), wanted)
        self._applied[identity] = wanted
        return self._commit(key, held, new, subresource)

    def delete(self, key: Key, options: Json) -> Json:
        held = self._require(key)
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != held["metadata"]["uid"]:
            raise Refusal(409, "Conflict", f"the UID in the precondition ({wanted}) does not match")
        grace = self._grace_seconds(key, held, options)
        finalizers = held["metadata"].get("finalizers")
        if not grace and not finalizers:
            return self.store.remove(key) or held
        if held["metadata"].get("deletionTimestamp"):
            return held
        new = {**held, "metadata": dict(held["metadata"])}
        end = (self._now() + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
        new["metadata"] |= {"deletionTimestamp": end, "deletionGracePeriodSeconds": grace}
        if key.collection in _WITH_GENERATION:
            new["metadata"]["generation"] += 1
        return self.store.put(key, new)

    def remove(self, key: Key) -> None:
        """The kubelet says that the pod has ended: it goes for good."""
        self.store.remove(key)

    def change(self, key: Key, edit: Callable[[Json], None]) -> Json | None:
        """What a person does to an object; None when it is gone."""
        held = self.store.get(key)
        if held is None:
            return None
        new = {**held, "spec": copy.deepcopy(held.get("spec"))}
        edit(new)
        return self._commit(key, held, new, None)

    def tell_status(self, key: Key, status: Json) -> None:
        """What a kubelet or a scheduler says of a pod that is there."""
        held = self._require(key)
        self._commit(key, held, {**held, "status": status}, "status")

    def bind(self, key: Key, node: str) -> None:
        """What a scheduler does to a pod that is there."""
        held = self._require(key)
        self._commit(key, held, {**held, "spec": {**held["spec"], "nodeName": node}}, None)

    def stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _require(self, key: Key) -> Json:
        held = self.store.get(key)
        if held is None:
            raise Refusal(404, "NotFound", f'{key.collection} "{key.name}" not found')
        return held

    def _commit(self, key: Key, held: Json, new: Json, subresource: str | None) -> Json:
        if subresource == "status":
            new = {**held, "status": new.get("status")}
        elif key.collection in _WITH_GENERATION:
            new = {**new, "status": held["status"]} if "status" in held else _without(new, "status")
        kept = {name: held["metadata"][name] for name in ("uid", "creationTimestamp", "resourceVersion", "generation")
                if name in held["metadata"]}  # fmt: skip
        new["metadata"] = {**new["metadata"], **kept}
        if not new["metadata"].get("finalizers"):
            new["metadata"].pop("finalizers", None)
        if new == held:
            return held
        new["metadata"] = dict(new["metadata"])
        if key.collection in _WITH_GENERATION and new.get("spec") != held.get("spec"):
            new["metadata"]["generation"] += 1
        if _may_go(new["metadata"]):
            self.store.remove(key)
            return new
        return self.store.put(key, new)

    def _grace_seconds(self, key: Key, held: Json, options: Json) -> int:
        if key.collection != "pods" or not held["spec"].get("nodeName"):
            return 0
        if (held.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        wanted = options.get("gracePeriodSeconds")
        return int(held["spec"].get("terminationGracePeriodSeconds", 30) if wanted is None else wanted)

    # -- owners ---------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Delete, in the background's way, what has lost its owner. Called some time after each change."""
        for uid in [uid for uid in self._children if uid not in self._alive]:
            for key in list(self._children[uid]):
                held = self.store.get(key)
                if held is not None and not held["metadata"].get("deletionTimestamp"):
                    self.delete(key, {})

    def orphans(self) -> list[Key]:
        """Objects whose owner is gone."""
        return [key for uid, keys in self._children.items() if uid not in self._alive for key in keys]

    def _follow(self, change: Change) -> None:
        for owner in _owners(change.previous):
            self._children[owner].pop(change.key, None)
            if not self._children[owner]:
                del self._children[owner]
        if change.type == "DELETED":
            self._alive.discard(change.document["metadata"]["uid"])
            return
        self._alive.add(change.document["metadata"]["uid"])
        for owner in _owners(change.document):
            self._children.setdefault(owner, {})[change.key] = None


def _may_go(metadata: Json) -> bool:
    """Whether nothing holds a deleted object any more."""
    held = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    return bool(metadata.get("deletionTimestamp")) and not held


def _owners(document: Json | None) -> list[str]:
    owners = [] if document is None else document["metadata"].get("ownerReferences") or []
    return [owner["uid"] for owner in owners]


def selected(document: Json, query: Mapping[str, str]) -> bool:
    """Whether label and field selector match (existence and equality)."""
    labels = document["metadata"].get("labels") or {}
    for part in _parts(query.get("labelSelector")):
        name, equals, value = part.partition("=")
        if name not in labels or (equals and labels[name] != value.lstrip("=")):
            return False
    for part in _parts(query.get("fieldSelector")):
        path, _, value = part.partition("=")
        found: Any = document
        for step in path.removesuffix("!").split("."):
            found = found.get(step) if isinstance(found, dict) else None
        if (str(found or "") == value.lstrip("=")) == path.endswith("!"):
            return False
    return True


def merge_patch(held: Json, patch: Json) -> Json:
    """RFC 7386."""
    result = dict(held)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merge_patch(result[name] if isinstance(result.get(name), dict) else {}, value)
        else:
            result[name] = value
    return result


def encode(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _parts(selector: str | None) -> Iterable[str]:
    return [part for part in (selector or "").split(",") if part]


def _check_identity(key: Key, held: Json, body: Json) -> None:
    for name in ("uid", "resourceVersion"):
        wanted = (body.get("metadata") or {}).get(name)
        if wanted and wanted != held["metadata"][name]:
            raise Refusal(409, "Conflict", f'{key.collection} "{key.name}": the {name} is another one by now')


def _appliable(body: Json) -> Json:
    metadata = {name: body["metadata"][name] for name in ("labels", "annotations", "ownerReferences")
                if name in body["metadata"]}  # fmt: skip
    return {**_without(body, "status", "apiVersion", "kind"), "metadata": metadata}


def _without(document: Json, *names: str) -> Json:
    return {name: value for name, value in document.items() if name not in names}


def _three_way(held: Json, before: Json, wanted: Json) -> Json:
    result = dict(held)
    for name in before:
        if name not in wanted:
            result.pop(name, None)
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            old = before.get(name)
            result[name] = _three_way(result[name], old if isinstance(old, dict) else {}, value)
        else:
            result[name] = value
    return result
