"""Which resources the server offers: the built-in ones, and those that CustomResourceDefinitions add.

Invariant: the registry is the only place that knows what exists; discovery, OpenAPI, routing and garbage
collection all ask it, so a kind is served everywhere or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shoal_operator.local.apiserver.cel import RuleTree
from shoal_operator.local.apiserver.schemas import BUILTIN_SCHEMAS
from shoal_operator.local.apiserver.values import Document

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CRD_COLLECTION = "customresourcedefinitions.apiextensions.k8s.io"
EVENTS_GROUP = "events.k8s.io"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource at one version. `collection` is where its objects stand (versions and events share one)."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = ALL_VERBS
    tracks_generation: bool = False
    unconditional_update: bool = True
    schema: Document = field(default_factory=dict, repr=False)
    custom: bool = False
    singular_name: str = ""
    list_kind_name: str = ""
    stored_in: str = ""
    printer_columns: tuple[Document, ...] = ()
    scale: Document | None = None
    selectable_fields: tuple[str, ...] = ()
    rules: RuleTree | None = field(default=None, repr=False, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """How messages name the resource: `pods`, or `computejobs.shoal.dev`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """How an Invalid message names the kind: `Pod`, or `ComputeJob.shoal.dev`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def collection(self) -> str:
        return self.stored_in or self.group_resource

    @property
    def singular(self) -> str:
        return self.singular_name or self.kind.lower()

    @property
    def list_kind(self) -> str:
        return self.list_kind_name or f"{self.kind}List"

    @property
    def path(self) -> str:
        """Where its group version is served: "/api/v1" or "/apis/shoal.dev/v1alpha1"."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"


def _builtin(api_version: str, kind: str, plural: str, *short: str, **options: object) -> Resource:
    group, _, version = api_version.rpartition("/")
    schema = BUILTIN_SCHEMAS.get(kind, {})
    return Resource(group, version, kind, plural, short_names=short, schema=schema, **options)  # type: ignore[arg-type]


_STATUS = frozenset({"status"})

BUILTIN: tuple[Resource, ...] = (
    _builtin("v1", "ConfigMap", "configmaps", "cm"),
    _builtin("v1", "Event", "events", "ev"),
    _builtin(
        "v1",
        "Namespace",
        "namespaces",
        "ns",
        namespaced=False,
        subresources=frozenset({"status", "finalize"}),
    ),
    _builtin("v1", "Node", "nodes", "no", namespaced=False, subresources=_STATUS),
    _builtin("v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", subresources=_STATUS),
    _builtin(
        "v1",
        "Pod",
        "pods",
        "po",
        categories=("all",),
        tracks_generation=True,
        subresources=frozenset({"status", "log", "binding", "eviction"}),
    ),
    _builtin("v1", "ResourceQuota", "resourcequotas", "quota", subresources=_STATUS),
    _builtin("v1", "Secret", "secrets"),
    _builtin("v1", "Service", "services", "svc", categories=("all",), subresources=_STATUS),
    _builtin("v1", "ServiceAccount", "serviceaccounts", "sa"),
    _builtin(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd",
        "crds",
        namespaced=False,
        categories=("api-extensions",),
        tracks_generation=True,
        unconditional_update=False,
        subresources=_STATUS,
    ),
    _builtin(
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        namespaced=False,
        verbs=("create",),
    ),
    _builtin(
        "authorization.k8s.io/v1",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        namespaced=False,
        verbs=("create",),
    ),
    _builtin(
        "authentication.k8s.io/v1",
        "SelfSubjectReview",
        "selfsubjectreviews",
        namespaced=False,
        verbs=("create",),
    ),
    _builtin("coordination.k8s.io/v1", "Lease", "leases", unconditional_update=False),
    _builtin("events.k8s.io/v1", "Event", "events", "ev", stored_in="events"),
    _builtin("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "netpol", tracks_generation=True),
    _builtin(
        "policy/v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "pdb",
        tracks_generation=True,
        unconditional_update=False,
        subresources=_STATUS,
    ),
    _builtin("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
    _builtin("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    _builtin("rbac.authorization.k8s.io/v1", "Role", "roles"),
    _builtin("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
)
"""Everything that is served before any CustomResourceDefinition exists."""


class Registry:
    """The resources served right now, by group, version and plural name."""

    def __init__(self, builtin: Iterable[Resource] = BUILTIN) -> None:
        self._builtin = {(item.group, item.version, item.plural): item for item in builtin}
        self._custom: dict[str, tuple[Resource, ...]] = {}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        found = self._builtin.get((group, version, plural))
        if found is not None:
            return found
        for item in self._custom.get(f"{plural}.{group}", ()):
            if item.version == version:
                return item
        return None

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource that serves a kind, e.g. ("v1", "Pod")."""
        return next((r for r in self if r.api_version == api_version and r.kind == kind), None)

    def of_collection(self, collection: str) -> Resource | None:
        """The first resource whose objects stand in a collection."""
        return next((item for item in self if item.collection == collection), None)

    def install(self, crd_name: str, resources: Iterable[Resource]) -> None:
        """Serve the versions of one CustomResourceDefinition, in place of what it served before."""
        self._custom[crd_name] = tuple(resources)

    def uninstall(self, crd_name: str) -> None:
        self._custom.pop(crd_name, None)

    def group_versions(self) -> list[tuple[str, str]]:
        """All (group, version) pairs, the core group first, in a stable order."""
        return sorted({(item.group, item.version) for item in self})

    def in_group_version(self, group: str, version: str) -> list[Resource]:
        return [item for item in self if (item.group, item.version) == (group, version)]

    def __iter__(self) -> Iterator[Resource]:
        yield from self._builtin.values()
        for resources in self._custom.values():
            yield from resources
