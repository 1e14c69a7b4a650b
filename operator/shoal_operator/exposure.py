"""What the operator shows of itself: numbers, pages, and who may read them.

Invariant: everything here is read when somebody asks, and nothing of it decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from shoal_operator.control.clock import Clock
from shoal_operator.control.controller import Controller
from shoal_operator.controllers.world import World
from shoal_operator.domain.head import HeadView
from shoal_operator.domain.names import Key
from shoal_operator.heads.pool import HeadPool
from shoal_operator.kube.informer import Informer
from shoal_operator.kube.store import Change, ChangeType, Store
from shoal_operator.telemetry import catalogue
from shoal_operator.telemetry.health import Health
from shoal_operator.telemetry.metrics import CONTENT_TYPE, Metrics
from shoal_operator.telemetry.milestones import Milestones
from shoal_operator.telemetry.server import Page
from shoal_operator.telemetry.state import StateCollector, StateSources

UNAVAILABLE = "503 Service Unavailable"


class Exposure:
    """Joins the parts of one operator to its metrics.

    Args:
        metrics: where they are kept.
        world: the stores.
        heads: the links.
        is_leader: whether this process speaks for the world.
        clock: the time.
        per_object: gauges for each object as well.
    """

    def __init__(
        self,
        metrics: Metrics,
        world: World,
        heads: HeadPool,
        *,
        is_leader: Callable[[], bool],
        clock: Clock,
        per_object: bool,
    ) -> None:
        self._metrics = metrics
        self._world = world
        self._heads = heads
        self._milestones = Milestones(metrics, is_leader=is_leader, now=clock.now)
        world.clusters.subscribe(self._on_cluster)
        world.jobs.subscribe(self._on_job)
        sources = StateSources(
            clusters=lambda: _objects(world.clusters),
            jobs=lambda: _objects(world.jobs),
            waiting=lambda: sum(demand.count for view in heads.views() for demand in view.demands),
            is_leader=is_leader,
            now=clock.now,
        )
        metrics.registry.register(StateCollector(sources, per_object=per_object))
        metrics.sample(catalogue.HEAD_LINKS, heads.link_states)

    def publish_controllers(self, controllers: Sequence[Controller[Key]]) -> None:
        """Show the queues."""
        queues = {controller.name: controller.queue for controller in controllers}
        sample = self._metrics.sample
        sample(catalogue.QUEUE_DEPTH, lambda: {name: queue.depth for name, queue in queues.items()})
        sample(catalogue.QUEUE_UNFINISHED, lambda: {name: queue.unfinished_seconds() for name, queue in queues.items()})
        sample(
            catalogue.QUEUE_LONGEST, lambda: {name: queue.longest_running_seconds() for name, queue in queues.items()}
        )

    def publish_informers(self, informers: Sequence[Informer]) -> None:
        """Show what is watched; of several informers of a kind, the one that is worst off."""
        sample = self._metrics.sample
        feeds = self._world.feeds()
        sample(catalogue.INFORMER_OBJECTS, lambda: {resource.kind: len(store) for resource, store, _ in feeds})
        sample(catalogue.INFORMER_AGE, lambda: _worst(informers, lambda each: each.silent_seconds()))
        sample(catalogue.INFORMER_SYNCED, lambda: {kind: 1 - late for kind, late in _worst(informers, _late).items()})

    def on_head_view(self, key: Key, view: HeadView | None) -> None:
        """A head said something: nodes that are new have joined."""
        if view is not None and view.reachable:
            created = {pod.name: pod.created for pod in self._world.pods_of(key)}
            nodes = ((node.node_id, created.get(node.pod_name)) for node in view.nodes if node.alive)
            self._milestones.on_nodes(key, [(node, at) for node, at in nodes if at is not None])

    def _on_cluster(self, change: Change) -> None:
        if change.type is ChangeType.DELETED:
            self._milestones.forget(change.name)
        else:
            self._milestones.on_cluster(change.old, change.obj)

    def _on_job(self, change: Change) -> None:
        if change.type is not ChangeType.DELETED:
            self._milestones.on_job(change.old, change.obj)


def health_pages(metrics: Metrics, health: Health) -> Mapping[str, Callable[[], Page]]:
    """The pages by path."""
    return {
        "/metrics": lambda: Page("200 OK", metrics.render(), CONTENT_TYPE, is_private=True),
        "/healthz": lambda: _verdict(health.problem()),
        "/readyz": lambda: _verdict(health.unready()),
    }


def _verdict(problem: str | None) -> Page:
    return Page("200 OK", b"ok\n") if problem is None else Page(UNAVAILABLE, f"{problem}\n".encode())


def _late(informer: Informer) -> float:
    return 0.0 if informer.is_synced else 1.0


def _worst(informers: Sequence[Informer], read: Callable[[Informer], float]) -> dict[str, float]:
    kinds = dict.fromkeys(informer.resource.kind for informer in informers)
    return {kind: max(read(each) for each in informers if each.resource.kind == kind) for kind in kinds}


def _objects(store: Store) -> list[dict[str, object]]:
    found = (store.get(*name) for name in store.names())
    return list(chain.from_iterable([obj] for obj in found if obj is not None))
