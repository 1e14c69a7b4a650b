"""The operator put together: stores, informers, queues, controllers, heads, lease.

Invariant: nothing is decided here; this file says what is joined to what, what starts after what, and what
ends first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shoal_operator.api.meta import MANAGED_BY_SHOAL
from shoal_operator.control.backoff import BackoffPolicy, KeyedBackoff
from shoal_operator.control.clock import Clock, SystemClock
from shoal_operator.control.controller import Controller, Limits, Result
from shoal_operator.control.expectations import Expectations
from shoal_operator.control.workqueue import WorkQueue
from shoal_operator.controllers.certificates import ClusterCertificates
from shoal_operator.controllers.cluster import ClusterController
from shoal_operator.controllers.executor import Executor
from shoal_operator.controllers.job import JobController
from shoal_operator.controllers.obstacles import Obstacles
from shoal_operator.controllers.tokens import ClusterTokens
from shoal_operator.controllers.world import World
from shoal_operator.domain.manifests.network import OperatorPlace
from shoal_operator.domain.names import Key
from shoal_operator.domain.reasons import Reason
from shoal_operator.exposure import Exposure, health_pages
from shoal_operator.heads.address import HeadAddress
from shoal_operator.heads.pool import HeadPool, News
from shoal_operator.kube.access import ApiAccess
from shoal_operator.kube.client import ApiClient
from shoal_operator.kube.events import EventRecorder
from shoal_operator.kube.informer import Informer, Selection
from shoal_operator.kube.judge import judge
from shoal_operator.kube.lease import LeaseElector, LeaseTimes
from shoal_operator.kube.version import await_supported_server
from shoal_operator.settings import Settings, split_address
from shoal_operator.telemetry.health import Health
from shoal_operator.telemetry.metrics import Metrics
from shoal_operator.telemetry.server import read_token, serve_pages
from shoal_operator.wiring import Wiring

if TYPE_CHECKING:
    import grpc.aio

    from shoal.protocol.tls import Certificates
    from shoal_operator.handlers import KopfThread
    from shoal_operator.heads.commands import CommandFailure

Tasks = list[asyncio.Task[None]]
Reconcile = Callable[[Key], Awaitable[Result]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What a simulation replaces: what time it is, and what carries requests to the API server and to heads."""

    clock: Clock
    open_client: Callable[..., ApiClient]
    open_channel: Callable[[str, bytes, Certificates | None], grpc.aio.Channel]
    """To a head's ``host:port``, with its cluster's token, and its certificates where it has TLS."""


def _open_channel(target: str, token: bytes, certificates: Certificates | None) -> grpc.aio.Channel:
    from shoal.protocol.auth import MANY_CHANNELS, aio_channel  # gRPC is loaded when there is a head to speak to

    return aio_channel(target, token, certificates, more_options=MANY_CHANNELS)


MACHINE: Final = Surroundings(SystemClock(), ApiClient, _open_channel)


class Operator:
    """One operator process.

    Args:
        settings: what it was started with.
        access: the API server.
        identity: unique per process, for the lease and for events.
        rng: for all jitter.
        new_token: makes a cluster's token.
        die: ends the process at once; called with the reason.
        kopf: what watches our kinds as well; None: nothing does (the informers suffice).
        surroundings: the machine, or a simulation of one.
    """

    def __init__(
        self,
        settings: Settings,
        access: ApiAccess,
        *,
        identity: str,
        rng: random.Random,
        new_token: Callable[[], str],
        die: Callable[[str], Any],
        kopf: KopfThread | None = None,
        surroundings: Surroundings = MACHINE,
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._die = die
        self._surroundings = surroundings
        self._clock = surroundings.clock
        self.metrics = Metrics()
        self.world = World()
        self._leads = False
        self.client = surroundings.open_client(
            access,
            monotonic=self._clock.monotonic,
            metrics=self.metrics,
            may_write=self._may_write,
            on_seconds=self.metrics.observe_request_seconds,
        )
        self._events = EventRecorder(self.client, self._clock, controller=MANAGED_BY_SHOAL, instance=identity)
        self._tokens = ClusterTokens(self.client, self._clock)
        self._certificates = ClusterCertificates(self.client, self._clock)
        self._clusters = self._queue("computecluster")
        self._obstacles = Obstacles(self.client, self._clock, rng, self._clusters.add)
        self._jobs = self._queue("computejob")
        self._wiring = Wiring(self.world, self._clusters, self._jobs)
        self._heads = HeadPool(
            self._open_channel,
            on_news=self._on_head_news,
            on_failed=self._on_command_failed,
            clock=self._clock,
            rng=rng,
            may_command=self._may_write,
        )
        self._exposure = Exposure(
            self.metrics,
            self.world,
            self._heads,
            is_leader=lambda: self._leads,
            clock=self._clock,
            per_object=settings.per_object_metrics,
        )
        self._controllers = self._build_controllers(new_token)
        self._informers = self._build_informers()
        self._elector = LeaseElector(
            self.client,
            namespace=settings.lease_namespace or access.namespace,
            name=settings.lease_name,
            identity=identity,
            clock=self._clock,
            rng=rng,
            times=LeaseTimes.of_duration(settings.lease_duration_seconds),
        )
        self._kopf = kopf
        self._exposure.publish_controllers(self._controllers)
        self._exposure.publish_informers(self._informers)
        self.health = Health(
            self._informers,
            {controller.name: controller.queue.longest_running_seconds for controller in self._controllers},
            self._lease_over_seconds,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then end in order.

        Raises:
            ExceptionGroup: a part that should run for ever failed.
        """
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.client)
            if self._settings.metrics_address:
                await stack.enter_async_context(await self._serve())
            async with asyncio.TaskGroup() as group:
                background = [group.create_task(informer.run()) for informer in self._informers]
                background.append(group.create_task(self._events.run(), name="events"))
                background.append(group.create_task(self._obstacles.run(), name="pod notices"))
                try:
                    await self._lead(stop, group, background)
                finally:
                    if self._kopf is not None:
                        self._kopf.ask_to_stop()
                    for task in background:
                        task.cancel()

    async def _lead(self, stop: asyncio.Event, group: asyncio.TaskGroup, background: Tasks) -> None:
        ready = group.create_task(self._become_ready(), name="start")
        if not await _first(ready, stop):
            return
        if self._settings.leader_election:
            background.append(group.create_task(self._keep_lease(), name="lease"))
        self._set_leads(True)
        workers = [group.create_task(each.run(), name=each.name) for each in self._controllers]
        if self._kopf is not None:
            loop = asyncio.get_running_loop()
            self._kopf.start(lambda *what: _call_soon(loop, self._wiring.enqueue, *what))
        logger.info(
            "working on %d clusters, %d jobs, %d pods",
            *(len(store) for store in (self.world.clusters, self.world.jobs, self.world.pods)),
        )
        await stop.wait()
        await self._end(workers)

    async def _become_ready(self) -> None:
        synced = [informer.synced.wait() for informer in self._informers]
        await asyncio.gather(await_supported_server(self.client, self._rng), *synced)
        if self._settings.leader_election:
            await self._elector.acquire()  # last, because it has to be renewed from then on

    def _may_write(self) -> bool:
        return not self._settings.leader_election or self._elector.is_leader

    def _set_leads(self, leads: bool) -> None:
        self._leads = leads
        self.metrics.leader.set(leads)

    def _lease_over_seconds(self) -> float | None:
        if not (self._leads and self._settings.leader_election):
            return None
        return self._clock.monotonic() - self._elector.leader_until

    async def _keep_lease(self) -> None:
        await self._elector.hold()
        self._die("the lease is lost")

    async def _end(self, workers: Tasks) -> None:
        if self._kopf is not None:
            self._kopf.ask_to_stop()
        for controller in self._controllers:
            controller.queue.close()
        _, late = await asyncio.wait(workers, timeout=self._settings.shutdown_seconds)
        for task in late:
            task.cancel()
        await self._events.flush(timeout_seconds=2.0)
        await self._heads.close()
        if self._settings.leader_election:
            await self._elector.release()
        self._set_leads(False)

    def _queue(self, name: str) -> WorkQueue[Key]:
        return WorkQueue(on_add=lambda: self.metrics.observe_add(name))

    def _build_controllers(self, new_token: Callable[[], str]) -> tuple[Controller[Key], ...]:
        def executor(expectations: Expectations[Key]) -> Executor:
            parts = (self.client, self.world, self._heads, self._tokens, self._certificates, self._events)
            return Executor(*parts, expectations, self._clock, self.metrics)

        def controller(name: str, reconcile: Reconcile, queue: WorkQueue[Key]) -> Controller[Key]:
            return Controller(
                name,
                reconcile,
                queue=queue,
                backoff=KeyedBackoff(BackoffPolicy(), self._rng),
                judge=judge,
                clock=self._clock,
                metrics=self.metrics,
                limits=Limits(workers=self._settings.workers),
            )

        place = OperatorPlace(self._settings.pod_namespace, dict(self._settings.pod_labels))
        work = executor(self._wiring.cluster_expectations)
        clusters = ClusterController(work, new_token, place, obstacles=self._obstacles)
        jobs = JobController(executor(self._wiring.job_expectations))
        return (
            controller("computecluster", clusters.reconcile, self._clusters),
            controller("computejob", jobs.reconcile, self._jobs),
        )

    def _build_informers(self) -> tuple[Informer, ...]:
        return tuple(
            Informer(
                self.client,
                Selection(resource, namespace, selector),
                store,
                clock=self._clock,
                rng=self._rng,
                metrics=self.metrics,
            )
            for resource, store, selector in self.world.feeds()
            for namespace in (self._settings.namespaces or (None,))
        )

    async def _open_channel(self, address: HeadAddress, namespace: str, fresh: bool) -> grpc.aio.Channel:
        token = await self._tokens.read(namespace, address.token_secret, address.cluster_uid, fresh=fresh)
        uid, name = address.cluster_uid, address.tls_secret
        certificates = await self._certificates.read(namespace, name, uid, fresh=fresh) if name else None
        return self._surroundings.open_channel(address.target, token, certificates)

    def _on_head_news(self, key: Key, news: News) -> None:
        if News.CLUSTER in news:
            self._exposure.on_head_view(key, self._heads.view(key))
        self._wiring.on_head_news(key, news)

    def _on_command_failed(self, failure: CommandFailure) -> None:
        command = type(failure.command).__name__
        self.metrics.observe_head_command_failure(command)
        where = "/".join(failure.key)
        level = logging.DEBUG if failure.is_repeated else logging.WARNING
        logger.log(level, "%s was not taken by the head of %s: %s", command, where, failure.message)
        cluster = self.world.clusters.get(*failure.key)
        if failure.is_final and not failure.is_repeated and cluster is not None:
            self._events.record(
                cluster,
                type_="Warning",
                reason=Reason.HEAD_COMMAND_REFUSED,
                message=f"the head refused {command}: {failure.message}",
                action=command,
            )

    async def _serve(self) -> asyncio.Server:
        host, port = split_address(self._settings.metrics_address)
        token = read_token(self._settings.metrics_token_file)
        return await serve_pages(host, port, health_pages(self.metrics, self.health), token=token)


async def _first(task: asyncio.Task[None], stop: asyncio.Event) -> bool:
    """Wait for the task or for ``stop``. Returns whether the task was first; else it is cancelled."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if task.done():
        return True
    task.cancel()
    return False


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the process is at its end
        loop.call_soon_threadsafe(call, *arguments)
