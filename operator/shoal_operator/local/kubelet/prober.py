"""Probes of one run of a container.

Invariant: liveness and readiness begin only after the startup probe has succeeded; every attempt ends within
its timeout; cancelling the prober leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import aiohttp

from shoal_operator.local.kubelet.probe_state import ProbeCounter, ProbeSettings
from shoal_operator.local.spawn import StartError

Kind = Literal["startup", "liveness", "readiness"]
Object = Mapping[str, Any]

_EAGER_SECONDS: Final = 0.2
"""Until its first success, a probe that costs next to nothing is tried this often; only tries at the declared
period count as failures. A pod is Ready when it is ready, not a period later."""


class ProbeFailed(Exception):
    """One attempt failed; ``str()`` says how."""


class Prober:
    """Runs the probes of a container.

    Args:
        container: its spec.
        pod_ip: where ports are.
        execute: runs a command in the container with a timeout, returns its exit status.
        on_verdict: called when a probe's verdict changes, or a failed attempt should be told (verdict None).
    """

    def __init__(
        self,
        container: Object,
        pod_ip: str,
        execute: Callable[[list[str], float], Awaitable[int]],
        on_verdict: Callable[[Kind, bool | None, str], None],
    ) -> None:
        self._container = container
        self._pod_ip = pod_ip
        self._execute = execute
        self._on_verdict = on_verdict

    async def run(self) -> None:
        """Probe until cancelled."""
        startup = self._container.get("startupProbe")
        if startup:
            await self._loop("startup", startup)
        async with asyncio.TaskGroup() as group:
            if self._container.get("livenessProbe"):
                group.create_task(self._loop("liveness", self._container["livenessProbe"]))
            if self._container.get("readinessProbe"):
                group.create_task(self._loop("readiness", self._container["readinessProbe"]))

    async def _loop(self, kind: Kind, probe: Object) -> None:
        loop = asyncio.get_running_loop()
        settings = ProbeSettings.of(probe)
        counter = ProbeCounter(settings)
        eager = kind != "liveness" and "exec" not in probe
        await asyncio.sleep(settings.initial_delay_seconds)
        due = loop.time()
        while True:
            message = await self._attempt(probe, settings.timeout_seconds)
            on_time = loop.time() >= due
            if message is None or on_time:
                before = counter.verdict
                counter = counter.observe(message is None)
                # Before its first verdict a container is starting, not unhealthy: nobody is told.
                if counter.verdict is not None and (message is not None or counter.verdict != before):
                    changed = counter.verdict if counter.verdict != before else None
                    self._on_verdict(kind, changed, message or "")
                if kind == "startup" and counter.verdict is not None:
                    if counter.verdict:
                        return
                    await asyncio.Event().wait()
                if on_time:
                    due = loop.time() + settings.period_seconds
            waiting = eager and not counter.verdict
            pause = _EAGER_SECONDS if waiting else settings.period_seconds
            await asyncio.sleep(min(pause, max(due - loop.time(), 0.01)))

    async def _attempt(self, probe: Object, timeout_seconds: float) -> str | None:
        """None on success, else what failed."""
        try:
            async with asyncio.timeout(timeout_seconds + 0.5):
                if "exec" in probe:
                    await self._exec(probe["exec"], timeout_seconds)
                elif "tcpSocket" in probe:
                    await self._tcp(probe["tcpSocket"], timeout_seconds)
                elif "httpGet" in probe:
                    await self._http(probe["httpGet"], timeout_seconds)
                else:
                    return "probe names no exec, tcpSocket or httpGet"
        except ProbeFailed as failed:
            return str(failed)
        except TimeoutError:
            return f"context deadline exceeded after {timeout_seconds:g}s"
        return None

    async def _exec(self, action: Object, timeout_seconds: float) -> None:
        try:
            status = await self._execute(list(action.get("command") or []), timeout_seconds)
        except StartError as error:
            raise ProbeFailed(str(error)) from error
        if status != 0:
            raise ProbeFailed(f"command {action.get('command')} exited with status {status}")

    async def _tcp(self, action: Object, timeout_seconds: float) -> None:
        host, port = action.get("host") or self._pod_ip, self._port(action.get("port"))
        try:
            async with asyncio.timeout(timeout_seconds):
                _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise ProbeFailed(f"dial tcp {host}:{port}: {error.strerror or error}") from error
        writer.close()

    async def _http(self, action: Object, timeout_seconds: float) -> None:
        scheme = str(action.get("scheme") or "HTTP").lower()
        host, port = action.get("host") or self._pod_ip, self._port(action.get("port"))
        url = f"{scheme}://{host}:{port}{action.get('path') or '/'}"
        headers = {entry["name"]: entry["value"] for entry in action.get("httpHeaders") or []}
        # As with the kubelet, a probe does not verify certificates: it sends no secret, believes only a status.
        verify = scheme != "https"
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url, headers=headers, ssl=verify, allow_redirects=False) as response,
            ):
                if not 200 <= response.status < 400:
                    raise ProbeFailed(f"HTTP probe failed with statuscode: {response.status}")
        except (aiohttp.ClientError, OSError) as error:
            raise ProbeFailed(f'Get "{url}": {error}') from error

    def _port(self, port: Any) -> int:
        if isinstance(port, int):
            return port
        for declared in self._container.get("ports") or []:
            if declared.get("name") == port:
                return int(declared["containerPort"])
        if isinstance(port, str) and port.isdigit():
            return int(port)
        raise ProbeFailed(f"couldn't find port: {port!r}")
