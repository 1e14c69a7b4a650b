"""``get_runtime_context()``: where this code runs."""

from __future__ import annotations

from shoal._api import session
from shoal.core.ids import known_job
from shoal.owner.process import OwnerProcess


class RuntimeContext:
    """Facts about the calling task, actor, worker, node and job; ids are hexadecimal strings, as in Ray."""

    def __init__(self, process: OwnerProcess) -> None:
        self._process = process

    def get_node_id(self) -> str:
        """The node that this runs on."""
        return self._process.node_id

    def get_worker_id(self) -> str:
        """This process."""
        return self._process.process_id

    def get_job_id(self) -> str:
        """The job that this belongs to."""
        return known_job(str(self._process.job["id"]))

    def get_task_id(self) -> str | None:
        """The task at work; None in a driver."""
        from shoal.worker import context

        return context.current().task_id.hex() or None

    def get_actor_id(self) -> str | None:
        """The actor that this runs in; None elsewhere."""
        from shoal.worker import context

        return context.current().actor_id.hex() or None

    @property
    def namespace(self) -> str:
        """Where named actors are looked up."""
        return session.namespace()


def get_runtime_context() -> RuntimeContext:
    """The context of the calling code; starts a session when there is none."""
    return RuntimeContext(session.process())
