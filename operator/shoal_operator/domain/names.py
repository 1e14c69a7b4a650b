"""Names of everything that a cluster consists of: deterministic, at most 63 characters, cut with a hash.

Invariant: the same parts give the same name; two long names that differ stay different after the cut.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from shoal_operator.domain.hashing import HASH_LENGTH, stable_hash

Key: TypeAlias = tuple[str, str]
"""Namespace and name of an object; of which kind, its place says."""

NAME_MAX: Final = 63
CLASH_LENGTH: Final = 6
"""Digits of the hash that tells cluster `a` group `b-c` from cluster `a-b` group `c`."""
TOKEN_KEY: Final = "token"  # noqa: S105 - the name of a key, not its value


def bounded_name(stem: str, suffix: str = "") -> str:
    """``stem`` + ``suffix``, with the stem cut and hashed when the whole exceeds 63 characters.

    Example:
        >>> bounded_name("demo", "-head")
        'demo-head'
        >>> len(bounded_name("x" * 100, "-head"))
        63
    """
    if len(stem) + len(suffix) <= NAME_MAX:
        return stem + suffix
    keep = NAME_MAX - len(suffix) - HASH_LENGTH - 1
    return f"{stem[:keep]}-{stable_hash(stem)}{suffix}"


def token_secret_name(cluster: str) -> str:
    """Name of the Secret with the cluster's token (key ``token``)."""
    return bounded_name(cluster, "-token")


def tls_secret_name(cluster: str) -> str:
    """Name of the Secret with the certificate of the cluster's pods."""
    return bounded_name(cluster, "-tls")


def authority_secret_name(cluster: str) -> str:
    """Name of the Secret with the cluster's own certificate authority."""
    return bounded_name(cluster, "-ca")


def head_service_name(cluster: str) -> str:
    """Name of the Service in front of the head."""
    return bounded_name(cluster, "-head")


def network_policy_name(cluster: str) -> str:
    """Name of the NetworkPolicy of the cluster's pods."""
    return bounded_name(cluster)


def disruption_budget_name(cluster: str) -> str:
    """Name of the PodDisruptionBudget of the head."""
    return bounded_name(cluster, "-head")


def head_pod_name(cluster: str) -> str:
    """Name of the head pod."""
    return bounded_name(cluster, "-head")


def worker_pod_name(cluster: str, group: str, index: int, host: int | None = None) -> str:
    """Name of worker ``index`` of a group, or of one host of a replica that has several.

    No two clusters share a name: a group's name with a dash is followed by a hash, so that what stands between the
    last dashes can be told from the cluster's name.

    Example:
        >>> worker_pod_name("demo", "small", 3), worker_pod_name("demo", "slices", 3, 0)
        ('demo-small-3', 'demo-slices-3-h0')
    """
    return bounded_name(_group_stem(cluster, group), f"-{index}" if host is None else f"-{index}-h{host}")


def group_service_name(cluster: str, group: str) -> str:
    """Name of the headless Service that names the hosts of a group."""
    return bounded_name(_group_stem(cluster, group))


def state_claim_name(cluster: str) -> str:
    """Name of the PersistentVolumeClaim with the head's tables."""
    return bounded_name(cluster, "-state")


def _group_stem(cluster: str, group: str) -> str:
    stem = f"{cluster}-{group}"
    return f"{stem}-{stable_hash([cluster, group])[:CLASH_LENGTH]}" if "-" in group else stem
