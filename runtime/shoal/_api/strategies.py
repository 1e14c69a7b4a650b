"""Where a task or an actor is to run: scheduling strategies, and the placement group that the options name.

Pure. Names and rules follow Ray 2.60 (``ray.util.scheduling_strategies``).

Invariant: what a placement group could never run is refused where it is asked for, not left to wait.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shoal.core.labels import NODE_ID, Selector
from shoal.resources import ResourceSet, describe

if TYPE_CHECKING:
    from shoal._api.placement_group import PlacementGroup

ANY_BUNDLE: Final = -1
_ID: Final = re.compile("[0-9a-f]{1,256}")
DEFAULT: Final = "default"
"""Value of the option ``placement_group``: the group of the caller, if that captures child tasks."""
_OLD: Final = ("placement_group", "placement_group_bundle_index", "placement_group_capture_child_tasks")


class PlacementGroupSchedulingStrategy:
    """Run in a bundle of a placement group.

    Args:
        placement_group: the group.
        placement_group_bundle_index: of the bundle; -1: any that has room.
        placement_group_capture_child_tasks: whether what is started from there runs in the group, too.

    Raises:
        ValueError: not a placement group, or not an index.
    """

    def __init__(
        self,
        placement_group: PlacementGroup,
        placement_group_bundle_index: int = ANY_BUNDLE,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        from shoal._api.placement_group import PlacementGroup

        given: object = placement_group
        if not isinstance(given, PlacementGroup):
            raise ValueError(f"placement_group needs to be an instance of PlacementGroup, got {placement_group!r:.200}")
        index: object = placement_group_bundle_index
        if type(index) is not int:
            raise ValueError(f"placement_group_bundle_index must be an integer, got {index!r:.200}")
        self.placement_group = given
        self.placement_group_bundle_index = index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def __repr__(self) -> str:
        return f"PlacementGroupSchedulingStrategy({self.placement_group!r}, {self.placement_group_bundle_index})"


class NodeAffinitySchedulingStrategy:
    """Run on a certain node.

    Args:
        node_id: of the node, as ``get_runtime_context().get_node_id()`` says it.
        soft: run elsewhere when there is no such node, or it is too small; otherwise that is an error.

    Raises:
        ValueError: not the id of a node.
    """

    def __init__(self, node_id: str, soft: bool) -> None:
        given: object = node_id
        if not isinstance(given, str) or not _ID.fullmatch(given):
            raise ValueError(f"node_id must be the id of a node, hexadecimal digits, got {given!r:.200}")
        self.node_id = given
        self.soft = bool(soft)

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy({self.node_id!r}, {self.soft})"


class Placement(NamedTuple):
    """What of a placement group a task or an actor wants. ``bundle``: group and index."""

    bundle: tuple[str, int]
    captures: bool

    @property
    def wire(self) -> tuple[str, bool]:
        """What the worker is told."""
        return self.bundle[0], self.captures


def check(options: Mapping[str, Any]) -> None:
    """Refuse strategies that Shoal does not know, and contradictions.

    Raises:
        ValueError: with words.
    """
    strategy = options.get("scheduling_strategy")
    if strategy is not None and strategy not in ("DEFAULT", "SPREAD"):
        if not isinstance(strategy, (PlacementGroupSchedulingStrategy, NodeAffinitySchedulingStrategy)):
            raise ValueError(f"scheduling_strategy {strategy!r:.200} is not supported by this version of Shoal yet")
        if isinstance(strategy, PlacementGroupSchedulingStrategy) and options.get("label_selector"):
            raise ValueError(
                "label_selector cannot be combined with a placement group: give the group's bundles labels with "
                "placement_group(..., bundle_label_selector=[...])"
            )
    if strategy is not None and any(options.get(name, DEFAULT) not in (DEFAULT, ANY_BUNDLE, None) for name in _OLD):
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option; "
            "placement_group and its companions may not be given beside it"
        )
    named = options.get("placement_group", DEFAULT)
    if named is None or named == DEFAULT:
        if options.get("placement_group_bundle_index", ANY_BUNDLE) != ANY_BUNDLE:
            raise ValueError("placement_group_bundle_index needs a placement_group")
        return
    # Has the checks of its own.
    _from_old(options)


def labels(options: Mapping[str, Any]) -> Selector:
    """What the node must be like, as sorted pairs: the label selector, and a node that the strategy names."""
    selector = dict(options.get("label_selector") or {})
    strategy = options.get("scheduling_strategy")
    if isinstance(strategy, NodeAffinitySchedulingStrategy):
        selector[NODE_ID] = strategy.node_id
    return tuple(sorted(selector.items()))


def is_soft(options: Mapping[str, Any]) -> bool:
    """Whether the strategy only prefers its node."""
    strategy = options.get("scheduling_strategy")
    return isinstance(strategy, NodeAffinitySchedulingStrategy) and strategy.soft


def inherits(options: Mapping[str, Any]) -> bool:
    """Whether the group of the caller applies, if that captures child tasks."""
    return options.get("scheduling_strategy") is None and options.get("placement_group", DEFAULT) == DEFAULT


def placement(options: Mapping[str, Any], need: ResourceSet, what: str) -> Placement | None:
    """The placement group that the options name, if they name one.

    Args:
        options: checked ones.
        need: what must be free in a bundle.
        what: the name of the function or class, for messages.

    Raises:
        ValueError: the index is out of range, or no bundle could ever hold the need.
    """
    strategy = options.get("scheduling_strategy")
    if not isinstance(strategy, PlacementGroupSchedulingStrategy):
        if options.get("placement_group") in (None, DEFAULT):
            return None
        strategy = _from_old(options)
    group, index = strategy.placement_group, strategy.placement_group_bundle_index
    if group.is_empty:
        if index != ANY_BUNDLE:
            raise ValueError(f"the placement group is empty, so that the bundle index must be -1, got {index}")
        return None
    shapes = [ResourceSet.from_units(bundle) for bundle in group.bundle_specs]
    if index != ANY_BUNDLE and not 0 <= index < len(shapes):
        raise ValueError(
            f"placement group bundle index {index} is invalid. "
            f"Valid placement group indexes: 0-{len(shapes) - 1}, and -1 for any bundle"
        )
    asked = shapes if index == ANY_BUNDLE else [shapes[index]]
    if not any(need.fits(shape) for shape in asked):
        where = "any bundle of the placement group" if index == ANY_BUNDLE else f"bundle {index} of the placement group"
        raise ValueError(
            f"{what} needs {describe(need)}, which does not fit in {where}: {', '.join(map(describe, asked[:10]))}"
        )
    return Placement((group.id.hex(), index), bool(strategy.placement_group_capture_child_tasks))


def inherited() -> Placement | None:
    """The placement group of the calling task or actor, if that captures what is started there."""
    from shoal.worker import context

    group = context.current().placement_group
    return Placement((group[0], ANY_BUNDLE), True) if group is not None and group[1] else None


def _from_old(options: Mapping[str, Any]) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(
        options["placement_group"],
        options.get("placement_group_bundle_index", ANY_BUNDLE),
        options.get("placement_group_capture_child_tasks"),
    )
