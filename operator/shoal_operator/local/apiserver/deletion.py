"""Delete: preconditions, grace periods, finalizers and propagation policies.

Invariant: an object leaves the store only when nothing holds it any more: no finalizer, no grace period that
still runs. Until then it stays readable with a deletionTimestamp.
"""

from __future__ import annotations

from datetime import timedelta

from shoal_operator.local.apiserver import errors, versions, writes
from shoal_operator.local.apiserver.context import PROPAGATIONS, Context, DeleteOptions
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.pods import DEFAULT_GRACE_PERIOD_SECONDS
from shoal_operator.local.apiserver.values import Document, clone, dig, timestamp

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_POLICIES = {"Background": None, "Foreground": FOREGROUND, "Orphan": ORPHAN}


def delete(
    context: Context, resource: Resource, namespace: str | None, name: str, options: DeleteOptions
) -> tuple[Document, bool]:
    """DELETE. Returns the object as it now stands (or last stood) and whether it is gone."""
    key = context.key(resource, namespace, name)
    old = context.store.get(key)
    if old is None:
        raise errors.not_found(resource.group_resource, name)
    _check_preconditions(resource, old, options)
    if options.propagation is not None and options.propagation not in _POLICIES:
        problem = errors.not_supported("propagationPolicy", options.propagation, (*PROPAGATIONS, "nil"))
        raise errors.invalid("DeleteOptions.meta.k8s.io", "", [problem])
    grace_seconds = _grace_period(resource, old, options)
    finalizers = _finalizers(old, options)
    new = _marked(context, resource, old, finalizers, grace_seconds)
    gone = not finalizers and not grace_seconds and resource.collection != "namespaces"
    if options.dry_run:
        return versions.from_storage(resource, new), gone
    if gone:
        last = context.store.remove(key) or old
        new["metadata"]["resourceVersion"] = last["metadata"]["resourceVersion"]
        return versions.from_storage(resource, new), True
    if new != old:
        writes.commit(context, key, new)
    return versions.from_storage(resource, new), context.store.get(key) is None


def _check_preconditions(resource: Resource, old: Document, options: DeleteOptions) -> None:
    meta = old["metadata"]
    for label, wanted, held, means in (
        ("UID", options.uid, meta["uid"], "deleted and then recreated"),
        ("ResourceVersion", options.resource_version, meta["resourceVersion"], "modified"),
    ):
        if wanted and wanted != held:
            detail = (
                f"the {label} in the precondition ({wanted}) does not match the {label} in record ({held}). "
                f"The object might have been {means}"
            )
            raise errors.conflict(resource.qualified_kind, meta["name"], detail)


def _grace_period(resource: Resource, old: Document, options: DeleteOptions) -> int:
    """Seconds a pod is given to stop; 0 for everything that no kubelet has to stop."""
    if resource.collection != "pods":
        return 0
    if not dig(old, "spec", "nodeName") or dig(old, "status", "phase") in ("Succeeded", "Failed"):
        return 0
    wanted = options.grace_period_seconds
    if wanted is None:
        wanted = old["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_PERIOD_SECONDS)
    running = old["metadata"].get("deletionGracePeriodSeconds")
    # A second delete may shorten the grace period, never lengthen it.
    wanted = max(0, int(wanted))
    return wanted if running is None else min(wanted, running)


def _finalizers(old: Document, options: DeleteOptions) -> list[str]:
    held = list(old["metadata"].get("finalizers") or ())
    if options.propagation is None:
        return held
    kept = [name for name in held if name not in (FOREGROUND, ORPHAN)]
    added = _POLICIES[options.propagation]
    return [*kept, added] if added else kept


def _marked(context: Context, resource: Resource, old: Document, finalizers: list[str], grace_seconds: int) -> Document:
    """The object with its deletion recorded."""
    new: Document = clone(old)
    meta = new["metadata"]
    meta["finalizers"] = finalizers
    if not finalizers:
        del meta["finalizers"]
    running = meta.get("deletionGracePeriodSeconds")
    if not meta.get("deletionTimestamp") or running is None or grace_seconds < running:
        first = not meta.get("deletionTimestamp")
        meta["deletionTimestamp"] = (
            timestamp(context.clock() + timedelta(seconds=grace_seconds))
            if first or grace_seconds != running
            else meta["deletionTimestamp"]
        )
        meta["deletionGracePeriodSeconds"] = grace_seconds
        if first and resource.tracks_generation:
            meta["generation"] = meta.get("generation", 0) + 1
    if resource.collection == "namespaces":
        new["status"] = new.get("status", {}) | {"phase": "Terminating"}
    return new
