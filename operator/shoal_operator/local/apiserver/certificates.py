"""The server's own certificate authority.

Invariant: the authority's private key exists only in memory, for as long as it takes to sign one certificate;
what is written is readable by the owner alone.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from shoal_operator import signing

LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """A server certificate and the authority that vouches for it, all PEM."""

    authority_pem: bytes
    certificate_pem: bytes
    key_pem: bytes

    def ssl_context(self, directory: Path) -> ssl.SSLContext:
        """A TLS server context. The key passes through a 0600 file, because OpenSSL only loads files."""
        chain, key = directory / "apiserver.crt", directory / "apiserver.key"
        _write_private(chain, self.certificate_pem)
        _write_private(key, self.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(chain, key)
        return context


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def issue(host: str, now: datetime) -> ServingCertificate:
    """A fresh authority and a certificate for `host` (an address), 127.0.0.1 and localhost."""
    end = now + LIFETIME
    authority, authority_key = signing.new_authority("shoal-local-ca", now, end)
    addresses = [ipaddress.ip_address(address) for address in sorted({"127.0.0.1", host})]
    certificate, key = signing.sign_leaf(
        authority,
        authority_key,
        "shoal-apiserver",
        alternatives=[x509.DNSName("localhost"), *map(x509.IPAddress, addresses)],
        purposes=[ExtendedKeyUsageOID.SERVER_AUTH],
        now=now,
        end=end,
    )
    return ServingCertificate(signing.pem(authority), signing.pem(certificate), signing.key_pem(key))
