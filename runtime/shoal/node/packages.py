"""The packages of jobs on this node: fetched and unpacked once, shared by all workers of the job.

Invariant: ``packages/<hash>`` exists only whole: a package is unpacked beside it and renamed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal.protocol.link import HeadCallError, HeadLink
from shoal.wire.reactor import Reactor

HASH: Final = re.compile(r"[A-Za-z0-9_-]{8,128}")
OnPackage = Callable[[str | None], None]
"""Called with None when the package is there, or with words."""


class PackageCache:
    """See the module.

    Args:
        reactor: callbacks run in its thread.
        directory: ``<session>/packages``.
        link: to the head.
    """

    def __init__(self, reactor: Reactor, directory: Path, link: Callable[[], HeadLink]) -> None:
        self._reactor = reactor
        self._directory = directory
        self._link = link
        self._waiting: dict[str, list[OnPackage]] = {}

    def ensure(self, digest: str, on_done: OnPackage) -> None:
        """Call ``on_done`` when the package is unpacked; at once when it is already."""
        if not digest or (HASH.fullmatch(digest) and (self._directory / digest).is_dir()):
            on_done(None)
            return
        if not HASH.fullmatch(digest):
            on_done(f"{digest!r} is not the hash of a package")
            return
        waiting = self._waiting.setdefault(digest, [])
        waiting.append(on_done)
        if len(waiting) == 1:
            # Fetching and unpacking may take a second; the reactor must go on meanwhile.
            threading.Thread(target=self._fetch, args=(digest,), name="shoal-package", daemon=True).start()

    def _fetch(self, digest: str) -> None:
        from shoal.jobs.packages import unpack
        from shoal.protocol import node_pb2

        words: str | None = None
        try:
            request = node_pb2.FetchPackageRequest(hash=digest)
            data = self._link().call("FetchPackage", request).result(timeout=60.0).data
            self._install(digest, data, unpack)
        except HeadCallError as error:
            words = f"package {digest} could not be fetched: {error}"
        except (OSError, zipfile.BadZipFile, TimeoutError) as error:
            words = f"package {digest} could not be unpacked: {type(error).__name__}: {error}"
        self._reactor.call_soon(lambda: self._done(digest, words))

    def _install(self, digest: str, data: bytes, unpack: Callable[[bytes, Path], None]) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{digest}-", dir=self._directory))
        try:
            unpack(data, fresh)
            os.rename(fresh, self._directory / digest)
        except OSError:
            if not (self._directory / digest).is_dir():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _done(self, digest: str, words: str | None) -> None:
        for on_done in self._waiting.pop(digest, []):
            on_done(words)
