"""Scheduler, kubelets and machines: pods become scheduled, ready, crash, are evicted; machines die and come back."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.simulation.api_server import ModelServer
from tests.simulation.model_heads import ModelHeads

from shoal_operator.local.apiserver.store import Change, Key

Json = dict[str, Any]
TAINT_SECONDS = (4.0, 20.0)
"""Between the death of a machine and the deletion of its pods by the control plane."""

FOR_EVER_SECONDS = 1e6


class Machine:
    """A node of the cluster."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = asyncio.Event()
        self.up.set()
        self.back_at = 0.0


class Machines:
    """Three nodes and the pods on them.

    Attributes:
        trouble: how likely each kind of trouble is; 0 everywhere once faults have stopped.
    """

    def __init__(self, server: ModelServer, heads: ModelHeads, rng: random.Random) -> None:
        self._server = server
        self._heads = heads
        self._rng = rng
        self.nodes = [Machine(f"node-{number}") for number in range(3)]
        self.trouble = 0.0
        self.running: dict[str, Json] = {}
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pods: dict[str, str] = {}
        server.store.subscribe(self._follow)

    def _follow(self, change: Change) -> None:
        if change.key.collection != "pods":
            return
        uid = change.document["metadata"]["uid"]
        if change.type == "DELETED":
            self._stop(uid)
            self._cancel(uid)
        elif change.type == "ADDED":
            self._begin(uid, self._live(change.key, uid))
        elif _deletion(change.document) and not _deletion(change.previous):
            self._begin(uid, self._terminate(change.key, uid))

    def _begin(self, uid: str, work: Any) -> None:
        self._cancel(uid)
        self._tasks[uid] = self._loop.create_task(work)

    def _cancel(self, uid: str) -> None:
        task = self._tasks.pop(uid, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def close(self) -> None:
        for uid in list(self._tasks):
            self._cancel(uid)

    # -- a pod's life ---------------------------------------------------------------------------------------

    async def _live(self, key: Key, uid: str) -> None:
        rng = self._rng
        await asyncio.sleep(rng.uniform(0.05, 0.5))
        if rng.random() < 0.3 * self.trouble:
            self._set(key, uid, conditions={"PodScheduled": ("False", "Unschedulable")})
            await asyncio.sleep(rng.uniform(1.0, 20.0))
        machine = await self._schedule(key, uid)
        await asyncio.sleep(rng.uniform(0.05, 1.0))
        if rng.random() < 0.3 * self.trouble:
            await machine.up.wait()
            self._set(key, uid, waiting="ImagePullBackOff")
            await asyncio.sleep(rng.uniform(1.0, 20.0))
        restarts = 0
        while True:
            await machine.up.wait()
            await self._run(key, uid, machine, restarts)
            restarts += 1
            await machine.up.wait()
            if rng.random() < 0.3:
                self._set(key, uid, phase="Failed", reason="Evicted")
                return
            self._set(key, uid, phase="Running", waiting="CrashLoopBackOff", restarts=restarts)
            await asyncio.sleep(rng.uniform(0.5, 5.0))

    async def _schedule(self, key: Key, uid: str) -> Machine:
        while True:
            free = [machine for machine in self.nodes if machine.up.is_set()]
            if free:
                machine = self._rng.choice(free)
                self._set(key, uid, node=machine.name, conditions={"PodScheduled": ("True", "")})
                return machine
            await asyncio.sleep(1.0)

    async def _run(self, key: Key, uid: str, machine: Machine, restarts: int) -> None:
        """From the start of the container to its end, which may never come."""
        pod = self._server.store.get(key)
        if pod is None or pod["metadata"]["uid"] != uid:
            return
        self._set(key, uid, phase="Running", ip=f"10.1.0.{uid[4:]}", restarts=restarts)
        self.running[uid] = pod
        self._heads.container_starts(pod)
        await asyncio.sleep(self._rng.uniform(0.1, 1.5))
        await machine.up.wait()
        self._set(key, uid, phase="Running", ip=f"10.1.0.{uid[4:]}", restarts=restarts, ready=True)
        while True:
            await asyncio.sleep(self._rng.uniform(5.0, 40.0))
            ends = self._rng.random() < 0.25 * self.trouble or uid in self._heads.unknown
            if ends or uid not in self.running:
                self._stop(uid)
                return
            if self._rng.random() < 0.1 * self.trouble:
                self._heads.node_dies(pod)

    async def _terminate(self, key: Key, uid: str) -> None:
        await asyncio.sleep(self._rng.uniform(0.05, 3.0))
        pod = self._server.store.get(key)
        if pod is None or pod["metadata"]["uid"] != uid:
            return
        machine = next((m for m in self.nodes if m.name == pod["spec"].get("nodeName")), None)
        if machine is not None:
            await machine.up.wait()
        self._stop(uid)
        pod = self._server.store.get(key)
        if pod is not None and pod["metadata"]["uid"] == uid:
            self._server.remove(key)

    def _stop(self, uid: str) -> None:
        pod = self.running.pop(uid, None)
        if pod is not None:
            self._heads.container_stops(pod)

    # -- a machine's life -----------------------------------------------------------------------------------

    def is_lost(self, pod: Json) -> bool:
        """Whether the pod's machine is down: nobody there can confirm its end."""
        name = pod["spec"].get("nodeName")
        return any(machine.name == name and not machine.up.is_set() for machine in self.nodes)

    def are_coming_back(self) -> bool:
        """Whether a machine is down that will not stay so."""
        return any(not machine.up.is_set() and machine.back_at < FOR_EVER_SECONDS for machine in self.nodes)

    async def break_one(self, seconds: float) -> None:
        """A machine dies with everything on it; the control plane finds out, and some time later it is back."""
        machine = self._rng.choice([one for one in self.nodes if one.up.is_set()] or [None])
        if machine is None:
            return
        machine.up.clear()
        machine.back_at = self._loop.time() + seconds
        for pod in self._pods_on(machine):
            self._stop(pod["metadata"]["uid"])
        await asyncio.sleep(self._rng.uniform(1.0, 5.0))
        for pod in self._pods_on(machine):
            self._set(_key(pod), pod["metadata"]["uid"], phase="Running", restarts=None, ready=False)
        taint = self._rng.uniform(*TAINT_SECONDS)
        if seconds > taint:
            await asyncio.sleep(taint)
            for pod in self._pods_on(machine):
                self._server.delete(_key(pod), {})
        await asyncio.sleep(max(0.0, seconds - taint))
        machine.up.set()

    def _pods_on(self, machine: Machine) -> list[Json]:
        return [pod for pod in self._server.all("pods") if pod["spec"].get("nodeName") == machine.name]

    # -- a pod's status -------------------------------------------------------------------------------------

    def _set(
        self,
        key: Key,
        uid: str,
        *,
        phase: str = "Pending",
        ready: bool = False,
        node: str = "",
        ip: str = "",
        waiting: str = "",
        reason: str = "",
        restarts: int | None = 0,
        conditions: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        held = self._server.store.get(key)
        if held is None or held["metadata"]["uid"] != uid:
            return
        if node:
            self._server.bind(key, node)
        before = held.get("status") or {}
        found = {one["type"]: one for one in before.get("conditions") or ()}
        for type_, (value, why) in {**(conditions or {}), "Ready": (str(ready), "")}.items():
            found[type_] = {"type": type_, "status": value, **({"reason": why, "message": "0/3 nodes"} if why else {})}
        state = {"waiting": {"reason": waiting, "message": "simulated"}} if waiting else {"running": {}}
        count = before.get("containerStatuses", [{}])[0].get("restartCount", 0) if restarts is None else restarts
        status: Json = {"phase": phase, "conditions": list(found.values())}
        status["containerStatuses"] = [{"name": "shoal", "ready": ready, "restartCount": count, "state": state}]
        if ip or before.get("podIP"):
            status["podIP"] = ip or before["podIP"]
        if reason:
            status |= {"reason": reason, "message": "the node was low on memory"}
        self._server.tell_status(key, status)


def _deletion(pod: Json | None) -> str:
    return str(pod["metadata"].get("deletionTimestamp", "")) if pod is not None else ""


def _key(pod: Json) -> Key:
    return Key("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
