"""The link to a cluster's head, as one pass sees it.

Invariant: nothing is decided about a head that should answer before it did, or failed to, once: an
operator that has just started must not take its own ignorance for news (a restart writes nothing).
"""

from __future__ import annotations

import dataclasses
from typing import Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.controllers.executor import Executor
from shoal_operator.domain.cluster.idleness import rests
from shoal_operator.domain.labels import ROLE_HEAD
from shoal_operator.domain.names import Key, head_service_name, tls_secret_name

SETTLE_SECONDS: Final = 10.0
"""Look again at the latest after this time; the first word of the link wakes the key much earlier."""


def link_head(shell: Executor, key: Key, cluster: ComputeCluster) -> bool:
    """Keep a link to the head of ``cluster`` for as long as it should have one.

    Returns:
        Whether the head's view (or its absence) may be relied upon.
    """
    if rests(cluster) or cluster.metadata.deletion_timestamp is not None:
        shell.heads.drop(key)
        return True
    address = shell.world.head_address(key, cluster.metadata.uid, head_service_name(key[1]))
    if address is not None and cluster.spec.security.tls.mode != "None":
        address = dataclasses.replace(address, tls_secret=tls_secret_name(key[1]))
    if address is not None:
        heads = [pod for pod in shell.world.pods_of(key) if pod.role == ROLE_HEAD and not pod.is_deleting]
        is_running = any(pod.phase == "Running" for pod in heads)
        shell.heads.ensure(key, address, is_running=is_running, is_ready=any(pod.ready for pod in heads))
    return shell.heads.is_settled(key)
