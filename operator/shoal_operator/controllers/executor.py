"""Carries out a plan, in the plan's order. It decides nothing but what a refused write means for the rest.

Invariants:
- expectations are raised before a write is sent and lowered when it is known to have failed;
- a write that finds its effect there already (AlreadyExists, NotFound on delete, a UID that moved on) is no
  error: the key is looked at again with fresh eyes;
- a refusal for what an object is (a bad template, a quota) becomes a condition and a rare retry, not a hot loop; one
  for a kind that the server has yet to learn becomes a condition, too, and is retried steadily;
- a head is never waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeGuard

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.control.clock import Clock
from shoal_operator.control.expectations import Expectations
from shoal_operator.control.passes import note_uid
from shoal_operator.control.slow_start import SlowStartOutcome, in_parallel, slow_start
from shoal_operator.controllers.certificates import ClusterCertificates
from shoal_operator.controllers.tokens import ClusterTokens
from shoal_operator.controllers.world import World
from shoal_operator.domain import labels
from shoal_operator.domain.cluster.certificates import CertificatesView, issued_event
from shoal_operator.domain.cluster.drains import read_drain
from shoal_operator.domain.cluster.explanation import rule_of
from shoal_operator.domain.names import Key
from shoal_operator.domain.plan import EventRecord, Manifest, ObjectRef, Plan, PodAnnotation, PodDeletion
from shoal_operator.domain.refusals import KINDS_ARE_NEW, Refusal, explain_refusal
from shoal_operator.heads.pool import HeadPool
from shoal_operator.kube import errors
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.events import EventSink
from shoal_operator.kube.judge import REFUSED_RETRY_SECONDS
from shoal_operator.kube.resources import PODS, resource_of

logger = logging.getLogger(__name__)

Json = dict[str, Any]


class PodMetrics(Protocol):
    """What an executor reports. ``telemetry.metrics`` implements it."""

    def observe_pod_creation(self, role: str, result: str) -> None:
        """A pod was asked for; ``result``: created, exists, refused or failed."""
        ...

    def observe_pod_deletion(self, reason: str) -> None:
        """A pod was deleted."""
        ...

    def observe_worker_added(self, rule: str) -> None:
        """A worker's pod was created, because of ``rule``."""
        ...

    def observe_drain(self, reason: str) -> None:
        """A worker's drain began."""
        ...

    def observe_decision(self, seconds: float) -> None:
        """The plan of a cluster was made."""
        ...


class Uncounted:
    """Reports nothing."""

    def observe_pod_creation(self, role: str, result: str) -> None: ...

    def observe_pod_deletion(self, reason: str) -> None: ...

    def observe_worker_added(self, rule: str) -> None: ...

    def observe_drain(self, reason: str) -> None: ...

    def observe_decision(self, seconds: float) -> None: ...


UNCOUNTED: Final = Uncounted()
NEW_KINDS_RETRY_SECONDS: Final = 2.0
"""Not a back-off: it would soon wait longer than the server takes to learn the kinds."""


@dataclass
class Execution:
    """What came of a plan.

    Attributes:
        retry: something was not as expected: look again after the key's back-off.
        refusals: what the server refuses for good, in its words.
        refused: the groups of which it refuses pods; the others are not held up by that.
        awaits_kinds: some of ``refusals`` pass once the server knows the kinds of the objects' owners.
        certificates: what there is of them since one was to be issued; None: none was.
    """

    retry: bool = False
    refusals: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    awaits_kinds: bool = False
    certificates: CertificatesView | None = None


@dataclass(frozen=True)
class Executor:
    """Everything a plan can need. One for each root kind: expectations are by key."""

    client: ApiClient
    world: World
    heads: HeadPool
    tokens: ClusterTokens
    certificates: ClusterCertificates
    events: EventSink
    expectations: Expectations[Key]
    clock: Clock
    metrics: PodMetrics = UNCOUNTED

    async def execute(self, plan: Plan, root: Json) -> Execution:
        """Do what the plan says for ``root``, an object as the server has it.

        Raises:
            ApiError: a write failed in a way that is worth trying again; the rest of the plan was not done.
        """
        task = _Execution(self, root)
        await task.run(plan)
        return task.outcome

    def record(self, root: Json, event: EventRecord) -> None:
        """Tell of a transition of ``root``."""
        self.events.record(root, type_=event.type, reason=str(event.reason), message=event.message, action=event.action)

    def apply_status(self, root: Json, status: Json) -> Awaitable[bool]:
        """Write the status when it differs from what the object has. Returns whether it was written."""
        return _Execution(self, root).apply_status(status)


class _Execution:
    """One plan for one root object."""

    def __init__(self, shell: Executor, root: Json) -> None:
        self._shell = shell
        self._root = root
        note_uid(root["metadata"].get("uid"))
        self._namespace: str = root["metadata"]["namespace"]
        self._key: Key = (self._namespace, root["metadata"]["name"])
        self.outcome = Execution()

    async def run(self, plan: Plan) -> None:
        if plan.finalizers is not None:
            await self._set_finalizers(plan.finalizers)
        self._settle(await in_parallel(plan.delete_pods, self._delete_pod))
        self._settle(await in_parallel(plan.annotate_pods, self._annotate_pod))
        for manifest in plan.create:
            await self._create_once(manifest)
        if plan.issue_certificate:
            await self._issue_certificate(plan.issue_certificate)
        for manifest in plan.apply:
            await self._apply(manifest)
        await self._create_pods(plan.create_pods)
        for reference in plan.delete:
            await self._delete(reference)
        for command in plan.head_commands:
            self._shell.heads.submit((self._namespace, command.cluster), command)
        self._shell.heads.record(self._key, plan.decisions)
        for event in plan.events:
            self._shell.record(self._root, event)

    async def apply_status(self, status: Json) -> bool:
        if self._root.get("status") == status:
            return False
        body = self._identity() | {"status": status}
        try:
            self._shell.world.refresh(await self._shell.client.apply_status(body))
        except errors.NotFoundError:
            return False  # deleted meanwhile; its DELETED event follows
        return True

    async def _create_pods(self, manifests: Sequence[Manifest]) -> None:
        """The head, then the groups side by side: what is refused in one stops no other.

        Where a quota has room for few pods, none of its workers shall take the head's place.
        """
        groups: dict[str, list[Manifest]] = {}
        for manifest in manifests:
            groups.setdefault(str(manifest["metadata"].get("labels", {}).get(labels.GROUP, "")), []).append(manifest)
        groups = {name: groups[name] for name in sorted(groups, key=lambda name: name != labels.HEAD_GROUP)}
        first = [await slow_start(groups[labels.HEAD_GROUP], self._create_pod)] if labels.HEAD_GROUP in groups else []
        rest = [pods for name, pods in groups.items() if name != labels.HEAD_GROUP]
        outcomes = [*first, *await asyncio.gather(*(slow_start(pods, self._create_pod) for pods in rest))]
        for group, outcome in zip(groups, outcomes, strict=True):
            refused = [(pod, error) for pod, error in outcome.failed if _is_refusal(error)]
            for pod, error in refused[:1]:
                refusal = explain_refusal(group, pod["metadata"]["name"], error.code, error.message)
                self.outcome.refused = (*self.outcome.refused, refusal)
            self.outcome.retry |= bool(outcome.skipped) and not refused
        for outcome in outcomes:
            self._settle(outcome)

    async def _create_pod(self, manifest: Manifest) -> None:
        name = manifest["metadata"]["name"]
        role, result = str(manifest["metadata"].get("labels", {}).get(labels.ROLE, "")), "failed"
        try:
            await self._expecting_creation(f"Pod/{name}", lambda: self._shell.client.create(self._placed(manifest)))
            result = "created"
            if role == labels.ROLE_WORKER:
                self._shell.metrics.observe_worker_added(rule_of(manifest))
        except errors.AlreadyExistsError:
            result = "exists"
            raise
        except (errors.InvalidError, errors.ForbiddenError):
            result = "refused"
            raise
        finally:
            self._shell.metrics.observe_pod_creation(role, result)

    async def _create_once(self, manifest: Manifest) -> None:
        try:
            created = await self._shell.client.create(self._placed(manifest))
        except errors.AlreadyExistsError:
            if manifest["kind"] == "Secret":
                raise  # it may be an earlier cluster's, on its way out: no pod starts with that one's token
            self.outcome.retry = True
            return
        except (errors.InvalidError, errors.ForbiddenError, errors.NotMappedError) as error:
            self._refused(f"cannot create {manifest['kind']}/{manifest['metadata']['name']}", error)
            return
        if created.get("kind") == "Secret":
            self._shell.tokens.note(created, self._root["metadata"]["uid"])

    async def _issue_certificate(self, reason: str) -> None:
        try:
            is_issued, view = await self._shell.certificates.issue(ComputeCluster.parse(self._root))
        except errors.NotMappedError as error:
            self._refused("cannot keep a certificate", error)
            return
        self.outcome.certificates = view
        if is_issued:
            self._shell.record(self._root, issued_event(reason))

    async def _apply(self, manifest: Manifest) -> None:
        placed = self._placed(manifest)
        name = f"{placed['kind']}/{placed['metadata']['name']}"
        try:
            if self._shell.world.knows(placed):
                self._shell.world.refresh(await self._shell.client.apply(placed))
            else:  # without force: what somebody else made under this name is not taken over
                await self._expecting_creation(name, lambda: self._shell.client.apply(placed, force=False))
        except (errors.InvalidError, errors.ForbiddenError, errors.FieldConflictError, errors.NotMappedError) as error:
            self._refused(f"cannot apply {name}", error)

    async def _expecting_creation(self, name: str, write: Callable[[], Awaitable[Json]]) -> None:
        expectations = self._shell.expectations
        expectations.expect_created(self._key, name, self._shell.clock.monotonic())
        try:
            await write()
        except BaseException:
            expectations.saw(self._key, name)
            raise

    async def _delete_pod(self, deletion: PodDeletion) -> None:
        expectations = self._shell.expectations
        expectations.expect_deleted(self._key, deletion.uid, self._shell.clock.monotonic())
        try:
            await self._shell.client.delete(PODS, self._namespace, deletion.name, uid=deletion.uid)
        except errors.NotFoundError:
            expectations.saw_gone(self._key, deletion.uid)
            return
        except BaseException:
            expectations.saw_gone(self._key, deletion.uid)
            raise
        self._shell.metrics.observe_pod_deletion(deletion.reason)
        said = {"reason": deletion.reason}
        logger.info("deleted pod %s/%s: %s", self._namespace, deletion.name, deletion.reason, extra=said)

    async def _set_finalizers(self, finalizers: Sequence[str]) -> None:
        """Conditional on the version that was looked at: the list is replaced, and others have theirs in it."""
        identity = {name: self._root["metadata"][name] for name in ("uid", "resourceVersion")}
        patch = {"metadata": {**identity, "finalizers": list(finalizers)}}
        resource = resource_of(self._root)
        try:
            answer = await self._shell.client.merge(resource, *self._key, patch)
        except (errors.ConflictError, errors.NotFoundError):
            self.outcome.retry = True
            return
        version = str(answer["metadata"].get("resourceVersion"))
        if answer.get("kind") == self._root["kind"] and not _is_gone(answer):
            self._shell.world.refresh(answer)
            # Nobody wrote between the version that was looked at and this one: the status of this pass may follow it.
            # (After the store was told: it compares versions with this very object.)
            self._root["metadata"] = {**self._root["metadata"], "resourceVersion": version}

    async def _annotate_pod(self, annotation: PodAnnotation) -> None:
        patch = {"metadata": {"uid": annotation.uid, "annotations": dict(annotation.annotations)}}
        self._shell.world.refresh(await self._shell.client.merge(PODS, self._namespace, annotation.name, patch))
        drain = read_drain(annotation.annotations.get(labels.DRAIN) or "")
        if drain is not None:
            self._shell.metrics.observe_drain(drain.reason)

    async def _delete(self, reference: ObjectRef) -> None:
        resource = resource_of({"apiVersion": reference.api_version, "kind": reference.kind})
        try:
            await self._shell.client.delete(resource, self._namespace, reference.name, uid=reference.uid)
        except errors.NotFoundError:
            return
        except errors.ConflictError:
            self.outcome.retry = True  # another object has the name by now
        else:
            logger.info("deleted %s %s/%s", reference.kind, self._namespace, reference.name)

    def _settle(self, outcome: SlowStartOutcome[Any]) -> None:
        """Conflicts and absences: look again. Refusals are left to the caller. All else ends the pass."""
        for _, error in outcome.failed:
            if isinstance(error, errors.ConflictError | errors.NotFoundError):
                self.outcome.retry = True
            elif not _is_refusal(error):
                raise error

    def _refused(self, what: str, error: errors.ApiError) -> None:
        message = f"{what}: {error}"
        if isinstance(error, errors.NotMappedError):
            message, self.outcome.awaits_kinds = f"{message}; {KINDS_ARE_NEW}", True
        self.outcome.refusals = (*self.outcome.refusals, message)

    def _placed(self, manifest: Manifest) -> Json:
        """The manifest in the root's namespace (plans are about one namespace and may leave it out)."""
        return {**manifest, "metadata": {"namespace": self._namespace, **manifest["metadata"]}}

    def _identity(self) -> Json:
        """Of the version that was looked at.

        A status continues the one before it (attempts, outcomes, times), so one made from an older version, by a stale
        cache or by a leader that is none any more, must not replace it.
        """
        metadata = {name: self._root["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
        return {"apiVersion": self._root["apiVersion"], "kind": self._root["kind"], "metadata": metadata}


def _is_gone(document: Json) -> bool:
    metadata = document["metadata"]
    return bool(metadata.get("deletionTimestamp")) and not metadata.get("finalizers")


def _is_refusal(error: Exception) -> TypeGuard[errors.ApiError]:
    """Whether the server does not take the object; an admission that is away or not ready is one of its reasons."""
    if isinstance(error, errors.UnavailableError):
        return isinstance(error, errors.NotMappedError) or "failed calling webhook" in error.message
    return isinstance(error, errors.InvalidError | errors.ForbiddenError)


def retry_seconds(execution: Execution, planned: float | None) -> float | None:
    """When to look again: as planned, and rarely while something is refused for good."""
    if not execution.refusals:
        return planned
    seconds = NEW_KINDS_RETRY_SECONDS if execution.awaits_kinds else REFUSED_RETRY_SECONDS
    return seconds if planned is None else min(planned, seconds)
