"""Who may name an owner: admission plug-in OwnerReferencesPermissionEnforcement, which some Kubernetes run with.

Invariant: whoever makes a reference that blocks its owner's deletion may set finalizers on that owner; whoever changes
the owners of an object may delete it. Left out: references made by merge and JSON patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shoal_operator.local.apiserver import authorization, errors
from shoal_operator.local.apiserver.authorization import Attributes, User
from shoal_operator.local.apiserver.context import Context
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.values import Document, dig

_BLOCKING = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"


def check_owners(context: Context, user: User, resource: Resource, namespace: str | None, document: Document) -> None:
    """Let the user write ``document``.

    Raises:
        StatusError: 403, in the words of a real API server.
    """
    references = dig(document, "metadata", "ownerReferences", default=None)
    name = dig(document, "metadata", "name", default="")
    if user.is_master or not isinstance(references, list):
        return
    old = context.store.get(context.key(resource, namespace, name)) if name else None
    before = dig(old or {}, "metadata", "ownerReferences", default=[])
    known = {owner.get("uid") for owner in before}
    if old is not None and {_uid(owner) for owner in references} != known:
        wanted = Attributes("delete", resource.group, resource.plural, "", namespace, name)
        if not authorization.allows(context.store, user, wanted):
            words = "cannot set an ownerRef on a resource you can't delete: , <nil>"
            raise errors.forbidden(resource.group_resource, name, words)
    for wanted in _finalizing(context, [one for one in references if _uid(one) not in known], namespace):
        if not authorization.allows(context.store, user, wanted):
            raise errors.forbidden(resource.group_resource, name, f"{_BLOCKING}: , <nil>")


def _uid(reference: object) -> str:
    return str(reference.get("uid", "")) if isinstance(reference, dict) else ""


def _finalizing(context: Context, references: list[Any], namespace: str | None) -> Iterator[Attributes]:
    """The right that each blocking reference needs."""
    for reference in references:
        if not isinstance(reference, dict) or not reference.get("blockOwnerDeletion"):
            continue
        owner = context.registry.of_kind(str(reference.get("apiVersion")), str(reference.get("kind")))
        if owner is not None:
            place = namespace if owner.namespaced else None
            yield Attributes("update", owner.group, owner.plural, "finalizers", place, str(reference.get("name", "")))
