"""The certificates of clusters with TLS: looks at them by name, and issues them or asks cert-manager to.

Invariants: Secrets are read by name, never listed or watched, and kept at most ``KEEP_SECONDS``; an authority is made
once and never overwritten; what somebody else made under a name of ours stays theirs; ``look`` and ``read`` write
nothing, and ``issue`` is called where a plan says so; a key is in no log, no plan and no message.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.control.clock import Clock
from shoal_operator.domain.cluster.certificates import (
    RECHECK_SECONDS_MAX,
    SERVER_NAME,
    UNENCRYPTED,
    CertificatesView,
    LeafView,
    certificate_names,
    decide_renewal,
    is_usable,
)
from shoal_operator.domain.labels import APPLIED_HASH
from shoal_operator.domain.manifests.certificates import (
    AUTHORITY_KEY,
    CERTIFICATE_KEY,
    PRIVATE_KEY,
    build_authority_secret,
    build_certificate_request,
    build_tls_secret,
)
from shoal_operator.domain.manifests.owners import applied_hash
from shoal_operator.domain.names import authority_secret_name, tls_secret_name
from shoal_operator.domain.reasons import Reason
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.errors import (
    AlreadyExistsError,
    ApiError,
    FieldConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from shoal_operator.kube.judge import REFUSED_RETRY_SECONDS
from shoal_operator.kube.resources import CERTIFICATES, SECRETS

if TYPE_CHECKING:
    from shoal.protocol.tls import Certificates
    from shoal_operator.controllers.authority import Authority

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name of the Secret that pods mount."""

KEEP_SECONDS: Final = 600.0
AT_ONCE_SECONDS: Final = 0.2
"""Until the next pass, when there is a certificate at last that pods wait for."""
WAIT_SECONDS_MIN: Final = 1.0
WAIT_SECONDS_MAX: Final = 30.0
"""While cert-manager has not answered: its Secret cannot be watched, so it is looked for, ever more rarely."""


class CertificatesError(Exception):
    """There are no usable certificates; the text says where and what to do."""


@dataclass(frozen=True)
class _Known:
    """What the Secret of one cluster object says."""

    cluster_uid: str
    until: float
    certificates: Certificates | None
    leaf: LeafView | None
    problem: str
    """Why there is no leaf, when the Secret is there."""
    owner_uid: str


class ClusterCertificates:
    """See the module.

    Args:
        client: of the API server.
        clock: for lifetimes, and for how long answers count.
    """

    def __init__(self, client: ApiClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[Key, _Known] = {}
        self._waits: dict[Key, int] = {}
        self._requested: dict[Key, str] = {}  # hash of the Certificate that was seen or applied last

    async def look(self, cluster: ComputeCluster) -> CertificatesView:
        """Say whether the cluster's pods have a certificate, and whether a new one is due. Writes nothing.

        Raises:
            ApiError: the API server did not answer, or something was not as expected: try again.
        """
        mode = cluster.spec.security.tls.mode
        if mode == "None" or cluster.metadata.deletion_timestamp is not None:
            self.forget(cluster.metadata.namespace, cluster.metadata.name)
            return replace(UNENCRYPTED, message="spec.security.tls.mode is None")
        try:
            return await (self._look_at_own(cluster) if mode == "Operator" else self._look_at_requested(cluster))
        except ForbiddenError as error:
            return _refused(error)

    async def issue(self, cluster: ComputeCluster) -> tuple[bool, CertificatesView]:
        """Issue what is due, or ask cert-manager for it.

        Returns:
            Whether a certificate was issued here, and what there is now.

        Raises:
            ApiError: the API server did not answer, or something was not as expected: try again.
        """
        try:
            if cluster.spec.security.tls.mode == "Operator":
                return await self._issue_own(cluster)
            return False, await self._request(cluster)
        except (ForbiddenError, InvalidError, FieldConflictError) as error:
            return False, _refused(error)

    async def read(self, namespace: str, name: str, cluster_uid: str, *, fresh: bool) -> Certificates:
        """The certificates of a cluster's pods, for a connection to its head.

        Raises:
            CertificatesError: the Secret is missing, or holds none that can be used.
            ApiError: the API server did not answer.
        """
        known = await self._secret((namespace, name), cluster_uid, fresh=fresh)
        if known is None or known.certificates is None:
            where = f"the Secret {namespace}/{name} (the cluster's certificate)"
            raise CertificatesError(f"{where} is missing" if known is None else f"{where}: {known.problem}")
        return known.certificates

    def forget(self, namespace: str, cluster: str) -> None:
        """The cluster is gone, or has no TLS any more."""
        key = (namespace, tls_secret_name(cluster))
        self._known.pop(key, None)
        self._waits.pop(key, None)
        self._requested.pop(key, None)

    # The operator's own authority

    async def _look_at_own(self, cluster: ComputeCluster) -> CertificatesView:
        key, now = _key(cluster), self._clock.now()
        known = await self._secret(key, cluster.metadata.uid)
        if known is not None and known.owner_uid != cluster.metadata.uid:
            self._known.pop(key, None)
            return _not_ours(*key)
        leaf = known.leaf if known else None
        renewal = decide_renewal(leaf, certificate_names(cluster), now)
        if leaf is not None and is_usable(leaf, now):
            return replace(_ready(known, renewal.next_check_seconds), due=renewal.reason)
        view = _not_ready(Reason.WAITING_FOR_CERTIFICATE, f"issuing a certificate: {renewal.reason}", None)
        return replace(view, due=renewal.reason)

    async def _issue_own(self, cluster: ComputeCluster) -> tuple[bool, CertificatesView]:
        from shoal_operator.controllers.authority import CertificateError, issue_leaf

        key, now = _key(cluster), self._clock.now()
        known = await self._secret(key, cluster.metadata.uid)
        if known is not None and known.owner_uid != cluster.metadata.uid:
            return False, _not_ours(*key)
        authority = await self._authority(cluster)
        if authority is None:
            return False, _not_ours(key[0], authority_secret_name(cluster.metadata.name))
        try:
            leaf = issue_leaf(authority, certificate_names(cluster), now)
        except CertificateError as error:
            hint = "delete it, and a new one is made; pods that run then need to be made anew"
            where = f"{key[0]}/{authority_secret_name(cluster.metadata.name)}"
            text = f"the Secret {where} is unusable: {error} (hint: {hint})"
            return False, _not_ready(Reason.CERTIFICATE_UNUSABLE, text, REFUSED_RETRY_SECONDS)
        parts = (leaf.authority_pem, leaf.certificate_pem, leaf.key_pem)
        secret = await self._client.apply(build_tls_secret(cluster, *parts), force=known is not None)
        return True, _ready(self._remember(key, cluster.metadata.uid, secret), AT_ONCE_SECONDS)

    async def _authority(self, cluster: ComputeCluster) -> Authority | None:
        """The cluster's authority, made when there is none; None while the name is taken."""
        from shoal_operator.controllers.authority import Authority, new_authority

        namespace, name = cluster.metadata.namespace, authority_secret_name(cluster.metadata.name)
        try:
            secret = await self._client.get(SECRETS, namespace, name)
        except NotFoundError:
            made = new_authority(cluster.metadata.name, self._clock.now())
            manifest = build_authority_secret(cluster, made.certificate_pem, made.key_pem)
            try:
                secret = await self._client.create(manifest)
            except AlreadyExistsError:  # of another operator, a moment ago: there is one authority, and it is that one
                secret = await self._client.get(SECRETS, namespace, name)
        if _owner_uid(secret) != cluster.metadata.uid:
            return None
        content = _content(secret)
        return Authority(content[CERTIFICATE_KEY], content[PRIVATE_KEY])

    # cert-manager

    async def _look_at_requested(self, cluster: ComputeCluster) -> CertificatesView:
        key = _key(cluster)
        if cluster.spec.security.tls.issuer_ref is None:
            return _not_ready(Reason.WAITING_FOR_CERTIFICATE, "spec.security.tls.issuerRef is missing", None)
        known = self._valid(key, cluster.metadata.uid)
        wanted, due = applied_hash(build_certificate_request(cluster)), ""
        if known is None or known.leaf is None or self._requested.get(key) != wanted:
            found = await self._certificate(key)
            if _applied(found) == wanted:
                self._requested[key] = wanted
            else:
                due = "what cert-manager was asked for is not what the cluster needs"
            known = await self._secret(key, cluster.metadata.uid, fresh=True)
            if (known is None or known.leaf is None) and due:
                return replace(_not_ready(Reason.WAITING_FOR_CERTIFICATE, due, None), due=due)
            if known is None or known.leaf is None:
                return self._waiting(key, _words(found), known.problem if known else "")
        self._waits.pop(key, None)
        left = (known.leaf.not_after - self._clock.now()).total_seconds() if known.leaf else 0.0
        if known.leaf is None or not is_usable(known.leaf, self._clock.now()):
            self._known.pop(key, None)
            fault = "has expired" if left <= 0 else f"is not made out for {SERVER_NAME}"
            text = f"the certificate in Secret {key[1]} {fault}; see `kubectl describe certificate {key[1]}`"
            return replace(_not_ready(Reason.CERTIFICATE_UNUSABLE, text, WAIT_SECONDS_MAX), due=due)
        return replace(_ready(known, min(RECHECK_SECONDS_MAX, left)), due=due)

    async def _request(self, cluster: ComputeCluster) -> CertificatesView:
        """Apply the Certificate: by force only over one that is known to be ours."""
        key, wanted = _key(cluster), build_certificate_request(cluster)
        before = _applied(await self._certificate(key))
        try:
            await self._client.apply(wanted, force=before is not None)
        except NotFoundError:
            words = "the API server has no kind Certificate: install cert-manager, or use mode Operator"
            return self._waiting(key, words, "")
        self._requested[key] = applied_hash(wanted)
        return await self._look_at_requested(cluster)

    async def _certificate(self, key: Key) -> Json:
        try:
            return await self._client.get(CERTIFICATES, *key)
        except NotFoundError:
            return {}

    def _waiting(self, key: Key, words: str, problem: str) -> CertificatesView:
        self._known.pop(key, None)
        count = self._waits[key] = min(self._waits.get(key, -1) + 1, 10)
        text = f"waiting for the Secret {key[1]}{f' ({problem})' if problem else ''}; {words}"
        seconds = min(WAIT_SECONDS_MAX, WAIT_SECONDS_MIN * 2**count)
        return _not_ready(Reason.WAITING_FOR_CERTIFICATE, text, seconds)

    # The Secret

    async def _secret(self, key: Key, cluster_uid: str, *, fresh: bool = False) -> _Known | None:
        known = None if fresh else self._valid(key, cluster_uid)
        if known is not None:
            return known
        try:
            secret = await self._client.get(SECRETS, *key)
        except NotFoundError:
            self._known.pop(key, None)
            return None
        return self._remember(key, cluster_uid, secret)

    def _valid(self, key: Key, cluster_uid: str) -> _Known | None:
        known = self._known.get(key)
        if known is None or known.cluster_uid != cluster_uid or self._clock.monotonic() >= known.until:
            return None
        return known

    def _remember(self, key: Key, cluster_uid: str, secret: Json) -> _Known:
        from shoal.protocol.tls import Certificates
        from shoal_operator.controllers.authority import CertificateError, Leaf, read_leaf

        content = _content(secret)
        parts = (content[AUTHORITY_KEY], content[CERTIFICATE_KEY], content[PRIVATE_KEY])
        leaf, problem, certificates = None, "", None
        try:
            leaf = read_leaf(Leaf(*parts))
            certificates = Certificates(*parts)
        except CertificateError as error:
            problem = str(error)
        until = self._clock.monotonic() + KEEP_SECONDS
        known = self._known[key] = _Known(cluster_uid, until, certificates, leaf, problem, _owner_uid(secret))
        return known


def _key(cluster: ComputeCluster) -> Key:
    return cluster.metadata.namespace, tls_secret_name(cluster.metadata.name)


def _applied(found: Json) -> str | None:
    """The hash of what the operator applied last; None: it applied nothing."""
    note = ((found.get("metadata") or {}).get("annotations") or {}).get(APPLIED_HASH)
    return None if note is None else str(note)


def _words(certificate: Json) -> str:
    """What cert-manager says of it."""
    conditions = (certificate.get("status") or {}).get("conditions") or []
    ready: Json = next((one for one in conditions if one.get("type") == "Ready"), {})
    return f"cert-manager says: {ready['message']}" if ready.get("message") else "cert-manager has not answered yet"


def _content(secret: Json) -> dict[str, bytes]:
    data = secret.get("data") or {}
    content = {}
    for name in (AUTHORITY_KEY, CERTIFICATE_KEY, PRIVATE_KEY):
        try:
            content[name] = base64.b64decode(data.get(name) or "", validate=True)
        except binascii.Error:
            content[name] = b""
    return content


def _owner_uid(secret: Json) -> str:
    owners = secret["metadata"].get("ownerReferences") or ()
    return next((str(owner.get("uid")) for owner in owners if owner.get("controller")), "")


def _ready(known: _Known | None, next_check_seconds: float | None) -> CertificatesView:
    end = f"; the certificate ends {known.leaf.not_after:%Y-%m-%d}" if known is not None and known.leaf else ""
    text = f"what goes over the network is encrypted{end}"
    return CertificatesView(is_needed=True, is_ready=True, message=text, next_check_seconds=next_check_seconds)


def _not_ready(reason: Reason, message: str, next_check_seconds: float | None) -> CertificatesView:
    return CertificatesView(
        is_needed=True, is_ready=False, reason=reason, message=message, next_check_seconds=next_check_seconds
    )


def _refused(error: ApiError) -> CertificatesView:
    return _not_ready(Reason.WRITE_REFUSED, f"the certificate cannot be kept: {error}", REFUSED_RETRY_SECONDS)


def _not_ours(namespace: str, name: str) -> CertificatesView:
    text = f"the Secret {namespace}/{name} belongs to something else; waiting for it to go (or delete it)"
    return _not_ready(Reason.CERTIFICATE_UNUSABLE, text, 5.0)
