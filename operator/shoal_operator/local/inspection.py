"""``shoal local ps`` and ``down``: looking at sessions and ending them from outside.

Invariant: a supervisor is signalled only while its session's lock proves that it lives.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Final

from shoal_operator.local.client import Access, ApiClient, ApiError
from shoal_operator.local.errors import LocalError, UsageProblem
from shoal_operator.local.progress import pod_word
from shoal_operator.local.session import RunningSession, clear_dead_sessions, prepare_root, running_sessions

_DOWN_SECONDS: Final = 20.0


async def describe_sessions(root: Path) -> str:
    """A table of the running sessions and their pods."""
    sessions = running_sessions(root)
    if not sessions:
        return f"no session is running ({root})"
    lines: list[str] = []
    for session in sessions:
        age = int(time.time() - float(session.facts.get("started", 0.0)))
        where = session.facts.get("url", "starting")
        lines.append(f"{session.session_id}  pid {session.pid}  up {age} s  {where}")
        lines.extend(f"  {line}" for line in await _pods(session))
        if "kubeconfig" in session.facts:
            lines.append(f"  export KUBECONFIG={session.facts['kubeconfig']}")
    return "\n".join(lines)


async def _pods(session: RunningSession) -> list[str]:
    kubeconfig = session.directory / "kubeconfig"
    try:
        async with ApiClient(Access.from_kubeconfig(kubeconfig)) as client:
            pods: list[dict[str, Any]] = (await client.get("/api/v1/pods")).get("items") or []
    except (OSError, ApiError):
        return ["(the API server does not answer)"]
    rows = []
    for pod in sorted(pods, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"])):
        metadata, address = pod["metadata"], (pod.get("status") or {}).get("podIP") or "-"
        rows.append(f"pod {metadata['namespace']}/{metadata['name']}  {address}  {pod_word(pod)}")
    return rows


def end_sessions(root: Path, wanted: str | None) -> str:
    """End one session or all, and clear away dead ones; says what was done.

    Raises:
        UsageProblem: there is no such session.
        LocalError: one did not end in time.
    """
    prepare_root(root)
    sessions = running_sessions(root)
    if wanted is not None:
        sessions = [one for one in sessions if one.session_id == wanted]
        if not sessions:
            raise UsageProblem(f"there is no running session {wanted}", "see `shoal local ps`")
    for session in sessions:
        os.kill(session.pid, signal.SIGTERM)
    lines = []
    for session in sessions:
        _wait_for_end(root, session)
        lines.append(f"{session.session_id}: ended")
    lines.extend(f"{name}: cleared away" for name in clear_dead_sessions(root))
    return "\n".join(lines) or "no session is running"


def _wait_for_end(root: Path, session: RunningSession) -> None:
    deadline = time.monotonic() + _DOWN_SECONDS
    while any(one.session_id == session.session_id for one in running_sessions(root)):
        if time.monotonic() > deadline:
            raise LocalError(
                f"session {session.session_id} has not ended within {_DOWN_SECONDS:g} s",
                f"kill -9 {session.pid}, then run `shoal local down` again",
            )
        time.sleep(0.05)
