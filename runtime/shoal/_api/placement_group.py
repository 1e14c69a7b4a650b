"""Placement groups: resources that are reserved together, on one node or several, before work asks for them.

Names, signatures and rules follow Ray 2.60 (``ray.util.placement_group``).

Invariant: what makes no sense is refused before anything is asked of the cluster.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shoal._api import session
from shoal.core.labels import checked
from shoal.core.packing import STRATEGIES
from shoal.core.placement_group import MAX_BUNDLES, MAX_NAME_LENGTH
from shoal.core.shapes import given
from shoal.exceptions import GetTimeoutError
from shoal.owner.placement_groups import PlacementGroups
from shoal.owner.refs import ObjectRef
from shoal.resources import ResourceSet

ID_BYTES: Final = 18
"""As in Ray."""


class PlacementGroupID(bytes):
    """The id of a placement group."""

    def binary(self) -> bytes:
        """The id as plain bytes."""
        return bytes(self)

    def __repr__(self) -> str:
        return f"PlacementGroupID({self.hex()})"


class PlacementGroup:
    """A handle to a placement group; may be sent to other processes."""

    def __init__(self, id: PlacementGroupID, bundle_cache: Sequence[Mapping[str, float]] | None = None) -> None:
        self.id = id
        self.bundle_cache = None if bundle_cache is None else [dict(bundle) for bundle in bundle_cache]

    @staticmethod
    def empty() -> PlacementGroup:
        """A handle that stands for no group."""
        return PlacementGroup(PlacementGroupID(), [])

    @property
    def is_empty(self) -> bool:
        """Whether this stands for no group."""
        return not self.id

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """Resources of the bundles, in whole units; of a group that is gone: none."""
        if self.bundle_cache is None:
            found = _placement_groups().listed(group_id=self.id.hex())
            self.bundle_cache = [_units(shape) for shape, _labels, _node in found[0]["bundles"]] if found else []
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[PlacementGroup]:
        """A reference that has this group as its value once every bundle is reserved.

        Where it is read, TaskPlacementGroupRemovedError is raised if the group is removed before.
        """
        return _placement_groups().ready(self.id.hex(), self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until every bundle is reserved; False when that took too long.

        Raises:
            TaskPlacementGroupRemovedError: the group was removed.
        """
        process = session.process()
        try:
            process.values.get([self.ready()], timeout_seconds)
        except GetTimeoutError:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (bytes(self.id), self.bundle_cache)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"


def _restored(group_id: bytes, bundles: list[dict[str, float]] | None) -> PlacementGroup:
    return PlacementGroup(PlacementGroupID(group_id), bundles)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
) -> PlacementGroup:
    """Reserve bundles of resources, all of them or none; returns at once.

    Args:
        bundles: what each bundle has, ``[{"CPU": 2}, {"GPU": 1, "CPU": 4}]``, in whole units. Each is on one node.
        strategy: ``PACK`` (few nodes, if possible), ``SPREAD`` (many), ``STRICT_PACK`` (exactly one), ``STRICT_SPREAD``
            (one node for each bundle).
        name: to be found by ``get_placement_group``, in the namespace of the session.
        lifetime: None: removed at the end of the job that made it; ``"detached"``: only by ``remove_placement_group``.
        bundle_label_selector: for each bundle the labels of the nodes that it may be on.

    Example:
        >>> group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
        >>> shoal.get(group.ready())
        >>> f.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0)).remote()

    Raises:
        ValueError: an argument makes no sense, or the name is taken.
    """
    shapes = _shapes(bundles)
    labels = _labels(bundle_label_selector, len(shapes))
    if (strategy or "PACK") not in STRATEGIES:
        raise ValueError(f"Invalid placement group strategy {strategy!r}: it is one of {', '.join(STRATEGIES)}")
    given: object = name
    if not isinstance(given, str):
        raise ValueError(f"name must be a text of at most {MAX_NAME_LENGTH} characters, got {given!r:.60}")
    if len(given) > MAX_NAME_LENGTH:
        words = f"has {len(given)} characters: {given[:40]!r}..."
        raise ValueError(f"name must be a text of at most {MAX_NAME_LENGTH} characters, and the given one {words}")
    if lifetime not in (None, "detached"):
        raise ValueError(f"placement group `lifetime` must be None or 'detached', got {lifetime!r:.200}")
    group_id = PlacementGroupID(os.urandom(ID_BYTES))
    asked = {
        "group_id": group_id.hex(),
        "name": name,
        "strategy": strategy or "PACK",
        "detached": lifetime == "detached",
        "bundles": [(tuple(shape.items()), pairs) for shape, pairs in zip(shapes, labels, strict=True)],
    }
    process = session.process()
    process.placement_groups.create({**asked, "namespace": session.namespace()})
    return PlacementGroup(group_id, bundles)


def _shapes(bundles: Any) -> list[ResourceSet]:
    if not isinstance(bundles, list):
        raise ValueError(f"The type of bundles must be list, got {bundles!r:.200}")
    if not 0 < len(bundles) <= MAX_BUNDLES:
        raise ValueError(f"a placement group has 1 to {MAX_BUNDLES} bundles, got {len(bundles)}")
    return [given(f"bundles[{index}]", bundle) for index, bundle in enumerate(bundles)]


def _labels(selectors: Any, count: int) -> list[tuple[tuple[str, str], ...]]:
    if selectors is None:
        return [()] * count
    if not isinstance(selectors, list) or len(selectors) != count:
        raise ValueError(f"bundle_label_selector must be a list with one dictionary for each of {count} bundles")
    return [checked(f"bundle_label_selector[{index}]", selector) for index, selector in enumerate(selectors)]


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Remove a group: its resources are free again, and what runs in it ends. One that is gone is no error.

    Raises:
        ValueError: not a placement group.
    """
    if not isinstance(placement_group, PlacementGroup):
        raise ValueError(f"expected a PlacementGroup, got {placement_group!r:.200}")
    _placement_groups().remove(placement_group.id.hex())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in the namespace of the session.

    Raises:
        ValueError: the name is empty, or no group has it.
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    found = _placement_groups().listed(name=placement_group_name, namespace=session.namespace())
    if not found:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")
    return _handle(found[0])


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the calling task or actor runs in; None in a driver and outside of groups."""
    from shoal.worker import context

    group = context.current().placement_group
    return None if group is None else PlacementGroup(PlacementGroupID(bytes.fromhex(group[0])))


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What the cluster knows of one group, or of all by their id (those removed lately among them).

    Each is a dict with ``placement_group_id``, ``name``, ``bundles`` and ``bundles_to_node_id`` (by index; empty: no
    node yet), ``strategy``, ``state`` (PENDING, CREATED, RESCHEDULING, REMOVED) and ``stats``, whose
    ``scheduling_state`` says in words what the group waits for. A group that is not known is an empty dict.
    """
    if placement_group is None:
        return {group["group_id"]: _facts(group) for group in _placement_groups().listed()}
    found = _placement_groups().listed(group_id=placement_group.id.hex())
    return _facts(found[0]) if found else {}


def _facts(group: dict[str, Any]) -> dict[str, Any]:
    return {
        "placement_group_id": group["group_id"],
        "name": group["name"],
        "bundles": {index: _units(shape) for index, (shape, _labels, _node) in enumerate(group["bundles"])},
        "bundles_to_node_id": {index: node for index, (_shape, _labels, node) in enumerate(group["bundles"])},
        "strategy": group["strategy"],
        "state": group["state"],
        "stats": {"scheduling_state": group["message"]},
    }


def _handle(group: dict[str, Any]) -> PlacementGroup:
    bundles = [_units(shape) for shape, _labels, _node in group["bundles"]]
    return PlacementGroup(PlacementGroupID(bytes.fromhex(group["group_id"])), bundles)


def _units(shape: dict[str, int]) -> dict[str, float]:
    return ResourceSet(shape).to_units()


def _placement_groups() -> PlacementGroups:
    return session.process().placement_groups
