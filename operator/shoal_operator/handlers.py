"""kopf: everything that is decorated for it, and the thread that it lives in.

kopf watches our kinds with its own login and reconnects; a handler puts the key into the queue, and that is
all. What a key's object looks like comes from the informers, because kopf neither says when its first list is
complete nor forgets what vanished while a watch was broken. Two watches that wake the same queue cost a
deduplicated key.

kopf lives in a thread and a loop of its own: it cancels every task of its loop when it ends, it takes half a
second to import, and neither may touch the controllers.

Invariant: handlers write nothing to objects: no finalizer, no annotation, no event; only ``on.event`` is
used.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from shoal_operator.kube.access import ApiAccess
from shoal_operator.kube.resources import COMPUTE_CLUSTERS, COMPUTE_JOBS, Resource

if TYPE_CHECKING:
    import kopf

logger = logging.getLogger(__name__)

Enqueue = Callable[[Resource, str, str], None]
"""Takes a kind, a namespace and a name; called from kopf's thread."""

KINDS: Final = (COMPUTE_CLUSTERS, COMPUTE_JOBS)
LOGIN_SECONDS: Final = 600
EXIT_SECONDS: Final = 5.0


def build_registry(enqueue: Enqueue, access: ApiAccess) -> kopf.OperatorRegistry:
    """A registry of our own (kopf's global one is shared by everything in the process)."""
    import kopf

    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return _connection(access)

    for kind in KINDS:

        @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, param=kind)
        async def observe(*, param: Any = None, namespace: str | None, name: str | None, **_: Any) -> None:
            enqueue(param, namespace or "", name or "")

    return registry


def build_settings() -> kopf.OperatorSettings:
    """Settings of kopf: no writes, deadlines everywhere, an exit within the grace period of a pod."""
    import kopf

    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.enforce_retry_after = True
    settings.queueing.idle_timeout = 1.0
    settings.execution.max_workers = 2
    settings.process.ultimate_exiting_timeout = 2 * EXIT_SECONDS
    # Nothing of these is ever written; should somebody add a handler that writes, it stays under our domain.
    settings.persistence.finalizer = "shoal.dev/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="kopf.shoal.dev")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="kopf.shoal.dev")
    return settings


class KopfThread:
    """Runs kopf until ``stop``.

    Args:
        namespaces: where to watch; empty: everywhere.
        on_end: called from kopf's thread when kopf ended without being asked to, with the reason.
    """

    def __init__(
        self,
        enqueue: Enqueue,
        access: ApiAccess,
        *,
        namespaces: Sequence[str],
        on_end: Callable[[str], None],
    ) -> None:
        self._enqueue = enqueue
        self._access = access
        self._namespaces = tuple(namespaces)
        self._on_end = on_end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        """Import kopf and start watching, in the background."""
        self._thread.start()

    async def stop(self) -> None:
        """End kopf; gives up waiting after ``EXIT_SECONDS``."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, EXIT_SECONDS)
        if self._thread.is_alive():
            logger.warning("kopf did not end within %.0f s; leaving it behind", EXIT_SECONDS)

    def _run(self) -> None:
        import kopf

        # It says that signals are ignored outside of the main thread: they are handled there.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        scope: dict[str, Any] = {"namespaces": self._namespaces} if self._namespaces else {"clusterwide": True}
        reason = "it ended by itself"
        try:
            kopf.run(
                registry=build_registry(self._enqueue, self._access),
                settings=build_settings(),
                standalone=True,
                stop_flag=self._stop,
                **scope,
            )
        except Exception as error:  # noqa: BLE001  (handed on: the process ends with it)
            reason = repr(error)
        if not self._stop.is_set():
            self._on_end(f"kopf is gone: {reason}")


def _connection(access: ApiAccess) -> kopf.ConnectionInfo:
    import kopf

    token = access.token
    if access.token_file is not None:
        token = access.token_file.read_text(encoding="utf-8").strip()
    return kopf.ConnectionInfo(
        server=access.server,
        ca_data=access.ca_data,
        insecure=access.insecure,
        token=token,
        certificate_data=access.client_certificate,
        private_key_data=access.client_key,
        default_namespace=access.namespace,
        expiration=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=LOGIN_SECONDS),
    )
