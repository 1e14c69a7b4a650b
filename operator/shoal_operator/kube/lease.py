"""Leader election on a coordination.k8s.io Lease, with the rules and times of client-go.

Invariants:
- the lease of another is taken only after it was *seen* unchanged for its whole duration by our own clock:
  clocks of machines are never compared;
- we write only while ``monotonic() < leader_until``; when a renewal did not succeed in time, ``hold``
  returns, and the process must end at once (Kubernetes has no fencing; deterministic names and preconditions
  bear the rest).
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shoal_operator.control.clock import Clock
from shoal_operator.kube import errors
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.resources import LEASES

logger = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds, as client-go names them.

    Attributes:
        duration_seconds: others wait so long before they take over from a silent leader.
        renew_deadline_seconds: a leader that could not renew for so long gives up (less than the duration).
        retry_seconds: between two tries, of the leader and of those who wait.
    """

    duration_seconds: int = 15
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0

    @classmethod
    def of_duration(cls, seconds: int) -> LeaseTimes:
        """The proportions of client-go: 15, 10, 2."""
        return cls(seconds, seconds * 2 / 3, seconds * 2 / 15)


class LeaseElector:
    """One candidate for one lease.

    Args:
        identity: unique per process: pod name and a random part.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        rng: random.Random,
        times: LeaseTimes = LeaseTimes(),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._rng = rng
        self._times = times
        self._seen_version = ""
        self._seen_at = 0.0
        self._holder = ""
        self._said = ""
        self._written: Json | None = None
        self.leader_until = float("-inf")

    @property
    def is_leader(self) -> bool:
        """Whether we hold the lease, by the most careful reading."""
        return self._clock.monotonic() < self.leader_until

    async def acquire(self) -> None:
        """Wait until we are the leader: at once when the lease is free."""
        announced = ""
        while not await self._try():
            if announced != self._holder:
                announced = self._holder
                logger.info("waiting: %r is the leader", announced or "unknown")
            await asyncio.sleep(self._times.retry_seconds * self._rng.uniform(1.0, 1.2))
        logger.info("leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew until that fails for too long; then return: we are no longer the leader."""
        while self.is_leader:
            await asyncio.sleep(min(self._times.retry_seconds, self.leader_until - self._clock.monotonic()))
            remaining = self.leader_until - self._clock.monotonic()
            if remaining <= 0:
                break
            try:
                async with asyncio.timeout(remaining):
                    if not await self._try() and self._holder not in {"", self._identity}:
                        self.leader_until = float("-inf")
            except TimeoutError:
                break
        logger.error("the lease %s/%s is lost (holder now: %r)", self._namespace, self._name, self._holder)

    async def release(self) -> None:
        """Give the lease back, so that the next candidate need not wait. Does nothing when we have none."""
        if not self.is_leader:
            return
        self.leader_until = float("-inf")
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
            if lease.get("spec", {}).get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
                await self._client.replace(lease)
        except errors.ApiError as error:
            logger.warning("the lease could not be released, the next leader waits for it: %s", error)

    async def _try(self) -> bool:
        """One attempt to get or renew the lease. Returns whether it is ours now."""
        started = self._clock.monotonic()
        try:
            held = await self._get_or_create(started)
        except errors.ConflictError:
            return False  # somebody else was faster
        except errors.ApiError as error:
            level = logging.DEBUG if str(error) == self._said else logging.WARNING
            logger.log(level, "cannot reach the lease: %s; trying again", error)
            self._said = str(error)
            return False
        self._said = ""
        if held:
            # Counted from before the request: the server cannot have taken it earlier.
            self.leader_until = started + self._times.renew_deadline_seconds
        return held

    async def _get_or_create(self, now: float) -> bool:
        if self._written is not None and await self._renew(self._written):
            return True
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
        except errors.NotFoundError:
            await self._client.create(self._body({"metadata": {}}, transitions=0))
            self._holder = self._identity
            return True
        spec = lease.get("spec") or {}
        self._holder = str(spec.get("holderIdentity") or "")
        if self._holder not in {"", self._identity} and not self._is_expired(lease, now):
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + (self._holder != self._identity)
        self._written = await self._client.replace(self._body(lease, transitions))
        self._holder = self._identity
        return True

    async def _renew(self, written: Json) -> bool:
        """Write over what we wrote last, without reading it first. False: it is no longer there, so read it."""
        self._written = None
        try:
            transitions = int(written["spec"].get("leaseTransitions") or 0)
            self._written = await self._client.replace(self._body(written, transitions))
        except (errors.ConflictError, errors.NotFoundError):
            return False
        return True

    def _is_expired(self, lease: Json, now: float) -> bool:
        version = str(lease["metadata"].get("resourceVersion"))
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, now
        duration = lease["spec"].get("leaseDurationSeconds") or self._times.duration_seconds
        return now - self._seen_at > float(duration)

    def _body(self, lease: Json, transitions: int) -> Json:
        stamp = self._stamp()
        spec = dict(lease.get("spec") or {})
        if spec.get("holderIdentity") != self._identity:
            spec["acquireTime"] = stamp
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._times.duration_seconds,
            "renewTime": stamp,
            "leaseTransitions": transitions,
        }
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": lease["metadata"] | {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }

    def _stamp(self) -> str:
        now: datetime = self._clock.now()
        return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
