"""What keeps a cluster's pods from running and stands in no store: refused creations, bad templates, Events of pods.

Invariant: it only adds to what a pass observes; every decision is made from the observation, by the domain.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from shoal_operator.control.clock import Clock
from shoal_operator.controllers.executor import Execution
from shoal_operator.controllers.pod_notices import PodNotices
from shoal_operator.controllers.refusals import Refusals
from shoal_operator.controllers.templates import TemplateChecks
from shoal_operator.domain.cluster.observed import ClusterObservation
from shoal_operator.domain.labels import GROUP
from shoal_operator.domain.names import Key
from shoal_operator.domain.plan import Plan
from shoal_operator.kube.client import ApiClient

SOON_SECONDS: Final = 0.2
"""After a group turned out to be refused, others may step in: look again at once."""


class Obstacles:
    """Kept by cluster.

    Args:
        client: the API server.
        clock: the time.
        rng: for the jitter of back-offs.
        wake: called with a cluster when Events have told something new.
    """

    def __init__(self, client: ApiClient, clock: Clock, rng: random.Random, wake: Callable[[Key], None]) -> None:
        self._refusals = Refusals(clock, rng)
        self._templates = TemplateChecks(client, clock)
        self._notices = PodNotices(client, clock, rng, wake)

    async def run(self) -> None:
        """Look up Events until cancelled."""
        await self._notices.run()

    async def add_to(self, key: Key, observed: ClusterObservation) -> tuple[ClusterObservation, float | None]:
        """The observation with what is known, and the seconds after which there may be more."""
        cluster = observed.cluster
        faults = await self._templates.faults(key, cluster, observed.pods)
        faulty = {fault.group for fault in faults}
        standing = self._refusals.standing(key, cluster.metadata.generation)
        pods, wait = self._notices.add_to(key, observed.pods)
        refusals = (*faults, *(refusal for refusal in standing if refusal.group not in faulty))
        return replace(observed, pods=pods, refusals=refusals), wait

    def note(
        self, key: Key, observed: ClusterObservation, plan: Plan, execution: Execution
    ) -> tuple[ClusterObservation, float | None]:
        """The observation with what the plan's execution has shown, and when to look again because of it."""
        generation = observed.cluster.metadata.generation
        tried = {str(pod["metadata"]["labels"][GROUP]) for pod in plan.create_pods}
        is_news = self._refusals.note(key, generation, tried, execution.refused)
        wait = SOON_SECONDS if is_news else self._refusals.retry_seconds(key)
        if not execution.refused:
            return observed, wait
        fresh = {refusal.group for refusal in execution.refused}
        kept = tuple(refusal for refusal in observed.refusals if refusal.group not in fresh)
        return replace(observed, refusals=(*kept, *execution.refused)), wait

    def forget(self, key: Key) -> None:
        """The cluster is gone."""
        self._refusals.forget(key)
        self._notices.forget(key)
