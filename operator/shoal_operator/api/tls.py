"""How what goes between the pods of a cluster is encrypted.

Invariant: a cluster's mode changes only while it has no pods, because pods with TLS and pods without cannot speak.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from shoal_operator.api.meta import Model, with_rules

NAME_MAX: Final = 253


class IssuerRef(Model):
    """An issuer of cert-manager."""

    name: Annotated[str, Field(min_length=1, max_length=NAME_MAX)]
    """Name of the issuer."""
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    """Issuer: one of the cluster's own namespace. ClusterIssuer: one for all namespaces."""


class TlsSpec(Model):
    """Encryption between the pods of the cluster, and between its head and the operator."""

    model_config = with_rules(
        (
            "(self.mode == 'CertManager') == has(self.issuerRef)",
            "spec.security.tls.issuerRef must be set with mode CertManager, and only then",
        ),
    )

    mode: Literal["None", "Operator", "CertManager"] = "None"
    """None: authenticated, not encrypted. Operator: by an authority that the operator makes for this cluster alone.
    CertManager: by `issuerRef`. Changes only while spec.suspend is true."""
    issuer_ref: IssuerRef | None = None
    """Who signs the cluster's certificate in mode CertManager; it must be an issuer that gives its ca.crt."""


MODE_RULE: Final = (
    "self.spec.suspend || oldSelf.spec.suspend || self.spec.security.tls.mode == oldSelf.spec.security.tls.mode",
    "spec.security.tls.mode must not change while the cluster has pods; set spec.suspend to true first",
)
"""Of the whole ComputeCluster; not of a job's clusterSpec, which is a plan for a cluster."""
