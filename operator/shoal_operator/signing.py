"""What all certificates that we sign have in common, whether for a cluster's pods or for the server of local mode.

Invariants: an authority vouches for no authority below it (path length 0) and signs certificates only; what it vouches
for signs none.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLOCK_SKEW: Final = timedelta(minutes=5)
"""Certificates begin this much in the past: the clocks of nodes differ."""
_COMMON_NAME_MAX: Final = 64


def subject(name: str) -> x509.Name:
    """A distinguished name that is a common name alone, cut where X.509 takes no more of it."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_COMMON_NAME_MAX])])


def new_authority(name: str, now: datetime, end: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority that vouches for itself, and its key."""
    key = _new_key()
    builder = _builder(subject(name), subject(name), key.public_key(), now, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return builder.sign(key, hashes.SHA256()), key


def sign_leaf(
    authority: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    name: str,
    alternatives: list[x509.GeneralName],
    purposes: list[x509.ObjectIdentifier],
    now: datetime,
    end: datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate and its key.

    Args:
        authority: whose name it bears as its issuer; ``signer`` is its key.
        name: the common name.
        alternatives: what peers know its holder by.
        purposes: sides of a connection that it is for.
        now: the current time, timezone-aware; ``end`` likewise.
    """
    key = _new_key()
    builder = _builder(subject(name), authority.subject, key.public_key(), now, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return builder.sign(signer, hashes.SHA256()), key


def _new_key() -> ec.EllipticCurvePrivateKey:
    """A key of the one kind that we use."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as text, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
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
