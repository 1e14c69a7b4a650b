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

from shoal_operator.domain.labels import DOMAIN
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
RESTART_SECONDS: Final = 15.0
IDENTITY: Final[Any] = "shoal-operator"
"""Says nothing, as there is no peering; but kopf would ask for the user's name, and a container's user has none."""


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
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 5, 10, 20)
    settings.queueing.idle_timeout = 1.0
    settings.execution.max_workers = 2
    settings.process.ultimate_exiting_timeout = 2 * EXIT_SECONDS
    # Nothing of these is ever written; should somebody add a handler that writes, it stays under our domain.
    settings.persistence.finalizer = f"{DOMAIN}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{DOMAIN}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{DOMAIN}")
    return settings


class KopfThread:
    """Runs kopf until it is asked to stop.

    When kopf ends for another reason (it takes some errors of a watch for fatal, and gives up after a
    minute without a server), it is started again after a while: it only wakes keys that the informers
    wake too.

    Args:
        access: the API server.
        namespaces: where to watch; empty: everywhere.
    """

    def __init__(self, access: ApiAccess, namespaces: Sequence[str]) -> None:
        self._access = access
        self._scope: dict[str, Any] = {"namespaces": tuple(namespaces)} if namespaces else {"clusterwide": True}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, enqueue: Enqueue) -> None:
        """Import kopf and start watching, in the background; ``enqueue`` is called in that thread."""
        self._thread = threading.Thread(target=self._run, args=(enqueue,), name="kopf", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let kopf end, without waiting for it."""
        self._stop.set()

    async def join(self, timeout_seconds: float) -> bool:
        """Wait for its end. Returns whether it ended in time; a daemon thread may be left behind."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, enqueue: Enqueue) -> None:
        import kopf

        # It says that signals are ignored outside of the main thread: they are handled there.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        while not self._stop.is_set():
            try:
                kopf.run(
                    registry=build_registry(enqueue, self._access),
                    settings=build_settings(),
                    standalone=True,
                    identity=IDENTITY,
                    stop_flag=self._stop,
                    **self._scope,
                )
            except Exception as error:  # said below, and started again
                logger.debug("kopf failed", exc_info=error)
            if not self._stop.is_set():
                logger.warning("kopf ended by itself; starting it again in %.0f s", RESTART_SECONDS)
                self._stop.wait(RESTART_SECONDS)


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
