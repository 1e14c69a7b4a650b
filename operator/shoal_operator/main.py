"""The operator's process: everything is made and joined here, and only here.

Order of a start: settings, API client, informers, the lease when they have synced, then the workers, then kopf in
its thread. Order of an end: workers (passes under way may finish), events, heads, lease, kopf.

Invariant: workers run only after every informer has synced and while the lease is held; when the lease is
lost, or anything that should run for ever ends, the process ends at once and its successor starts from what
the API server says.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import functools
import logging
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from shoal_operator import settings as settings_module
from shoal_operator.kube.access import AccessError, ApiAccess, find_access
from shoal_operator.settings import Settings, SettingsError
from shoal_operator.telemetry import logging as log_lines

logger = logging.getLogger(__name__)

EXIT_USAGE: Final = 2
EXIT_LOST: Final = 3
"""The lease was lost, or a part that must not end ended: start again."""
TLS_BUFFER_BYTES: Final = 32 * 1024
"""Of each TLS connection; two records fit. asyncio's own are of 256 KiB, which is most of a connection's memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator; returns the exit code."""
    try:
        settings = settings_module.load(sys.argv[1:] if arguments is None else arguments, os.environ)
        access = find_access(settings.kubeconfig, os.environ)
    except (SettingsError, AccessError) as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    log_lines.configure(settings.log_format, settings.log_level)
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    return asyncio.run(_run(settings, access))


async def _run(settings: Settings, access: ApiAccess) -> int:
    # After the arguments are known to be right: these take time.
    from shoal_operator.composition import Operator
    from shoal_operator.handlers import EXIT_SECONDS, KopfThread
    from shoal_operator.kube.version import UnsupportedServerError
    from shoal_operator.telemetry.server import MetricsTokenError

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, functools.partial(_on_signal, number, stop))
    kopf = KopfThread(access, settings.namespaces)
    operator = Operator(
        settings,
        access,
        identity=f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}",
        rng=random.Random(settings.seed),
        new_token=functools.partial(secrets.token_urlsafe, 32),
        die=_die,
        kopf=kopf,
    )
    try:
        await operator.run(stop)
    except (MetricsTokenError, OSError) as error:  # of the pages; nothing has been written yet
        logger.critical("cannot serve %s: %s", settings.metrics_address, error)
        return EXIT_USAGE
    except ExceptionGroup as group:
        refused = group.subgroup(UnsupportedServerError)
        if refused is not None:
            logger.critical("%s", refused.exceptions[0])
            return EXIT_USAGE
        logger.error("the operator ends: %s", group, exc_info=group)
        return EXIT_LOST
    if not await kopf.join(EXIT_SECONDS):
        _die("kopf does not end", 0)
    return 0


def _on_signal(number: int, stop: asyncio.Event) -> None:
    if stop.is_set():
        _die("a second signal", 128 + number)
    logger.info("%s: ending", signal.Signals(number).name)
    stop.set()


def _die(reason: str, code: int = EXIT_LOST) -> Any:
    """End now, without a word to anybody: another leader may be at work already."""
    logger.critical("ending at once: %s", reason)
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
