"""The clusters' tokens.

Invariant: a token is never logged, and is used for the cluster object that it was read for (``secrets.py``); whoever
doubts it (a head that refuses the token) asks for a fresh one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal_operator.control.clock import Clock
from shoal_operator.controllers.secrets import SecretReader
from shoal_operator.domain.names import TOKEN_KEY
from shoal_operator.kube.client import ApiClient


class TokenError(Exception):
    """There is no usable token; the text says where and what to do."""


class ClusterTokens:
    """Tokens by namespace and Secret name."""

    def __init__(self, client: ApiClient, clock: Clock) -> None:
        self._secrets = SecretReader(client, clock, _token)

    async def exists(self, namespace: str, name: str, cluster_uid: str) -> bool:
        """Whether that Secret is there, with a token in it or not; one of an earlier cluster of the name goes soon."""
        known = await self._secrets.read((namespace, name), cluster_uid)
        return known is not None and known.owner_uid in ("", cluster_uid)

    async def read(self, namespace: str, name: str, cluster_uid: str, *, fresh: bool) -> bytes:
        """The token.

        Raises:
            TokenError: the Secret is missing or holds none.
            ApiError: the API server did not answer.
        """
        known = await self._secrets.read((namespace, name), cluster_uid, fresh=fresh)
        if known is None:
            raise TokenError(f"the Secret {namespace}/{name} (the cluster's token) is missing")
        if not known.content:
            raise TokenError(f"the Secret {namespace}/{name} has no key {TOKEN_KEY!r} with a token in base64")
        return known.content

    def note(self, secret: dict[str, Any], cluster_uid: str) -> None:
        """The Secret that was just created."""
        self._secrets.keep(secret, cluster_uid)

    def forget(self, namespace: str, name: str) -> None:
        """The cluster is gone."""
        self._secrets.forget((namespace, name))


def _token(data: Mapping[str, bytes]) -> bytes:
    return data.get(TOKEN_KEY, b"").strip()
