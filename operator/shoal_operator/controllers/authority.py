"""Certificates of a cluster: its own authority, and the one certificate that all its pods show each other.

Invariant: an authority vouches for one cluster and for nothing below it (path length 0); a certificate is made out for
names, never for addresses, so pods may come and go without a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shoal_operator.domain.cluster.certificates import AUTHORITY_LIFETIME, LEAF_LIFETIME, LeafView

CLOCK_SKEW: Final = timedelta(minutes=5)
"""Certificates begin this much in the past: the clocks of nodes differ."""
_COMMON_NAME_MAX: Final = 64


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
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"{name} authority")
    builder = _builder(subject, subject, key.public_key(), now, now + AUTHORITY_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return Authority(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


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
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + LEAF_LIFETIME, issuer.not_valid_after_utc)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(_subject(names[0]), issuer.subject, key.public_key(), now, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return Leaf(authority.certificate_pem, _pem(builder.sign(signer, hashes.SHA256())), _key_pem(key))


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


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_COMMON_NAME_MAX])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
