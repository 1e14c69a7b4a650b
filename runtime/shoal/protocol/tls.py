"""TLS for the control plane: the certificates of the cluster, as gRPC wants them.

Invariant: both sides verify the other's certificate against the cluster's own authority, and a client also that it is
made out for the name ``shoal``, whatever address it called.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from shoal.wire.tls import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, SERVER_NAME, TlsFilesError, TlsIdentity

__all__ = ["CHANNEL_OPTIONS", "CertificateDirectory", "Certificates", "TlsFilesError", "explain_unavailable"]

PROBE_SECONDS: Final = 2.0
CHANNEL_OPTIONS: Final = (("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.default_authority", SERVER_NAME))


@dataclass(frozen=True)
class Certificates:
    """What a side shows and what it trusts, in PEM."""

    authority_pem: bytes
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)

    @classmethod
    def read(cls, directory: str) -> Certificates:
        """Those in a directory: ``ca.crt``, ``tls.crt``, ``tls.key``.

        Raises:
            TlsFilesError: a file cannot be read, or they do not belong together.
        """
        TlsIdentity(directory).check()
        return cls(*(_read(Path(directory) / name) for name in (AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE)))

    def for_channel(self) -> grpc.ChannelCredentials:
        """Credentials of a client; the channel needs ``CHANNEL_OPTIONS`` as well."""
        return grpc.ssl_channel_credentials(self.authority_pem, self.key_pem, self.certificate_pem)


class CertificateDirectory:
    """Certificates in files that are replaced while the process runs.

    Args:
        path: the directory.

    Raises:
        TlsFilesError: see ``Certificates.read``.
    """

    def __init__(self, path: str) -> None:
        self._identity = TlsIdentity(path)
        self._seen = self._identity.version()
        self._current = Certificates.read(path)

    def current(self) -> Certificates:
        """What the files say now; what they said before while they cannot be read."""
        with contextlib.suppress(TlsFilesError):
            seen = self._identity.version()
            if seen != self._seen:
                self._current = Certificates.read(self._identity.directory)
                self._seen = seen
        return self._current

    def for_server(self) -> grpc.ServerCredentials:
        """Credentials of a server; every connection gets the certificate of its time."""
        told = [self._current]

        def changed() -> Any:
            now = self.current()
            if now is told[0]:
                return None
            told[0] = now
            return _configuration(now)

        return grpc.dynamic_ssl_server_credentials(_configuration(told[0]), changed, True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFilesError(f"cannot use {path} for TLS: {error.strerror}") from None


def _configuration(certificates: Certificates) -> Any:
    pair = [(certificates.key_pem, certificates.certificate_pem)]
    return grpc.ssl_server_certificate_configuration(pair, certificates.authority_pem)


def explain_unavailable(target: str, details: str, *, with_tls: bool) -> str:
    """Why a head does not answer, when it is for TLS that one side lacks; else ``details``.

    gRPC only says that the socket closed, so the port is asked once more, for at most ``PROBE_SECONDS``.

    Args:
        target: ``host:port``.
        details: of the error UNAVAILABLE.
        with_tls: whether this side called with TLS.
    """
    if "refused" in details:
        return details
    answer = _probe(target)
    if answer == "tls" and not with_tls:
        return f"the head at {target} needs TLS, which this side has not: give --tls-dir (the cluster's certificates)"
    if answer == "plain" and with_tls:
        return f"the head at {target} has no TLS, which this side needs: leave out --tls-dir, or give it to the head"
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return f"the certificate of the head at {target} is refused: it is not of this cluster's authority, or too old"
    if answer == "tls" and with_tls:
        return f"{details} (if it stays so, the head at {target} may refuse this side's certificate)"
    return details


def _probe(target: str) -> str:
    host, _, port = target.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent; only whether the port speaks TLS is looked at
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS) as raw:
            raw.settimeout(PROBE_SECONDS)
            try:
                context.wrap_socket(raw).close()
            except ssl.SSLError as error:
                return _spoken(error.reason or "")
            return "tls"
    except (OSError, ValueError):
        return "nothing"


def _spoken(reason: str) -> str:
    """What the other side speaks, by the reason for which a handshake with it failed.

    Only an alert is TLS's own word: a connection that just ends is that of a head that is dying, or a proxy's whose
    head is gone.
    """
    if "ALERT" in reason:
        return "tls"
    return "plain" if reason == "WRONG_VERSION_NUMBER" else "nothing"
