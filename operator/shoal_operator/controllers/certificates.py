"""The certificates of clusters with TLS: looks at them by name, and issues them or asks cert-manager to.

Invariants: Secrets are read by name and kept for a while (``secrets.py``); an authority is made
once and never overwritten; what somebody else made under a name of ours stays theirs; ``look`` and ``read`` write
nothing, and ``issue`` is called where a plan says so; a key is in no log, no plan and no message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.control.clock import Clock
from shoal_operator.controllers.secrets import SecretReader, decode, owner_uid
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
from shoal_operator.domain.names import Key, authority_secret_name, tls_secret_name
from shoal_operator.domain.plan import REQUEUE_SECONDS_MIN
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
WAIT_SECONDS_MIN: Final = 1.0
WAIT_SECONDS_MAX: Final = 30.0
"""While cert-manager has not answered: its Secret cannot be watched, so it is looked for, ever more rarely."""


class CertificatesError(Exception):
    """There are no usable certificates; the text says where and what to do."""


@dataclass(frozen=True)
class _Content:
    """What is in the Secret that pods mount."""

    certificates: Certificates | None
    leaf: LeafView | None
    problem: str
    """Why there is no leaf."""


class ClusterCertificates:
    """See the module.

    Args:
        client: of the API server.
        clock: for lifetimes, and for how long answers count.
    """

    def __init__(self, client: ApiClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._secrets = SecretReader(client, clock, _parse)
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
        known = await self._secrets.read((namespace, name), cluster_uid, fresh=fresh)
        if known is None or known.content.certificates is None:
            where = f"the Secret {namespace}/{name} (the cluster's certificate)"
            raise CertificatesError(f"{where} is missing" if known is None else f"{where}: {known.content.problem}")
        return known.content.certificates

    def forget(self, namespace: str, cluster: str) -> None:
        """The cluster is gone, or has no TLS any more."""
        key = (namespace, tls_secret_name(cluster))
        self._secrets.forget(key)
        self._waits.pop(key, None)
        self._requested.pop(key, None)

    # The operator's own authority

    async def _look_at_own(self, cluster: ComputeCluster) -> CertificatesView:
        key, now = _key(cluster), self._clock.now()
        known = await self._secrets.read(key, cluster.metadata.uid)
        if known is not None and known.owner_uid != cluster.metadata.uid:
            self._secrets.forget(key)
            return _not_ours(*key)
        leaf = known.content.leaf if known else None
        renewal = decide_renewal(leaf, certificate_names(cluster), now)
        if leaf is not None and is_usable(leaf, now):
            return replace(_ready(leaf, renewal.next_check_seconds), due=renewal.reason)
        view = _not_ready(Reason.WAITING_FOR_CERTIFICATE, f"issuing a certificate: {renewal.reason}", None)
        return replace(view, due=renewal.reason)

    async def _issue_own(self, cluster: ComputeCluster) -> tuple[bool, CertificatesView]:
        from shoal_operator.controllers.authority import CertificateError, issue_leaf, read_leaf

        key, now = _key(cluster), self._clock.now()
        known = await self._secrets.read(key, cluster.metadata.uid)
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
        self._secrets.keep(secret, cluster.metadata.uid)
        return True, _ready(read_leaf(leaf), REQUEUE_SECONDS_MIN)

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
        if owner_uid(secret) != cluster.metadata.uid:
            return None
        content = decode(secret)
        return Authority(content.get(CERTIFICATE_KEY, b""), content.get(PRIVATE_KEY, b""))

    # cert-manager

    async def _look_at_requested(self, cluster: ComputeCluster) -> CertificatesView:
        key = _key(cluster)
        if cluster.spec.security.tls.issuer_ref is None:
            return _not_ready(Reason.WAITING_FOR_CERTIFICATE, "spec.security.tls.issuerRef is missing", None)
        known = self._secrets.recall(key, cluster.metadata.uid)
        wanted, due = applied_hash(build_certificate_request(cluster)), ""
        if known is None or known.content.leaf is None or self._requested.get(key) != wanted:
            found = await self._certificate(key)
            if _applied(found) == wanted:
                self._requested[key] = wanted
            else:
                due = "what cert-manager was asked for is not what the cluster needs"
            known = await self._secrets.read(key, cluster.metadata.uid, fresh=True)
            if (known is None or known.content.leaf is None) and due:
                return replace(_not_ready(Reason.WAITING_FOR_CERTIFICATE, due, None), due=due)
            if known is None or known.content.leaf is None:
                return self._waiting(key, _words(found), known.content.problem if known else "")
        self._waits.pop(key, None)
        left = (known.content.leaf.not_after - self._clock.now()).total_seconds()
        if not is_usable(known.content.leaf, self._clock.now()):
            self._secrets.forget(key)
            fault = "has expired" if left <= 0 else f"is not made out for {SERVER_NAME}"
            text = f"the certificate in Secret {key[1]} {fault}; see `kubectl describe certificate {key[1]}`"
            return replace(_not_ready(Reason.CERTIFICATE_UNUSABLE, text, WAIT_SECONDS_MAX), due=due)
        return replace(_ready(known.content.leaf, min(RECHECK_SECONDS_MAX, left)), due=due)

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
        self._secrets.forget(key)
        count = self._waits[key] = min(self._waits.get(key, -1) + 1, 10)
        text = f"waiting for the Secret {key[1]}{f' ({problem})' if problem else ''}; {words}"
        seconds = min(WAIT_SECONDS_MAX, WAIT_SECONDS_MIN * 2**count)
        return _not_ready(Reason.WAITING_FOR_CERTIFICATE, text, seconds)


def _parse(data: Mapping[str, bytes]) -> _Content:
    from shoal.protocol.tls import Certificates
    from shoal_operator.controllers.authority import CertificateError, Leaf, read_leaf

    parts = (data.get(AUTHORITY_KEY, b""), data.get(CERTIFICATE_KEY, b""), data.get(PRIVATE_KEY, b""))
    try:
        return _Content(Certificates(*parts), read_leaf(Leaf(*parts)), "")
    except CertificateError as error:
        return _Content(None, None, str(error))


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


def _ready(leaf: LeafView, next_check_seconds: float | None) -> CertificatesView:
    text = f"what goes over the network is encrypted; the certificate ends {leaf.not_after:%Y-%m-%d}"
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
