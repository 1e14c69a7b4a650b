"""The clusters' tokens: read one by one with GET, kept by cluster, never listed, never watched, never logged.

Invariant: an answer belongs to one cluster object (by uid) and is at most ``KEEP_SECONDS`` old; whoever
doubts it (a head that refuses the token) asks for a fresh one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, Final

from shoal_operator.control.clock import Clock
from shoal_operator.domain.names import TOKEN_KEY
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.errors import NotFoundError
from shoal_operator.kube.resources import SECRETS

KEEP_SECONDS: Final = 600.0


class TokenError(Exception):
    """There is no usable token; the text says where and what to do."""


@dataclass(frozen=True)
class _Known:
    cluster_uid: str
    token: bytes = field(repr=False)
    until: float


class ClusterTokens:
    """Tokens by namespace and Secret name."""

    def __init__(self, client: ApiClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}

    async def exists(self, namespace: str, name: str, cluster_uid: str) -> bool:
        """Whether that Secret is there, with a token in it or not."""
        known = self._known.get((namespace, name))
        if known is not None and self._is_valid(known, cluster_uid):
            return True
        try:
            self._keep(await self._client.get(SECRETS, namespace, name), cluster_uid)
        except NotFoundError:
            self._known.pop((namespace, name), None)
            return False
        return True

    async def read(self, namespace: str, name: str, cluster_uid: str, *, fresh: bool) -> bytes:
        """The token.

        Raises:
            TokenError: the Secret is missing or holds none.
            ApiError: the API server did not answer.
        """
        known = self._known.get((namespace, name))
        if fresh or known is None or not self._is_valid(known, cluster_uid):
            try:
                secret = await self._client.get(SECRETS, namespace, name)
            except NotFoundError:
                raise TokenError(f"the Secret {namespace}/{name} (the cluster's token) is missing") from None
            known = self._keep(secret, cluster_uid)
        if not known.token:
            raise TokenError(f"the Secret {namespace}/{name} has no key {TOKEN_KEY!r} with a token in base64")
        return known.token

    def note(self, secret: dict[str, Any], cluster_uid: str) -> None:
        """The Secret that was just created."""
        self._keep(secret, cluster_uid)

    def forget(self, namespace: str, name: str) -> None:
        """The cluster is gone."""
        self._known.pop((namespace, name), None)

    def _is_valid(self, known: _Known, cluster_uid: str) -> bool:
        return known.cluster_uid == cluster_uid and self._clock.monotonic() < known.until

    def _keep(self, secret: dict[str, Any], cluster_uid: str) -> _Known:
        metadata = secret["metadata"]
        until = self._clock.monotonic() + KEEP_SECONDS
        known = self._known[metadata["namespace"], metadata["name"]] = _Known(cluster_uid, _token(secret), until)
        return known


def _token(secret: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode((secret.get("data") or {}).get(TOKEN_KEY) or "", validate=True).strip()
    except binascii.Error:
        return b""
