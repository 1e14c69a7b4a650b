"""Which Kubernetes we can work with, asked before anything is written.

Invariant: a server that is too old is refused with its version and ours; one that does not answer is waited for; one
that does not say its version (a proxy, a missing right) is taken as it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from typing import Any, Final

from shoal_operator.control.backoff import BackoffPolicy, Retrier
from shoal_operator.kube import errors
from shoal_operator.kube.client import ApiClient

logger = logging.getLogger(__name__)

OLDEST: Final = (1, 30)
"""The first Kubernetes whose API servers evaluate all rules of our definitions and server-side apply as we use it."""


class UnsupportedServerError(Exception):
    """The API server is of a version that we cannot work with."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        oldest = ".".join(map(str, OLDEST))
        return f"this Kubernetes is {self.found}; Shoal needs {oldest} or later: upgrade the cluster"


def check_version(document: dict[str, Any]) -> None:
    """Look at the answer of ``/version``.

    Raises:
        UnsupportedServerError: it is older than ``OLDEST``.
    """
    found = str(document.get("gitVersion") or "")
    parts = re.match(r"v?(\d+)\.(\d+)", found)
    if parts is None:
        logger.warning("the API server does not say which version it has (%.60r); going on", found)
    elif (int(parts[1]), int(parts[2])) < OLDEST:
        raise UnsupportedServerError(found)


async def await_supported_server(client: ApiClient, rng: random.Random) -> None:
    """Return once the server has said its version.

    Raises:
        UnsupportedServerError: it is too old.
    """
    retrier = Retrier(BackoffPolicy(base_seconds=0.1, cap_seconds=10.0), rng)
    while True:
        try:
            check_version(await client.server_version())
            return
        except errors.UnavailableError as error:
            logger.debug("no version of the API server yet: %s", error)
        except errors.TooManyRequestsError as error:
            await asyncio.sleep(error.retry_after_seconds)
        except errors.ApiError as error:
            logger.warning("cannot read the version of the API server: %s; going on", error)
            return
        await asyncio.sleep(retrier.next_delay())
