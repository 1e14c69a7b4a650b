"""Secrets with a cluster's certificates, what asks cert-manager for one, and how pods get to see them.

Invariant: the key of an authority is in a Secret of its own, which no pod mounts; pods see three files and no others.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from shoal_operator import __version__
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.domain.cluster.certificates import LEAF_LIFETIME, RENEW_AFTER, certificate_names
from shoal_operator.domain.labels import cluster_labels
from shoal_operator.domain.manifests.owners import child_metadata, with_applied_hash
from shoal_operator.domain.names import authority_secret_name, tls_secret_name
from shoal_operator.domain.plan import Manifest
from shoal_operator.engines import shoal

VOLUME: Final = "shoal-tls"
COMPONENT: Final = "tls"
AUTHORITY_KEY: Final = "ca.crt"
CERTIFICATE_KEY: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"
FILE_MODE: Final = 0o440
CERT_MANAGER_VERSION: Final = "cert-manager.io/v1"


def build_authority_secret(cluster: ComputeCluster, certificate_pem: bytes, key_pem: bytes) -> Manifest:
    """The Secret ``<cluster>-ca``. Holds a private key: never log it."""
    name = authority_secret_name(cluster.metadata.name)
    return _secret(cluster, name, {CERTIFICATE_KEY: certificate_pem, PRIVATE_KEY: key_pem})


def build_tls_secret(cluster: ComputeCluster, authority_pem: bytes, certificate_pem: bytes, key_pem: bytes) -> Manifest:
    """The Secret ``<cluster>-tls``, which pods mount. Holds a private key: never log it."""
    content = {AUTHORITY_KEY: authority_pem, CERTIFICATE_KEY: certificate_pem, PRIVATE_KEY: key_pem}
    return _secret(cluster, tls_secret_name(cluster.metadata.name), content)


def build_certificate_request(cluster: ComputeCluster) -> Manifest:
    """cert-manager's ``Certificate``, which makes it keep the Secret ``<cluster>-tls``.

    Raises:
        ValueError: the cluster names no issuer (the API server refuses such a cluster).
    """
    issuer = cluster.spec.security.tls.issuer_ref
    if issuer is None:
        raise ValueError("spec.security.tls.issuerRef is missing")
    name = tls_secret_name(cluster.metadata.name)
    manifest = {
        "apiVersion": CERT_MANAGER_VERSION,
        "kind": "Certificate",
        "metadata": _metadata(cluster, name),
        "spec": {
            "secretName": name,
            "commonName": certificate_names(cluster)[0],
            "dnsNames": list(certificate_names(cluster)),
            "usages": ["digital signature", "server auth", "client auth"],
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "duration": f"{LEAF_LIFETIME.days * 24}h",
            "renewBefore": f"{round(LEAF_LIFETIME.days * 24 * (1 - RENEW_AFTER))}h",
            "issuerRef": {"name": issuer.name, "kind": issuer.kind},
        },
    }
    return with_applied_hash(manifest)


def mount_certificates(cluster: ComputeCluster, spec: dict[str, Any], container: dict[str, Any]) -> None:
    """Let the runtime's container see the certificates, where the cluster has them. Changes both in place."""
    if cluster.spec.security.tls.mode == "None":
        return
    items = [{"key": key, "path": key} for key in (AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY)]
    source = {"secretName": tls_secret_name(cluster.metadata.name), "defaultMode": FILE_MODE, "items": items}
    volumes = [volume for volume in spec.get("volumes") or [] if volume.get("name") != VOLUME]
    spec["volumes"] = [*volumes, {"name": VOLUME, "secret": source}]
    directory = shoal.TLS_DIRECTORY
    mounts = [mount for mount in container.get("volumeMounts") or [] if mount.get("mountPath") != directory]
    container["volumeMounts"] = [*mounts, {"name": VOLUME, "mountPath": directory, "readOnly": True}]
    container["args"] = [*container["args"], *shoal.tls_arguments()]


def _secret(cluster: ComputeCluster, name: str, content: Mapping[str, bytes]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(cluster, name),
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value).decode() for key, value in content.items()},
    }


def _metadata(cluster: ComputeCluster, name: str) -> dict[str, Any]:
    return child_metadata(cluster, name, cluster_labels(cluster.metadata.name, COMPONENT, __version__))
