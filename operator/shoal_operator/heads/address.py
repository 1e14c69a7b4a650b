"""Where a head listens, and whose it is.

Invariant: an address names one cluster object (by uid); another object is another address.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadAddress:
    """Where a head is, and whose it is.

    Attributes:
        cluster_uid: the ComputeCluster.
        target: ``10.96.3.7:7380``.
        token_secret: name of the Secret with the token, in the cluster's namespace.
        tls_secret: name of the Secret with the cluster's certificate; empty: the head has no TLS.
    """

    cluster_uid: str
    target: str
    token_secret: str
    tls_secret: str = ""
