"""Pod templates, proved by a strict dry run before any pod is made of them.

Invariants:
- one dry run per template, not per pod or pass: what the server said of it is remembered by what the user wrote, and
  clusters that are alike share it;
- only faults of the template itself count here (unknown fields, wrong values); a quota or a policy has its say when
  the pod is created;
- a template of which a pod exists is not asked about: an operator that starts again sends nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from shoal_operator.api.cluster import ComputeCluster, WorkerGroup
from shoal_operator.control.clock import Clock
from shoal_operator.domain.cluster.idleness import rests
from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.hashing import stable_hash
from shoal_operator.domain.labels import HEAD_GROUP, TEMPLATE_HASH
from shoal_operator.domain.manifests.pods import build_head_pod, worker_builder
from shoal_operator.domain.manifests.template_hash import group_hash, head_hash
from shoal_operator.domain.names import Key, head_pod_name, worker_pod_name
from shoal_operator.domain.pod_quantities import with_place
from shoal_operator.domain.refusals import Refusal, explain_refusal, is_about_template
from shoal_operator.domain.validation import validate_cluster
from shoal_operator.kube import errors
from shoal_operator.kube.client import ApiClient

VERDICTS_MAX: Final = 4_096
"""Templates that are remembered; the least recently used ones are forgotten."""
UNDECIDED_SECONDS: Final = 30.0
"""A template of which the server said nothing (a quota refused the pod first) is asked about again after this."""

_ABOUT_A_POD: Final = re.compile(r'^Pod "[^"]*" is invalid: ')

Json = dict[str, Any]


@dataclass(frozen=True)
class _Verdict:
    words: str
    """Of the server, about a template that it does not take; empty: it takes it."""
    until: float | None = None


@dataclass(frozen=True)
class _Template:
    group: str
    pod_name: str
    """Of the first pod that would be made of it."""
    identity: str
    """Hash of what the user wrote."""
    build: Callable[[], Json]


class TemplateChecks:
    """What the API server thinks of templates."""

    def __init__(self, client: ApiClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._verdicts: OrderedDict[str, _Verdict] = OrderedDict()

    async def faults(self, key: Key, cluster: ComputeCluster, pods: tuple[PodView, ...]) -> tuple[Refusal, ...]:
        """The templates of the cluster that the server does not take; asks about those that are new.

        Args:
            key: namespace and name.
            cluster: the object.
            pods: the pods that are there.
        """
        if rests(cluster) or cluster.metadata.deletion_timestamp is not None or validate_cluster(cluster.spec):
            return ()
        templates = list(_templates(cluster))
        unknown = [template for template in templates if not self._is_known(template)]
        fresh = {template.identity: template for template in unknown}
        await asyncio.gather(*(self._ask(key[0], template, pods) for template in fresh.values()))
        found = []
        for template in templates:
            verdict = self._verdicts.get(template.identity)
            if verdict is not None and verdict.words:
                found.append(explain_refusal(template.group, template.pod_name, 0, verdict.words))
        return tuple(found)

    def _is_known(self, template: _Template) -> bool:
        verdict = self._verdicts.get(template.identity)
        if verdict is None or (verdict.until is not None and verdict.until <= self._clock.monotonic()):
            return False
        self._verdicts.move_to_end(template.identity)
        return True

    async def _ask(self, namespace: str, template: _Template, pods: tuple[PodView, ...]) -> None:
        pod = template.build()
        label = pod["metadata"]["labels"][TEMPLATE_HASH]
        if any(view.template_hash == label and view.group == template.group for view in pods):
            self._keep(template, _Verdict(""))
            return
        placed = {**pod, "metadata": {**pod["metadata"], "namespace": namespace}}
        try:
            await self._client.try_creation(placed)
        except errors.AlreadyExistsError:
            self._keep(template, _Verdict(""))
        except errors.ApiError as error:
            refusal = explain_refusal(template.group, template.pod_name, error.code, error.message)
            if isinstance(error, errors.InvalidError) and is_about_template(refusal):
                self._keep(template, _Verdict(_words(error.message, pod)))
            else:
                self._keep(template, _Verdict("", self._clock.monotonic() + UNDECIDED_SECONDS))
        else:
            self._keep(template, _Verdict(""))

    def _keep(self, template: _Template, verdict: _Verdict) -> None:
        self._verdicts[template.identity] = verdict
        self._verdicts.move_to_end(template.identity)
        while len(self._verdicts) > VERDICTS_MAX:
            self._verdicts.popitem(last=False)


def _words(message: str, pod: Json) -> str:
    """What the server said, without the name of a pod that was never there, and with the place where it left it out."""
    return with_place(_ABOUT_A_POD.sub("", message), pod)


def _templates(cluster: ComputeCluster) -> Iterator[_Template]:
    name = cluster.metadata.name
    build_head = partial(build_head_pod, cluster)
    identity = _identity(head_hash(cluster), cluster.spec.head.template)
    yield _Template(HEAD_GROUP, head_pod_name(name), f"head {identity}", build_head)
    for group in cluster.spec.worker_groups:
        first, identity = worker_pod_name(name, group.name, 0), _identity(group_hash(cluster, group), group.template)
        yield _Template(group.name, first, f"worker {identity}", partial(_first_worker, cluster, group))


def _identity(template_hash: str, template: Json | None) -> str:
    """The hash of a template leaves out what is empty; here that counts too: an empty field may be an unknown one."""
    return f"{template_hash} {stable_hash(template)}"


def _first_worker(cluster: ComputeCluster, group: WorkerGroup) -> Json:
    return worker_builder(cluster, group)(0)
