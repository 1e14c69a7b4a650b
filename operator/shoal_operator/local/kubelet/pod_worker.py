"""One pod on this node, from binding to the last trace.

Invariant: one task owns a pod's records and processes. It decides with ``lifecycle.decide`` and nothing else,
writes the status only when it differs, and ends only when no process, directory or address is left.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from shoal_operator.local.client import ApiError
from shoal_operator.local.kubelet.container import Run, run_once, start
from shoal_operator.local.kubelet.environment import ConfigError, Context
from shoal_operator.local.kubelet.lifecycle import (
    Record,
    decide,
    ended,
    exit_outcome,
    restarting,
    running,
    start_failure,
)
from shoal_operator.local.kubelet.logs import ContainerLog
from shoal_operator.local.kubelet.materialise import remove_tree
from shoal_operator.local.kubelet.pod_setup import NodeContext, context_of, log_directory, make_place
from shoal_operator.local.kubelet.prober import Kind, Prober
from shoal_operator.local.kubelet.status import backoff_message
from shoal_operator.local.kubelet.status_writer import WRITE_RETRY_SECONDS, StatusWriter, delete_pod
from shoal_operator.local.kubelet.stopping import run_hook, stop_run
from shoal_operator.local.kubelet.translate import PodPlace, context_for, hook_spec, process_spec
from shoal_operator.local.spawn import StartError

Object = Mapping[str, Any]

_log = logging.getLogger("shoal.kubelet")
_CONFIG_RETRY_SECONDS: Final = 1.0
_DEFAULT_GRACE_SECONDS: Final = 30
_KILL_SECONDS: Final = 5.0
_KEPT_RUNS: Final = 2


class PodWorker:
    """Runs one pod. ``update`` and ``vanished`` are called by the kubelet, ``run`` is its task."""

    def __init__(self, node: NodeContext, pod: Object) -> None:
        self.pod = pod
        self.logs: dict[str, ContainerLog] = {}
        self._node = node
        self._gone = False
        self._wake = asyncio.Event()
        self._place: PodPlace | None = None
        self._context: Context | None = None
        self._pod_ip = ""
        self._taken_at = time.time()
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._probers: dict[str, asyncio.Task[None]] = {}
        self._status = StatusWriter(node)
        spec = pod["spec"]
        self._containers = {one["name"]: one for one in self._every(spec)}
        self.records = {name: Record(name) for name in self._containers}

    @staticmethod
    def _every(spec: Object) -> list[Object]:
        return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]

    def update(self, pod: Object) -> None:
        """A newer state of the pod."""
        self.pod = pod
        self._wake.set()

    def vanished(self) -> None:
        """The pod is gone from the API server: end it now."""
        self._gone = True
        self._wake.set()

    def process_ids(self) -> list[int]:
        """The main processes that run now."""
        return [run.child.pid for run in self._runs.values() if run.child.running]

    @property
    def _deleting(self) -> bool:
        return self._gone or "deletionTimestamp" in self.pod["metadata"]

    async def run(self) -> None:
        """Keep the pod as its spec says until it is deleted."""
        try:
            while not self._deleting:
                self._wake.clear()
                wake_at = await self._sync()
                if not self._deleting:
                    await self._sleep(wake_at)
            await self._terminate()
            if not self._gone:
                await self._finish()
        finally:
            await self._clean_up()

    async def _sleep(self, wake_at: float | None) -> None:
        timeout = None if wake_at is None else max(wake_at - time.time(), 0.01)
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _sync(self) -> float | None:
        """One pass; returns when to look again."""
        now = time.time()
        wake_at: float | None = None
        if self._place is None and not await self._prepare():
            wake_at = now + _CONFIG_RETRY_SECONDS
        else:
            decision = decide(self.pod["spec"], self.records, now)
            for name in decision.start:
                if self._deleting:
                    return None
                await self._start(name)
            again = decide(self.pod["spec"], self.records, time.time())
            wake_at = 0.0 if again.start else again.wake_at
        if not await self._write_status():
            retry = time.time() + WRITE_RETRY_SECONDS
            wake_at = retry if wake_at is None else min(wake_at, retry)
        return wake_at

    async def _prepare(self) -> bool:
        """Make the pod's place; False when something is missing yet."""
        if not self._pod_ip:
            self._pod_ip = self._node.pool.allocate()
        try:
            self._context = await context_of(self.pod, self._node, self._pod_ip)
            self._place = make_place(self.pod, self._node, self._context, self._pod_ip)
        except (ConfigError, OSError, ValueError) as error:
            words = f"MountVolume.SetUp failed: {error}"
            self._node.events.warning(self.pod, "FailedMount", words)
            # A node's kubelet says this in events only; here it stands where whoever waits is looking.
            self.records = {name: replace(record, message=words) for name, record in self.records.items()}
            return False
        except ApiError as error:
            _log.warning("pod %s: cannot read what it refers to: %s", self.pod["metadata"]["name"], error)
            return False
        self.records = {name: replace(record, message="") for name, record in self.records.items()}
        return True

    async def _start(self, name: str) -> None:
        container, record = self._containers[name], self.records[name]
        assert self._place is not None
        try:
            context = await context_of(self.pod, self._node, self._pod_ip)
            attempt = restarting(record, self._node.restart_policy)
            container_id = f"{self.pod['metadata']['uid']}-{name}-{attempt.restart_count}"
            spec = process_spec(
                self.pod,
                container,
                context,
                self._place,
                self._node.host,
                container_id=container_id,
                restart_count=attempt.restart_count,
            )
            spec.directory.mkdir(parents=True, exist_ok=True)
        except (ConfigError, ApiError, OSError, ValueError) as error:
            self._refuse(name, "CreateContainerConfigError", str(error))
            return
        self._context = context
        self._drop_old_logs(name, attempt.restart_count)
        try:
            run = await start(spec, self._node.log_limits)
        except StartError as error:
            outcome = start_failure(str(error), time.time(), container_id)
            self.records[name] = ended(attempt, outcome, self._node.restart_policy)
            self._node.events.warning(self.pod, "Failed", f"Error: {error}")
            return
        except OSError as error:
            self._refuse(name, "CreateContainerError", str(error))
            return
        self._started(name, attempt, run)

    def _refuse(self, name: str, reason: str, message: str) -> None:
        """The container cannot be made yet; the record waits and says why."""
        record = self.records[name]
        retry_at = time.time() + _CONFIG_RETRY_SECONDS
        self.records[name] = Record(
            name,
            reason=reason,
            message=message,
            last=record.ended or record.last,
            restart_count=record.restart_count,
            backoff_seconds=record.backoff_seconds,
            retry_at=retry_at,
        )
        self._node.events.warning(self.pod, "Failed", f"Error: {message}")

    def _started(self, name: str, attempt: Record, run: Run) -> None:
        container = self._containers[name]
        self._runs[name] = run
        self.logs[name] = run.log
        self.records[name] = running(
            attempt,
            time.time(),
            run.spec.container_id,
            has_startup=bool(container.get("startupProbe")),
            has_readiness=bool(container.get("readinessProbe")),
        )
        self._node.events.normal(self.pod, "Started", f"Started container {name}")
        self._spawn(self._watch_exit(name, run))
        if any(container.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")):
            prober = Prober(
                container,
                self._pod_ip,
                lambda command, limit: self._execute(name, run, command, limit),
                lambda kind, verdict, message: self._on_verdict(name, run, kind, verdict, message),
            )
            self._probers[name] = self._spawn(prober.run())
        if (container.get("lifecycle") or {}).get("postStart"):
            self._spawn(self._post_start(name, run))

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _watch_exit(self, name: str, run: Run) -> None:
        status = await run.wait()
        prober = self._probers.pop(name, None)
        if prober is not None:
            prober.cancel()
        record = self.records[name]
        outcome = exit_outcome(status, record.started_at, time.time(), run.spec.container_id)
        self.records[name] = ended(record, outcome, self._node.restart_policy)
        self._runs.pop(name, None)
        self._tell_backoff(name)
        self._wake.set()

    def _tell_backoff(self, name: str) -> None:
        record = self.records[name]
        is_waiting = record.backoff_seconds > 0 and record.retry_at > time.time()
        if is_waiting and not self._deleting and decide(self.pod["spec"], self.records, time.time()).wake_at:
            message = backoff_message(self.pod, record)
            self._node.events.warning(self.pod, "BackOff", message[0].upper() + message[1:])

    async def _execute(self, name: str, run: Run, command: list[str], limit_seconds: float) -> int:
        """A command in the container's environment."""
        assert self._context is not None
        assert self._place is not None
        own = context_for(self.pod, self._context, self._containers[name], self._place)
        return await run_once(hook_spec(run.spec, command, own), limit_seconds)

    def _on_verdict(self, name: str, run: Run, kind: Kind, verdict: bool | None, message: str) -> None:
        record = self.records[name]
        if message:
            title = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}[kind]
            self._node.events.warning(self.pod, "Unhealthy", f"{title} probe failed: {message}")
        if verdict is None or record.container_id != run.spec.container_id or record.state != "Running":
            return
        if kind == "readiness":
            self.records[name] = replace(record, ready=verdict)
        elif kind == "startup" and verdict:
            has_readiness = bool(self._containers[name].get("readinessProbe"))
            self.records[name] = replace(record, started=True, ready=not has_readiness)
        elif not verdict:
            self._node.events.normal(self.pod, "Killing", f"Container {name} failed {kind} probe, will be restarted")
            self._spawn(self._stop_run(name, run, self._probe_grace(name, kind)))
        self._wake.set()

    def _probe_grace(self, name: str, kind: str) -> float:
        probe = self._containers[name].get(f"{kind}Probe") or {}
        default = self.pod["spec"].get("terminationGracePeriodSeconds")
        grace = probe.get("terminationGracePeriodSeconds", default)
        return float(_DEFAULT_GRACE_SECONDS if grace is None else grace)

    async def _post_start(self, name: str, run: Run) -> None:
        hook = self._containers[name]["lifecycle"]["postStart"]
        if not await self._hook(name, run, "PostStart", hook, _DEFAULT_GRACE_SECONDS):
            await self._stop_run(name, run, 2)

    async def _hook(self, name: str, run: Run, title: str, hook: Object, limit_seconds: float) -> bool:
        problem = await run_hook(hook, limit_seconds, lambda command, limit: self._execute(name, run, command, limit))
        if problem is not None:
            self._node.events.warning(self.pod, f"Failed{title}Hook", f"{title}Hook failed: {problem}")
        return problem is None

    async def _stop_run(self, name: str, run: Run, grace_seconds: float) -> None:
        started = time.monotonic()
        hook = (self._containers[name].get("lifecycle") or {}).get("preStop")
        if hook and grace_seconds > 0 and run.child.running:
            await self._hook(name, run, "PreStop", hook, grace_seconds)
        # A deletion with a shorter grace cuts it short at any time.
        await stop_run(run, lambda: min(grace_seconds, self._grace_seconds()) - (time.monotonic() - started))

    def _grace_seconds(self) -> float:
        """How long the pod may take to end; unbounded while nobody deletes it."""
        if self._gone:
            return 0.0
        if not self._deleting:
            return float("inf")
        grace = self.pod["metadata"].get("deletionGracePeriodSeconds")
        return float(_DEFAULT_GRACE_SECONDS if grace is None else grace)

    async def _terminate(self) -> None:
        for prober in self._probers.values():
            prober.cancel()
        stops = []
        for name, run in list(self._runs.items()):
            self._node.events.normal(self.pod, "Killing", f"Stopping container {name}")
            stops.append(self._stop_run(name, run, self._grace_seconds()))
        await asyncio.gather(*stops)
        while self._runs:
            self._wake.clear()
            await self._sleep(time.time() + _KILL_SECONDS)

    async def _write_status(self) -> bool:
        return await self._status.write(self.pod, self.records, self._pod_ip, self._taken_at)

    async def _finish(self) -> None:
        """Say how the pod ended, remove its files, then the object."""
        final = {**self.pod, "spec": {**self.pod["spec"], "restartPolicy": "Never"}}
        await self._status.write(final, self.records, self._pod_ip, self._taken_at)
        # As with a real kubelet, the object goes last: whoever sees it gone finds nothing of the pod any more.
        if self._place is not None:
            remove_tree(self._place.directory)
        await delete_pod(self._node.client, self.pod, lambda: self._gone)

    async def _clean_up(self) -> None:
        """End whatever still runs and remove the pod's traces."""
        for run in list(self._runs.values()):
            run.kill()
        for task in list(self._tasks):
            if task not in self._probers.values():
                await asyncio.wait({task}, timeout=_KILL_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        if self._place is not None:
            remove_tree(self._place.directory)
        shutil.rmtree(log_directory(self._node.root, self.pod), ignore_errors=True)
        if self._pod_ip:
            self._node.pool.release(self._pod_ip)

    def _drop_old_logs(self, name: str, restart_count: int) -> None:
        """Keep the log of the run before, for ``kubectl logs --previous``, and no older one."""
        if self._place is None:
            return
        folder = self._place.log_path(name, restart_count).parent
        for old in folder.glob("*.log*"):
            number = old.name.partition(".")[0]
            if number.isdigit() and int(number) <= restart_count - _KEPT_RUNS:
                old.unlink(missing_ok=True)
