"""TLS for frames without I/O: bytes of the network in, bytes of the program out, and the reverse.

Both sides show a certificate of the cluster's own authority, made out for the name ``shoal``: who holds one is a pod
of the cluster, wherever it runs, so no certificate names an address. TLS 1.3 only, without tickets.

Invariants: no byte of the program goes out or comes in before both certificates were verified; files that cannot be
used never replace contexts that can.
"""

from __future__ import annotations

import os
import ssl
import threading
from typing import Final

from shoal.exceptions import TlsError
from shoal.wire.handshake import HAS_NO_TLS, MAGIC, NEEDS_TLS, Handshake

SERVER_NAME: Final = "shoal"
AUTHORITY_FILE: Final = "ca.crt"
CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
_RECORD_BYTES: Final = 1 << 14
_HANDSHAKE_RECORD: Final = 0x16
_NO_CERTIFICATE: Final = frozenset({"PEER_DID_NOT_RETURN_A_CERTIFICATE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"})
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_TOO_SMALL"})


class TlsFilesError(OSError):
    """The directory has no usable certificates; the text names the file and what is wrong."""


class TlsIdentity:
    """What a directory says of this process and of whom it trusts: ``ca.crt``, ``tls.crt`` and ``tls.key`` in PEM.

    Thread-safe. The files are looked at for every connection and read again when they have changed, so a renewed
    certificate needs no restart.

    Args:
        directory: absolute; a mounted Secret.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def context(self, *, server_side: bool) -> ssl.SSLContext:
        """The context for the next connection.

        Raises:
            TlsFilesError: the files cannot be used, and none before them could.
        """
        with self._lock:
            try:
                seen = self.version()
                if seen != self._seen:
                    self._contexts = {side: self._load(server_side=side) for side in (False, True)}
                    self._seen = seen
            except TlsFilesError:
                if not self._contexts:
                    raise
            return self._contexts[server_side]

    def check(self) -> None:
        """Read the files now, whatever they said before.

        Raises:
            TlsFilesError: they cannot be used.
        """
        self._load(server_side=True)

    def version(self) -> tuple[tuple[int, int, int], ...]:
        """Differs when a file was replaced or written.

        Raises:
            TlsFilesError: a file is missing.
        """
        return tuple(self._stat(name) for name in (AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE))

    def path(self, name: str) -> str:
        """Of one of the files."""
        return os.path.join(self.directory, name)

    def _stat(self, name: str) -> tuple[int, int, int]:
        try:
            found = os.stat(self.path(name))
        except OSError as error:
            raise TlsFilesError(f"cannot use {self.path(name)} for TLS: {error.strerror}") from None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _load(self, *, server_side: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.hostname_checks_common_name = False
        if server_side:
            context.num_tickets = 0
        name = AUTHORITY_FILE
        try:
            context.load_verify_locations(self.path(AUTHORITY_FILE))
            name = f"{CERTIFICATE_FILE} with {KEY_FILE}"
            context.load_cert_chain(self.path(CERTIFICATE_FILE), self.path(KEY_FILE), _no_password)
        except (OSError, ValueError) as error:
            words = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise TlsFilesError(f"cannot use {self.path(name)} for TLS: {words}") from None
        return context


def _no_password() -> str:
    raise ValueError("the key needs a password; an unencrypted one is needed")


class TlsStream:
    """One side of one connection.

    Args:
        identity: of this process.
        server_side: whether the peer connected to us.

    Raises:
        TlsFilesError: see ``TlsIdentity.context``.
    """

    def __init__(self, identity: TlsIdentity, *, server_side: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = identity.context(server_side=server_side)
        name = None if server_side else SERVER_NAME
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=name)
        self._server_side = server_side
        self._begun = False
        self.established = False
        self.ended = False
        """Whether the peer said that it sends nothing more."""
        self.farewell = b""
        """After an error: what the peer should be sent before the connection closes."""

    def start(self) -> bytes:
        """The bytes to send first; none of a server."""
        return b"" if self._server_side else self._advance()

    def feed(self, data: bytes | memoryview) -> tuple[bytes, list[bytes]]:
        """Take bytes of the network; give (bytes to send, pieces of bytes for the program).

        Raises:
            TlsError: the peer is not of this cluster, or not a TLS peer at all, or the stream was tampered with.
        """
        if not self._begun:
            self._begun = True
            self._check_first(bytes(data))
        self._incoming.write(data)
        reply = b"" if self.established else self._advance()
        plain = self._decrypt() if self.established else []
        if self._outgoing.pending:  # an answer to the peer's wish for new keys
            reply += self._outgoing.read()
        return reply, plain

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """What has to be sent for ``data``, which is not kept."""
        view = memoryview(data).cast("B")
        offset, size = 0, view.nbytes
        while offset < size:  # OpenSSL takes one record at a time
            offset += self._tls.write(view[offset:])
        return self._outgoing.read()

    def _advance(self) -> bytes:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        except ssl.SSLError as error:
            self.farewell = self.farewell or self._outgoing.read()
            raise self._refusal(error) from None
        if self._server_side:
            self._check_name()
        self.established = True
        return self._outgoing.read()

    def _decrypt(self) -> list[bytes]:
        pieces: list[bytes] = []
        try:
            while not self.ended:
                piece = self._tls.read(_RECORD_BYTES)
                if piece:
                    pieces.append(piece)
                else:
                    self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.farewell = self._outgoing.read()
            raise self._refusal(error) from None
        return pieces

    def _check_first(self, data: bytes) -> None:
        if data[:1] == bytes([_HANDSHAKE_RECORD]) or not data:
            return
        if self._server_side and MAGIC.startswith(data[: len(MAGIC)]):
            self.farewell = NEEDS_TLS
            raise TlsError("the peer speaks without TLS, which this cluster needs", fault="PeerWithoutTls")
        if not self._server_side and data.startswith(HAS_NO_TLS[: len(data)]):
            raise TlsError("the peer has no TLS, which this process needs", fault="PeerWithoutTls")

    def _check_name(self) -> None:
        """An authority that serves others too (a shared issuer) vouches for more than the pods of Shoal clusters."""
        names = (self._tls.getpeercert() or {}).get("subjectAltName", ())
        if ("DNS", SERVER_NAME) not in names:
            raise TlsError(f"the peer's certificate is not made out for {SERVER_NAME!r}", fault="PeerRefused")

    def _refusal(self, error: ssl.SSLError) -> TlsError:
        reason = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            return TlsError(f"the peer's certificate is refused: {error.verify_message}", fault="PeerRefused")
        if reason in _NO_CERTIFICATE:
            if self._server_side:
                return TlsError("the peer shows no certificate", fault="PeerRefused")
            return TlsError("the peer asks for a certificate and got none", fault="RefusedByPeer")
        if "_ALERT_" in reason:
            words = reason.partition("_ALERT_")[2].replace("_", " ").lower()
            return TlsError(f"the peer refuses this process's certificate or TLS: {words}", fault="RefusedByPeer")
        if reason in _NOT_TLS and not self.established:
            return TlsError("the peer does not speak TLS", fault="PeerWithoutTls")
        return TlsError(f"the TLS stream is broken: {reason.replace('_', ' ').lower()}", fault="StreamBroken")


class TlsHandshake:
    """TLS first, then the challenge of the token inside of it: a ``Handshake`` of both."""

    def __init__(self, stream: TlsStream, inner: Handshake) -> None:
        self.done = False
        self.limit_seconds = inner.limit_seconds
        self._stream = stream
        self._inner = inner

    @property
    def farewell(self) -> bytes:
        """See ``Handshake``."""
        return self._stream.farewell

    def start(self) -> bytes:
        return self._stream.start()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        was_established = self._stream.established
        reply, plain = self._stream.feed(data)
        if self._stream.established and not was_established:
            reply += self._stream.encrypt(self._inner.start())
        rest = b""
        if plain:
            answer, rest = self._inner.feed(b"".join(plain))
            reply += self._stream.encrypt(answer)
        if self._stream.ended:
            raise TlsError("the peer ended the connection before the challenge was over", fault="RefusedByPeer")
        self.done = self._inner.done
        return reply, rest
