"""The environment of a driver, wherever it runs.

Invariant: a job starts afresh: nothing of the node's own settings reaches it but the marks by which local mode finds
the processes of a pod, and what it needs to find its node.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

_KEPT: Final = ("SHOAL_SESSION", "SHOAL_CONTAINER")


def driver_environment(
    wanted: Mapping[str, str], *, node_socket: str, session_directory: str, job_id: str, package: str
) -> dict[str, str]:
    """The whole environment of a driver's process.

    Args:
        wanted: what the job asks for; it wins over the node's environment, and our own variables over it.
        node_socket: the agent that the driver connects to.
        session_directory: of that agent.
        job_id: the runtime's id of the job.
        package: hash of the working directory, for the workers; may be empty.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_") or k in _KEPT}
    own_programs = os.path.dirname(sys.executable)
    path = environment.get("PATH", os.defpath)
    if own_programs not in path.split(os.pathsep):
        path = own_programs + os.pathsep + path
    environment.update(PATH=path, PYTHONUNBUFFERED="1")
    environment.update(wanted)
    environment.update(
        SHOAL_NODE_SOCKET=node_socket,
        SHOAL_JOB_ID=job_id,
        SHOAL_JOB_PACKAGE=package,
        SHOAL_SESSION_DIR=session_directory,
    )
    return environment
