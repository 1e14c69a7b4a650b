"""Ending a run of a container: hooks, SIGTERM, and SIGKILL when the time is over.

Invariant: a run is over a bounded time after ``stop_run`` was asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from shoal_operator.local.kubelet.container import Run
from shoal_operator.local.kubelet.environment import ConfigError
from shoal_operator.local.spawn import StartError

_LOOK_SECONDS: Final = 0.25
_KILL_SECONDS: Final = 5.0


async def run_hook(
    hook: Mapping[str, Any], limit_seconds: float, execute: Callable[[list[str], float], Awaitable[int]]
) -> str | None:
    """Run a lifecycle hook; None when it succeeded, else what went wrong.

    Args:
        hook: ``exec`` or ``sleep``.
        limit_seconds: how long it may take.
        execute: runs a command in the container; its exit status.
    """
    try:
        if "exec" in hook:
            status = await execute(list(hook["exec"]["command"]), limit_seconds)
            return None if status == 0 else f"exited with status {status}"
        if "sleep" in hook:
            await asyncio.sleep(min(float(hook["sleep"]["seconds"]), limit_seconds))
            return None
    except (StartError, TimeoutError, ConfigError) as error:
        return str(error)
    return "local mode runs exec and sleep hooks only"


async def stop_run(run: Run, seconds_left: Callable[[], float]) -> None:
    """SIGTERM, then SIGKILL when no time is left; ``seconds_left`` is asked again and may shrink."""
    if seconds_left() > 0:
        run.terminate()
    while run.child.running:
        left = seconds_left()
        if left <= 0:
            run.kill()
            await run.child.wait(_KILL_SECONDS)
            return
        await run.child.wait(min(left, _LOOK_SECONDS))
