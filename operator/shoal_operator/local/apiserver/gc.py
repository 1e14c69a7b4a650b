"""What follows from a deletion: dependents, the contents of namespaces, the objects of a removed kind.

Invariant: an object whose every owner is gone goes too, unless it was orphaned; a foreground deletion ends only
after the dependents that block it. The collector keeps no truth of its own: its index can be rebuilt from the
store, and `run` does a bounded piece of work and says whether more is waiting.
"""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import timedelta

from shoal_operator.local.apiserver import crd, deletion, writes
from shoal_operator.local.apiserver.context import Context, DeleteOptions
from shoal_operator.local.apiserver.kinds import CRD_COLLECTION, Resource
from shoal_operator.local.apiserver.store import Change, Key
from shoal_operator.local.apiserver.values import Document, clone, parse_timestamp

BATCH = 200
"""Objects looked at in one `run`, so that requests are served in between."""
EVENT_LIFETIME = timedelta(hours=1)


class Collector:
    """Follows the store's changes; `run` acts on them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._uids: dict[str, Key] = {}
        self._dependents: dict[str, set[Key]] = defaultdict(set)
        self._queue: deque[Key] = deque()
        self._queued: set[Key] = set()
        for collection in list(context.store.collections()):
            for key, document in context.store.scan(collection):
                self._observe(Change("ADDED", key, 0, document, None))
        context.store.subscribe(self._observe)

    def pending(self) -> bool:
        return bool(self._queue)

    def statistics(self) -> dict[str, int]:
        """How much the collector holds: known objects, those with owners, and those to look at."""
        return {"objects": len(self._uids), "dependents": len(self._dependents), "queued": len(self._queue)}

    def run(self) -> bool:
        """Look at up to BATCH objects; returns whether more are waiting."""
        for _ in range(min(BATCH, len(self._queue))):
            key = self._queue.popleft()
            self._queued.discard(key)
            document = self._context.store.get(key)
            resource = self._context.registry.of_collection(key.collection)
            if document is not None and resource is not None:
                self._attend(key, document, resource)
        return self.pending()

    def expire_events(self) -> None:
        """Drop Events that nobody repeated for an hour, as a real cluster does."""
        horizon = self._context.clock() - EVENT_LIFETIME
        for key, document in self._context.store.scan("events"):
            seen = document.get("lastTimestamp") or document["metadata"]["creationTimestamp"]
            try:
                old = parse_timestamp(seen) < horizon
            except (TypeError, ValueError):
                old = parse_timestamp(document["metadata"]["creationTimestamp"]) < horizon
            if old:
                self._context.store.remove(key)

    def _observe(self, change: Change) -> None:
        self._index(change)
        meta = change.document["metadata"]
        if change.type == "DELETED":
            for dependent in self._dependents.pop(meta["uid"], ()):
                self._enqueue(dependent)
            self._wake_owners(meta)
            self._wake_holders(change.key)
        elif meta.get("ownerReferences") or meta.get("deletionTimestamp"):
            self._enqueue(change.key)
            if change.previous is not None:
                # A dependent that stopped blocking its owner may be what the owner waits for.
                self._wake_owners(change.previous["metadata"])

    def _index(self, change: Change) -> None:
        meta = change.document["metadata"]
        before = _owner_uids(change.previous)
        after = set() if change.type == "DELETED" else _owner_uids(change.document)
        for uid in before - after:
            self._dependents[uid].discard(change.key)
            if not self._dependents[uid]:
                del self._dependents[uid]
        for uid in after - before:
            self._dependents[uid].add(change.key)
        if change.type == "DELETED":
            self._uids.pop(meta["uid"], None)
        else:
            self._uids[meta["uid"]] = change.key

    def _wake_owners(self, meta: Document) -> None:
        for owner in meta.get("ownerReferences") or ():
            held = self._uids.get(owner["uid"])
            if held is not None:
                self._enqueue_if_deleting(held)

    def _wake_holders(self, key: Key) -> None:
        """Namespaces and definitions that wait until the last of their objects is gone."""
        if key.namespace:
            self._enqueue_if_deleting(Key("namespaces", "", key.namespace))
        self._enqueue_if_deleting(Key(CRD_COLLECTION, "", key.collection))

    def _enqueue_if_deleting(self, key: Key) -> None:
        document = self._context.store.get(key)
        if document is not None and document["metadata"].get("deletionTimestamp"):
            self._enqueue(key)

    def _enqueue(self, key: Key) -> None:
        if key not in self._queued:
            self._queued.add(key)
            self._queue.append(key)

    def _attend(self, key: Key, document: Document, resource: Resource) -> None:
        meta = document["metadata"]
        if meta.get("deletionTimestamp"):
            finalizers = meta.get("finalizers") or ()
            if deletion.ORPHAN in finalizers:
                self._orphan_dependents(key, meta["uid"])
            elif deletion.FOREGROUND in finalizers:
                self._delete_dependents(key, meta["uid"])
            elif key.collection == "namespaces":
                self._empty_namespace(key)
            elif crd.CLEANUP_FINALIZER in finalizers:
                self._empty_definition(key)
        elif meta.get("ownerReferences"):
            self._check_owners(key, document, resource)

    def _check_owners(self, key: Key, document: Document, resource: Resource) -> None:
        owners = document["metadata"]["ownerReferences"]
        dangling = {owner["uid"] for owner in owners if owner["uid"] not in self._uids}
        if not dangling:
            self._follow_foreground(key, document, resource)
        elif len(dangling) < len({owner["uid"] for owner in owners}):
            self._drop_owners(key, dangling)
        else:
            self._delete(key, resource, "Background")

    def _follow_foreground(self, key: Key, document: Document, resource: Resource) -> None:
        owners = [self._owner(owner["uid"]) for owner in document["metadata"]["ownerReferences"]]
        if owners and all(owner is not None and _waits_for_dependents(owner) for owner in owners):
            policy = "Foreground" if self._dependents.get(document["metadata"]["uid"]) else "Background"
            self._delete(key, resource, policy)

    def _owner(self, uid: str) -> Document | None:
        held = self._uids.get(uid)
        return self._context.store.get(held) if held is not None else None

    def _delete(self, key: Key, resource: Resource, policy: str | None) -> None:
        options = DeleteOptions(propagation=policy)
        deletion.delete(self._context, resource, key.namespace, key.name, options)

    def _orphan_dependents(self, key: Key, uid: str) -> None:
        for dependent in sorted(self._dependents.get(uid, ())):
            self._drop_owners(dependent, {uid})
        self._drop_finalizer(key, deletion.ORPHAN)

    def _delete_dependents(self, key: Key, uid: str) -> None:
        blocking = False
        for dependent in sorted(self._dependents.get(uid, ())):
            document = self._context.store.get(dependent)
            if document is None:
                continue
            references = document["metadata"].get("ownerReferences") or ()
            blocking |= any(o["uid"] == uid and o.get("blockOwnerDeletion") for o in references)
            if not document["metadata"].get("deletionTimestamp"):
                self._enqueue(dependent)
        if not blocking:
            self._drop_finalizer(key, deletion.FOREGROUND)

    def _drop_owners(self, key: Key, uids: set[str]) -> None:
        document = self._context.store.get(key)
        if document is None:
            return
        new = clone(document)
        kept = [owner for owner in new["metadata"]["ownerReferences"] if owner["uid"] not in uids]
        new["metadata"]["ownerReferences"] = kept
        if not kept:
            del new["metadata"]["ownerReferences"]
        writes.commit(self._context, key, new)

    def _drop_finalizer(self, key: Key, finalizer: str) -> None:
        document = self._context.store.get(key)
        if document is None:
            return
        new = clone(document)
        kept = [name for name in new["metadata"].get("finalizers", ()) if name != finalizer]
        new["metadata"]["finalizers"] = kept
        if not kept:
            del new["metadata"]["finalizers"]
        writes.commit(self._context, key, new)

    def _empty_namespace(self, key: Key) -> None:
        remaining = False
        for collection in list(self._context.store.collections()):
            resource = self._context.registry.of_collection(collection)
            for held, document in self._context.store.scan(collection, key.name) if resource else ():
                if resource is not None and not document["metadata"].get("deletionTimestamp"):
                    self._delete(held, resource, None)
                remaining |= self._context.store.get(held) is not None
        namespace = self._context.store.get(key)
        if namespace is not None and not remaining:
            new = clone(namespace)
            new["spec"]["finalizers"] = []
            writes.commit(self._context, key, new)

    def _empty_definition(self, key: Key) -> None:
        resource = self._context.registry.of_collection(key.name)
        for held, document in self._context.store.scan(key.name) if resource else ():
            if resource is not None and not document["metadata"].get("deletionTimestamp"):
                self._delete(held, resource, None)
        if not self._context.store.count(key.name):
            self._drop_finalizer(key, crd.CLEANUP_FINALIZER)


def _owner_uids(document: Document | None) -> set[str]:
    if document is None:
        return set()
    return {owner["uid"] for owner in document["metadata"].get("ownerReferences") or ()}


def _waits_for_dependents(document: Document) -> bool:
    meta = document["metadata"]
    return bool(meta.get("deletionTimestamp")) and deletion.FOREGROUND in (meta.get("finalizers") or ())
