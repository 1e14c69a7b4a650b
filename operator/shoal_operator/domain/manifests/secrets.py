"""The Secret with a cluster's token.

Invariant: created once and never overwritten; a token that pods have seen stays valid for their life.
"""

from __future__ import annotations

import base64

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.labels import cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata
from shoal_operator.domain.names import TOKEN_KEY, token_secret_name
from shoal_operator.domain.plan import Manifest


def build_token_secret(cluster: ComputeCluster, token: str) -> Manifest:
    """The Secret ``<cluster>-token``.

    Args:
        cluster: its owner.
        token: secret material, as text.
    """
    name = token_secret_name(cluster.metadata.name)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": child_metadata(cluster, name, cluster_labels(cluster.metadata.name, "auth", __version__)),
        "type": "Opaque",
        "data": {TOKEN_KEY: base64.b64encode(token.encode()).decode()},
    }
