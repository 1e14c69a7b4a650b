"""The bundles that a node holds: room that was taken out of what is free, for the work of one placement group.

Invariants: what is held in a bundle never exceeds it, except for CPUs that a blocked holder takes back; a holder is in
one bundle; requests of one need are decided in the order of their arrival.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from shoal.resources import ResourceSet

ANY: Final = -1
"""As an index: whichever bundle of the group has room."""
FREE_LEASES_MIN: Final = 4
"""Leases that hold nothing, for each bundle at least."""
ANY_WAIT_SECONDS: Final = 0.25
"""How long a request for any bundle waits here, when other nodes have bundles of the group too."""


@dataclass(slots=True)
class Holder:
    """What a lease or an actor holds."""

    shape: ResourceSet
    job_id: str
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Want:
    """A request for room in a bundle. ``guest``: of an owner on another node."""

    request_id: str
    group_id: str
    index: int
    shape: ResourceSet
    job_id: str
    guest: bool = False


@dataclass(slots=True)
class _Bundle:
    group_id: str
    index: int
    shape: ResourceSet
    total: int
    free: dict[str, int]
    holders: dict[str, Holder] = field(default_factory=dict)

    def has_room(self, shape: ResourceSet) -> bool:
        if not shape:
            limit = max(FREE_LEASES_MIN, self.shape["CPU"] // 10_000)
            return sum(1 for holder in self.holders.values() if not holder.shape and not holder.blocked) < limit
        return shape.fits(self.free)

    def add(self, shape: ResourceSet, sign: int, *, skip_cpu: bool = False) -> None:
        for name, amount in shape.items():
            if not (skip_cpu and name == "CPU"):
                self.free[name] = self.free.get(name, 0) + sign * amount


_Need = tuple[str, int, ResourceSet, bool]


class Bundles:
    """See the module. Times are seconds on one monotonic scale, given by the caller."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[int, _Bundle]] = {}
        self._place: dict[str, _Bundle] = {}
        self._queues: dict[_Need, deque[Want]] = {}
        self._waiting: dict[str, tuple[Want, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def keys(self) -> list[tuple[str, int]]:
        """Group and index of every bundle here."""
        return [(group_id, index) for group_id, bundles in self._groups.items() for index in bundles]

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    # Bundles

    def hold(self, group_id: str, index: int, shape: ResourceSet, total: int) -> None:
        """A bundle is here from now on; the caller has taken its room. ``total``: how many the group has."""
        bundle = _Bundle(group_id, index, shape, total, dict(shape))
        self._groups.setdefault(group_id, {})[index] = bundle

    def has(self, group_id: str, index: int) -> bool:
        """Whether a bundle is here; with ``ANY``, whether any of the group is."""
        return bool(self._matching(group_id, index))

    def drop(self, group_id: str, index: int) -> tuple[dict[str, int], dict[str, Holder]]:
        """A bundle is here no longer: what of it nobody holds, and who holds the rest."""
        bundles = self._groups[group_id]
        bundle = bundles.pop(index)
        if not bundles:
            del self._groups[group_id]
        for holder_id in bundle.holders:
            del self._place[holder_id]
        return bundle.free, bundle.holders

    def stranded(self, group_id: str) -> list[str]:
        """Requests of a group that no bundle here could serve any more; they are forgotten."""
        lost = [w for w, _since in self._waiting.values() if w.group_id == group_id and not self.has(group_id, w.index)]
        for want in lost:
            self.withdraw(want.request_id)
        return [want.request_id for want in lost]

    # Holders

    def holds(self, holder_id: str) -> bool:
        """Whether a holder is in a bundle here."""
        return holder_id in self._place

    def has_room(self, group_id: str, index: int, shape: ResourceSet) -> bool:
        """Whether a bundle would take this now."""
        return any(bundle.has_room(shape) for bundle in self._matching(group_id, index))

    def take(self, holder_id: str, group_id: str, index: int, shape: ResourceSet, job_id: str) -> dict[str, int]:
        """Take room in a bundle at once. Returns what lacks (nothing was taken then); empty on success."""
        bundles = self._matching(group_id, index)
        for bundle in bundles:
            if shape.fits(bundle.free):
                self._put(holder_id, bundle, shape, job_id)
                return {}
        return shape.lacks(bundles[0].free) if bundles else {"the bundle": 1}

    def _put(self, holder_id: str, bundle: _Bundle, shape: ResourceSet, job_id: str) -> None:
        bundle.add(shape, -1)
        bundle.holders[holder_id] = Holder(shape, job_id)
        self._place[holder_id] = bundle

    def release(self, holder_id: str) -> str:
        """A holder's end. Returns the group whose requests may be granted now."""
        bundle = self._place.pop(holder_id)
        holder = bundle.holders.pop(holder_id)
        bundle.add(holder.shape, 1, skip_cpu=holder.blocked)
        return bundle.group_id

    def set_blocked(self, holder_id: str, blocked: bool) -> str:
        """A holder waits for others, so that its CPUs are free meanwhile, or goes on. Returns the group."""
        bundle = self._place[holder_id]
        holder = bundle.holders[holder_id]
        if holder.blocked != blocked:
            holder.blocked = blocked
            cpus = holder.shape["CPU"]
            bundle.free["CPU"] = bundle.free.get("CPU", 0) + (cpus if blocked else -cpus)
        return bundle.group_id

    # Requests

    def submit(self, want: Want, now: float) -> bool:
        """Take a request in; False when no bundle here could serve it."""
        if not any(want.shape.fits(bundle.shape) for bundle in self._matching(want.group_id, want.index)):
            return False
        self._queues.setdefault(_need(want), deque()).append(want)
        self._waiting[want.request_id] = (want, now)
        return True

    def withdraw(self, request_id: str) -> bool:
        """Forget a waiting request; False when it does not wait here."""
        found = self._waiting.pop(request_id, None)
        if found is None:
            return False
        queue = self._queues[_need(found[0])]
        queue.remove(found[0])
        if not queue:
            del self._queues[_need(found[0])]
        return True

    def grant(self, group_id: str) -> list[str]:
        """Give room to waiting requests of a group; who waits longest comes first."""
        granted: list[str] = []
        needs = [need for need in self._queues if need[0] == group_id]
        needs.sort(key=lambda need: self._waiting[self._queues[need][0].request_id][1])
        for need in needs:
            queue = self._queues[need]
            while queue and self._granted(queue[0]):
                want = queue.popleft()
                del self._waiting[want.request_id]
                granted.append(want.request_id)
            if not queue:
                del self._queues[need]
        return granted

    def _granted(self, want: Want) -> bool:
        for bundle in self._matching(want.group_id, want.index):
            if bundle.has_room(want.shape):
                self._put(want.request_id, bundle, want.shape, want.job_id)
                return True
        return False

    def guests(self) -> list[str]:
        """Every request from another node; they are forgotten."""
        found = [want.request_id for want, _since in self._waiting.values() if want.guest]
        for request_id in found:
            self.withdraw(request_id)
        return found

    def expire(self, now: float) -> list[str]:
        """Requests that should try another node; they are forgotten."""
        late = [w.request_id for w, since in self._waiting.values() if now >= self._until(w, since)]
        for request_id in late:
            self.withdraw(request_id)
        return late

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do next."""
        times = (self._until(want, since) for want, since in self._waiting.values())
        return min((time for time in times if time != float("inf")), default=None)

    def _until(self, want: Want, since: float) -> float:
        """Only a request that another node might serve as well goes on looking."""
        if want.index != ANY:
            return float("inf")
        here = self._matching(want.group_id, ANY)
        return since + ANY_WAIT_SECONDS if here and len(here) < here[0].total else float("inf")

    def _matching(self, group_id: str, index: int) -> list[_Bundle]:
        bundles = self._groups.get(group_id, {})
        if index == ANY:
            return list(bundles.values())
        return [bundles[index]] if index in bundles else []


def _need(want: Want) -> _Need:
    return want.group_id, want.index, want.shape, want.guest
