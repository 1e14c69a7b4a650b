"""Secrets of clusters, read one by one with GET: never listed, never watched, never logged.

Invariant: an answer belongs to one cluster object (by uid) and counts for ``KEEP_SECONDS``. One that has had its time
is dropped when any Secret is next asked for, so what is in it does not stay in memory here; an open connection keeps
what it was opened with.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from shoal_operator.control.clock import Clock
from shoal_operator.domain.names import Key
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.errors import NotFoundError
from shoal_operator.kube.resources import SECRETS

Json = dict[str, Any]
Content = TypeVar("Content")

KEEP_SECONDS: Final = 600.0


@dataclass(frozen=True)
class KnownSecret(Generic[Content]):
    """What a Secret said when it was read for a cluster.

    Attributes:
        cluster_uid: the cluster object that it was read for.
        owner_uid: its controller's; empty: it has none.
        content: what the reader made of its data.
        until: the monotonic time from which on it does not count.
    """

    cluster_uid: str
    owner_uid: str
    content: Content = field(repr=False)
    until: float


class SecretReader(Generic[Content]):
    """Secrets by namespace and name.

    Args:
        client: of the API server.
        clock: for how long answers count.
        parse: makes what is kept from the Secret's decoded data.
    """

    def __init__(self, client: ApiClient, clock: Clock, parse: Callable[[Mapping[str, bytes]], Content]) -> None:
        self._client = client
        self._clock = clock
        self._parse = parse
        self._known: dict[Key, KnownSecret[Content]] = {}  # the oldest first

    async def read(self, key: Key, cluster_uid: str, *, fresh: bool = False) -> KnownSecret[Content] | None:
        """What that Secret says; None: there is none. ``fresh``: now, and not a while ago.

        Raises:
            ApiError: the API server did not answer.
        """
        known = self.recall(key, cluster_uid)
        if known is not None and not fresh:
            return known
        try:
            secret = await self._client.get(SECRETS, *key)
        except NotFoundError:
            self.forget(key)
            return None
        return self.keep(secret, cluster_uid)

    def recall(self, key: Key, cluster_uid: str) -> KnownSecret[Content] | None:
        """What is known without asking."""
        self._drop_old()
        known = self._known.get(key)
        return known if known is not None and known.cluster_uid == cluster_uid else None

    def keep(self, secret: Json, cluster_uid: str) -> KnownSecret[Content]:
        """Note a Secret as the server has it now."""
        metadata = secret["metadata"]
        key = metadata["namespace"], metadata["name"]
        self.forget(key)
        until = self._clock.monotonic() + KEEP_SECONDS
        content = self._parse(decode(secret))
        known = self._known[key] = KnownSecret(cluster_uid, owner_uid(secret), content, until)
        return known

    def forget(self, key: Key) -> None:
        """It is gone, or its cluster is."""
        self._known.pop(key, None)

    def _drop_old(self) -> None:
        now = self._clock.monotonic()
        while self._known:
            oldest = next(iter(self._known))
            if now < self._known[oldest].until:
                return
            del self._known[oldest]


def decode(secret: Json) -> dict[str, bytes]:
    """The data of a Secret; empty where it is no base64."""
    content = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            content[name] = base64.b64decode(value or "", validate=True)
        except binascii.Error:
            content[name] = b""
    return content


def owner_uid(secret: Json) -> str:
    """Of the controller among its owners; empty: it has none."""
    owners = secret["metadata"].get("ownerReferences") or ()
    return next((str(owner.get("uid")) for owner in owners if owner.get("controller")), "")
