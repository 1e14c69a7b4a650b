"""Placement groups as one process sees them: asking for them, waiting for them, removing them.

Invariants: what waits for a group is resolved once: when the group is ready, or when it never will be; the agent is
asked once for each group, however often a program waits and gives up.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from shoal.core.ids import object_id
from shoal.exceptions import SystemFailureError, TaskPlacementGroupRemovedError
from shoal.owner.refs import ObjectRef
from shoal.serialization import serialize

if TYPE_CHECKING:
    from shoal.owner.process import OwnerProcess


class PlacementGroups:
    """See the module. One instance an owner process."""

    def __init__(self, process: OwnerProcess) -> None:
        self._process = process
        self._waiting: dict[str, dict[bytes, bytes]] = {}
        """By group: the results that wait for it, with the values that they will have."""

    def create(self, asked: dict[str, Any]) -> None:
        """Ask the head for a group.

        Raises:
            ValueError: its name is taken, or the head has as many groups as it takes.
            SystemFailureError: the head cannot be asked.
        """
        created, message = self._process.ask("group_create", {**asked, "job_id": str(self._process.job["id"])})
        if not created:
            raise ValueError(message)

    def remove(self, group_id: str) -> bool:
        """Remove a group; False when there is none with that id (any more)."""
        return bool(self._process.ask("group_remove", group_id))

    def listed(self, group_id: str = "", name: str = "", namespace: str = "") -> list[dict[str, Any]]:
        """What the head knows of the one group, or of all."""
        found: list[dict[str, Any]] = self._process.ask("group_list", group_id, name, namespace)
        return found

    def ready(self, group_id: str, value: Any) -> ObjectRef[Any]:
        """A reference that has ``value`` once every bundle of the group is reserved."""
        process = self._process
        process.settle_dropped()
        oid = object_id(process.ids.task(), 0)
        data = serialize(value).to_bytes()
        with process.lock:
            ref = process.reference(process.table.own(oid))
            is_asked = group_id in self._waiting
            kept = {old: of for old, of in self._waiting.get(group_id, {}).items() if old in process.table.entries}
            self._waiting[group_id] = {**kept, oid: data}
        if not is_asked:
            process.agent.call("group_wait", group_id, on_reply=partial(self._answered, group_id))
        return ref

    def _answered(self, group_id: str, error: Any, told: Any, _payload: bytes, _fds: list[int]) -> None:
        process = self._process
        with process.lock:
            for oid, data in self._waiting.pop(group_id, {}).items():
                entry = process.table.entries.get(oid)
                if entry is None:
                    continue  # nobody waits any more
                if error is not None:
                    process.fail(oid, SystemFailureError(f"waiting for a placement group failed: {error[1]}"))
                elif told[0] == "CREATED":
                    process.run_waiters(process.table.resolve_inline(entry, data))
                else:
                    words = f"the placement group {group_id[:8]} is removed: {told[1]}"
                    process.fail(oid, TaskPlacementGroupRemovedError(words, placement_group_id=group_id))
