"""Who asks, and whether RBAC lets them: roles and bindings in the store are the whole truth.

The token's holder is in ``system:masters`` and may do everything, as in any cluster that is one's own. With the
headers of impersonation (``kubectl --as=system:serviceaccount:NAMESPACE:NAME``) a request is somebody else's and
gets what the bindings grant: so roles are tried out without a cluster.

Left out: aggregation of ClusterRoles, the built-in roles, and the check that nobody grants what they do not have.

Invariant: pure reading of the store; no binding, no right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.errors import StatusError
from shoal_operator.local.apiserver.store import Key, Store
from shoal_operator.local.apiserver.values import Document, dig

RBAC_GROUP: Final = "rbac.authorization.k8s.io"
MASTERS: Final = "system:masters"
AUTHENTICATED: Final = "system:authenticated"
_ACCOUNT: Final = "system:serviceaccount:"
_COLLECTION_VERBS: Final = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT_VERBS: Final = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class User:
    """Who a request is from."""

    name: str
    groups: frozenset[str] = frozenset()

    @property
    def is_master(self) -> bool:
        return MASTERS in self.groups


HOLDER: Final = User("shoal-local", frozenset({MASTERS, AUTHENTICATED}))
"""Whoever has the server's token."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants, as RBAC sees it. ``namespace`` None: the whole cluster."""

    verb: str
    group: str
    plural: str
    subresource: str = ""
    namespace: str | None = None
    name: str = ""

    @property
    def resource(self) -> str:
        """As rules name it: ``pods`` or ``pods/log``."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def user_of(name: str, groups: Sequence[str]) -> User:
    """The user of a request with the right token: its holder, or whom the holder stands in for.

    Args:
        name: what the header ``Impersonate-User`` says; empty: the holder of the token.
        groups: what the headers ``Impersonate-Group`` say.

    Raises:
        StatusError: groups without a user.
    """
    if not name:
        if groups:
            raise errors.bad_request("requested [{Group}] without impersonating a user")
        return HOLDER
    implied = {AUTHENTICATED}
    if name.startswith(_ACCOUNT):
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        implied |= {"system:serviceaccounts", f"system:serviceaccounts:{namespace}"}
    return User(name, frozenset({*groups, *implied}))


def verb_of(method: str, *, named: bool, watch: bool) -> str:
    """The verb of a request, e.g. ``list`` for GET of a collection."""
    verb = (_OBJECT_VERBS if named else _COLLECTION_VERBS).get(method, method.lower())
    return "watch" if watch and verb == "list" else verb


def check(store: Store, user: User, wanted: Attributes) -> None:
    """Let the request pass.

    Raises:
        StatusError: 403, in the words of a real API server.
    """
    if not allows(store, user, wanted):
        raise refusal(user, wanted)


def refusal(user: User, wanted: Attributes) -> StatusError:
    """The 403 for a request that nothing grants."""
    where = "at the cluster scope" if wanted.namespace is None else f'in the namespace "{wanted.namespace}"'
    resource = f"{wanted.plural}.{wanted.group}" if wanted.group else wanted.plural
    what = f'resource "{wanted.resource}" in API group "{wanted.group}"'
    words = f'User "{user.name}" cannot {wanted.verb} {what} {where}'
    subject = f'{resource} "{wanted.name}"' if wanted.name else resource
    details: Document = {"kind": wanted.plural} | ({"group": wanted.group} if wanted.group else {})
    if wanted.name:
        details = {"name": wanted.name, **details}
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {words}", details)


def allows(store: Store, user: User, wanted: Attributes) -> bool:
    """Whether a rule of one of the user's roles covers the request."""
    return user.is_master or any(_covers(rule, wanted) for rule in rules_of(store, user, wanted.namespace))


def rules_of(store: Store, user: User, namespace: str | None) -> Iterator[Mapping[str, Any]]:
    """Every rule that the user has in a namespace, those of the whole cluster among them."""
    for binding in _all(store, "clusterrolebindings", ""):
        if _is_bound(user, binding, ""):
            yield from _rules(store, binding, "")
    if namespace is not None:
        for binding in _all(store, "rolebindings", namespace):
            if _is_bound(user, binding, namespace):
                yield from _rules(store, binding, namespace)


def _all(store: Store, plural: str, namespace: str) -> Iterable[Document]:
    return (document for _, document in store.scan(f"{plural}.{RBAC_GROUP}", namespace))


def _is_bound(user: User, binding: Document, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        name = subject.get("name", "")
        match subject.get("kind"):
            case "User" if name == user.name:
                return True
            case "Group" if name in user.groups:
                return True
            case "ServiceAccount" if user.name == f"{_ACCOUNT}{subject.get('namespace') or namespace}:{name}":
                return True
    return False


def _rules(store: Store, binding: Document, namespace: str) -> Iterator[Mapping[str, Any]]:
    kind, name = dig(binding, "roleRef", "kind"), str(dig(binding, "roleRef", "name", default=""))
    key = (
        Key(f"clusterroles.{RBAC_GROUP}", "", name)
        if kind == "ClusterRole"
        else Key(f"roles.{RBAC_GROUP}", namespace, name)
    )
    yield from (store.get(key) or {}).get("rules") or ()


def _covers(rule: Mapping[str, Any], wanted: Attributes) -> bool:
    names = rule.get("resourceNames") or ()
    return (
        _has(rule.get("verbs"), wanted.verb)
        and _has(rule.get("apiGroups"), wanted.group)
        and (
            _has(rule.get("resources"), wanted.resource)
            or (bool(wanted.subresource) and f"*/{wanted.subresource}" in (rule.get("resources") or ()))
        )
        and (not names or wanted.name in names)
    )


def _has(given: Iterable[str] | None, value: str) -> bool:
    held = tuple(given or ())
    return "*" in held or value in held
