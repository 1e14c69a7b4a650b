"""The node: registers itself, takes pods, and keeps one worker a pod.

Invariant: a pod is bound by one task, in order, against the Node object as it now stands; every change of the node
or of a pod has the pods that wait looked at again. ``stop`` returns only when no process of any pod is left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from shoal_operator.local.client import ApiError, Change, Object, Reflector, key_of
from shoal_operator.local.kubelet.lifecycle import Record
from shoal_operator.local.kubelet.logs import LogOptions, follow_log, read_log
from shoal_operator.local.kubelet.node_object import NodeSettings, node_object
from shoal_operator.local.kubelet.pod_setup import NodeContext, log_directory
from shoal_operator.local.kubelet.pod_worker import PodWorker
from shoal_operator.local.kubelet.proxy import ServiceProxy
from shoal_operator.local.kubelet.scheduling import FINISHED, sum_requests, why_unschedulable
from shoal_operator.local.kubelet.status import timestamp
from shoal_operator.local.sweep import SESSION_MARK, descendants, kill_marked, kill_pids

_log = logging.getLogger("shoal.kubelet")
_SCHEDULER: Final = "default-scheduler"
_RETRY_SECONDS: Final = 0.5


class Kubelet:
    """Runs the pods of an API server on this machine.

    Args:
        context: what pod workers share; its ``client`` reaches the API server.
    """

    def __init__(self, context: NodeContext, settings: NodeSettings) -> None:
        self._context = context
        self._settings = settings
        self._nodes = Reflector(context.client, "/api/v1/nodes", self._on_node)
        self._pods = Reflector(context.client, "/api/v1/pods", self._on_pod)
        self._services = Reflector(context.client, "/api/v1/services", self._on_service)
        self._proxy = ServiceProxy(context.client, context.service_addresses, self._pods.items.values)
        self._workers: dict[str, tuple[PodWorker, asyncio.Task[None]]] = {}
        self._schedule = asyncio.Event()
        self._bound: dict[str, Object] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Register the node and begin to take pods.

        Raises:
            ApiError: the API server refuses.
        """
        node = node_object(self._settings, time.time())
        try:
            await self._context.client.create("/api/v1/nodes", node)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        await self._context.client.patch(f"/api/v1/nodes/{self._settings.name}/status", {"status": node["status"]})
        loop = asyncio.get_running_loop()
        for work in (
            self._nodes.run(),
            self._services.run(),
            self._pods.run(),
            self._bind_pods(),
            self._proxy.run(),
            self._context.events.run(),
        ):
            self._tasks.append(loop.create_task(work))
        await self._nodes.synced.wait()
        await self._services.synced.wait()
        await self._pods.synced.wait()

    async def stop(self) -> None:
        """Kill every process of every pod and release everything."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        for worker, _ in self._workers.values():
            worker.vanished()
        kill_pids(
            pid for worker, _ in self._workers.values() for root in worker.process_ids() for pid in descendants(root)
        )
        kill_marked(SESSION_MARK, self._context.host.session_id)
        tasks = [task for _, task in self._workers.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._proxy.close()

    def _on_node(self, _change: Change, _node: Object) -> None:
        self._schedule.set()

    def _on_pod(self, change: Change, pod: Object) -> None:
        self._schedule.set()
        uid = pod["metadata"]["uid"]
        if change == "DELETED":
            self._bound.pop(uid, None)
            if uid in self._workers:
                self._workers[uid][0].vanished()
            return
        if pod["spec"].get("nodeName") != self._settings.name or self._stopping:
            return
        if uid in self._workers:
            self._workers[uid][0].update(pod)
            return
        worker = PodWorker(self._context, pod)
        task = asyncio.get_running_loop().create_task(worker.run())
        self._workers[uid] = (worker, task)
        task.add_done_callback(lambda done: self._worker_done(uid, done))

    def _worker_done(self, uid: str, task: asyncio.Task[None]) -> None:
        self._workers.pop(uid, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("pod worker failed", exc_info=task.exception())

    def _on_service(self, change: Change, service: Object) -> None:
        self._proxy.on_service(change, service)

    async def _bind_pods(self) -> None:
        await self._nodes.synced.wait()  # before, every pod would hear that there is no node
        while True:
            await self._schedule.wait()
            self._schedule.clear()
            unbound = [pod for pod in self._pods.items.values() if not pod["spec"].get("nodeName")]
            for pod in sorted(unbound, key=lambda one: (one["metadata"].get("creationTimestamp", ""), key_of(one))):
                try:
                    await self._place(pod)
                except ApiError as error:
                    if error.code not in (404, 409):
                        _log.warning("pod %s: not bound: %s", pod["metadata"]["name"], error)
                        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._schedule.set)

    async def _place(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if metadata["uid"] in self._bound or "deletionTimestamp" in metadata:
            return
        gates = pod["spec"].get("schedulingGates") or []
        if gates:
            names = ", ".join(gate["name"] for gate in gates)
            await self._refuse(
                pod, "SchedulingGated", f"Scheduling is blocked due to non-empty scheduling gates: {names}"
            )
            return
        here = {one["metadata"]["uid"]: one for one in self._pods.items.values() if one["spec"].get("nodeName")}
        here = {**self._bound, **here}
        active = [one for one in here.values() if (one.get("status") or {}).get("phase") not in FINISHED]
        node = self._nodes.items.get(("", self._settings.name))
        message = why_unschedulable(pod, node, sum_requests(active), len(active))
        if message is not None:
            await self._refuse(pod, "Unschedulable", message)
            return
        base = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._settings.name},
        }
        self._bound[metadata["uid"]] = pod  # before the answer: the pod's deletion may come sooner, and takes it out
        try:
            await self._context.client.create(f"{base}/binding", binding)
        except ApiError:
            self._bound.pop(metadata["uid"], None)
            raise
        where = f"{metadata['namespace']}/{metadata['name']}"
        self._context.events.normal(
            pod, "Scheduled", f"Successfully assigned {where} to {self._settings.name}", _SCHEDULER
        )

    async def _refuse(self, pod: Object, reason: str, message: str) -> None:
        """Say once why the pod waits."""
        conditions = (pod.get("status") or {}).get("conditions") or []
        for one in conditions:
            if one.get("type") == "PodScheduled" and one.get("message") == message and one.get("reason") == reason:
                return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": timestamp(time.time()),
        }
        others = [one for one in conditions if one.get("type") != "PodScheduled"]
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        status = {"phase": "Pending", "conditions": [*others, condition]}
        await self._context.client.patch(path, {"metadata": {"uid": metadata["uid"]}, "status": status})
        if reason == "Unschedulable":
            self._context.events.warning(pod, "FailedScheduling", message, _SCHEDULER)

    async def read(
        self,
        namespace: str,
        name: str,
        container: str,
        follow: bool,
        tail_lines: int | None,
        since_seconds: int | None,
        previous: bool,
        timestamps: bool,
    ) -> AsyncIterator[bytes]:
        """The log of a container, as the API server streams it to ``kubectl logs``.

        Raises:
            LookupError: no such container, or it has not run yet.
        """
        since = None if since_seconds is None else datetime.now(UTC) - timedelta(seconds=since_seconds)
        options = LogOptions(timestamps=timestamps, tail_lines=tail_lines, since=since)
        pod = self._pods.items.get((namespace, name))
        found = self._workers.get(pod["metadata"]["uid"]) if pod else None
        if pod is None or found is None:
            raise LookupError(f'pod "{name}" has no logs on this node')
        worker = found[0]
        path = log_path(self._context.root, pod, worker.records.get(container), container, previous)
        limits = self._context.log_limits
        log = worker.logs.get(container)
        if follow and not previous and log is not None and not log.closed:
            async for text in follow_log(log, limits, options):
                yield text
            return
        for text in read_log(path, limits, options):
            yield text


def log_path(root: Path, pod: Object, record: Record | None, container: str, previous: bool) -> Path:
    """The log of a container's present or previous run.

    Raises:
        LookupError: it has not run yet, or not twice.
    """
    name = pod["metadata"]["name"]
    if record is None:
        raise LookupError(f"container {container} is not valid for pod {name}")
    number = record.restart_count - (1 if previous else 0)
    if number < 0:
        raise LookupError(f'previous terminated container "{container}" in pod "{name}" not found')
    path = log_directory(root, pod) / container / f"{number}.log"
    if not path.exists():
        reason = record.reason or "ContainerCreating"
        raise LookupError(f'container "{container}" in pod "{name}" is waiting to start: {reason}')
    return path
