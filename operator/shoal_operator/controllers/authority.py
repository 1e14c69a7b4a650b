"""Certificates of a cluster: its own authority, and the one certificate that all its pods show each other.

Invariant: an authority vouches for one cluster and for nothing below it (path length 0); a certificate is made out for
names, never for addresses, so pods may come and go without a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from shoal_operator import signing
from shoal_operator.domain.cluster.certificates import AUTHORITY_LIFETIME, LEAF_LIFETIME, LeafView


@dataclass(frozen=True)
class Authority:
    """The cluster's own certificate authority, in PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True)
class Leaf:
    """A certificate, its key and the authority to verify peers with, in PEM."""

    authority_pem: bytes
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


class CertificateError(ValueError):
    """What should be a certificate or a key is none; the text says which."""


def new_authority(name: str, now: datetime) -> Authority:
    """An authority of its own for the cluster of that name."""
    certificate, key = signing.new_authority(f"{name} authority", now, now + AUTHORITY_LIFETIME)
    return Authority(signing.pem(certificate), signing.key_pem(key))


def issue_leaf(authority: Authority, names: Sequence[str], now: datetime) -> Leaf:
    """A certificate for the DNS names, for both sides of a connection; it never outlives its authority.

    Raises:
        CertificateError: the authority cannot be read.
    """
    try:
        issuer = x509.load_pem_x509_certificate(authority.certificate_pem)
        signer = serialization.load_pem_private_key(authority.key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"the authority's certificate or key cannot be read: {error}") from None
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or signer.public_key() != issuer.public_key():
        raise CertificateError("the authority's key is not the one of its certificate")
    certificate, key = signing.sign_leaf(
        issuer,
        signer,
        names[0],
        alternatives=[x509.DNSName(name) for name in names],
        purposes=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        now=now,
        end=min(now + LEAF_LIFETIME, issuer.not_valid_after_utc),
    )
    return Leaf(authority.certificate_pem, signing.pem(certificate), signing.key_pem(key))


def read_leaf(leaf: Leaf) -> LeafView:
    """What a decision needs to know of a certificate.

    Raises:
        CertificateError: it, its key or its authority cannot be read, or they do not belong together.
    """
    try:
        authorities = x509.load_pem_x509_certificates(leaf.authority_pem)
        certificate = x509.load_pem_x509_certificate(leaf.certificate_pem)
        key = serialization.load_pem_private_key(leaf.key_pem, password=None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise CertificateError(f"ca.crt, tls.crt or tls.key cannot be read: {error}") from None
    if key.public_key() != certificate.public_key():
        raise CertificateError("tls.key is not the key of tls.crt")
    return LeafView(
        not_before=certificate.not_valid_before_utc,
        not_after=min(certificate.not_valid_after_utc, *(one.not_valid_after_utc for one in authorities)),
        names=frozenset(names.get_values_for_type(x509.DNSName)),
    )
