"""What a job has on the head's disk: its program, the directory it runs in, its log.

Invariant: everything of a job is below the one directory of its submission id, and goes with it; a job that is
submitted anew under an id that was forgotten finds nothing of the earlier one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shoal.core.jobs import JobSpec
from shoal.jobs import packages
from shoal.jobs.package_store import PackageError, PackageStore
from shoal.jobs.submission import SubmitError
from shoal.jobs.transfer import shown
from shoal.jobs.transfers import Fault

FORGOTTEN_PREFIX: Final = ".forgotten-"
"""No submission id begins with a dot."""


class JobDirectories:
    """Thread-safe: every job has files of its own.

    Args:
        session_directory: of the node (0700); jobs live in its ``jobs`` folder.
        package_store: where programs are kept for the workers.
        fetch: brings what is at a URI into a directory; returns what went wrong.
    """

    def __init__(
        self, session_directory: Path, package_store: PackageStore, fetch: Callable[[str, Path], Fault | None]
    ) -> None:
        self._jobs = session_directory / "jobs"
        self._packages, self._fetch = package_store, fetch

    def log_path(self, submission_id: str) -> Path:
        """Where a job's output is."""
        return self._jobs / submission_id / "driver.log"

    def make(self, submission_id: str) -> Path:
        """The job's directory; raises OSError."""
        own = self._jobs / submission_id
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        return own

    def set_aside(self, submission_id: str) -> Path:
        """The directory of a forgotten job under a name that no job has: it may be removed without haste."""
        directory = self._jobs / submission_id
        aside = directory.with_name(f"{FORGOTTEN_PREFIX}{submission_id}")
        with contextlib.suppress(OSError):
            directory.rename(aside)
        return aside

    def fetched(self, submission_id: str, directory: str) -> str:
        """A URI becomes a directory with what was in its archive; takes seconds.

        Raises:
            SubmitError: NoSource, NotFetched.
        """
        if "://" not in directory:
            return directory
        target = self._jobs / submission_id / "source"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700, parents=True)
        fault = self._fetch(directory, target)
        if fault is not None and fault.is_final:
            words = f"the program at {shown(directory)} cannot be fetched: {fault.words}"
            raise SubmitError("NoSource", f"{words}; correct the URI, or put an archive there that the head may read")
        if fault is not None:
            raise SubmitError("NotFetched", f"the program at {shown(directory)} could not be fetched: {fault.words}")
        return str(target)

    def pack(self, directory: str) -> tuple[str, bytes]:
        """The hash and the archive of a working directory, which is kept for the workers; empty: of none.

        Raises:
            SubmitError: Unreadable, TooLarge.
        """
        if not directory:
            return "", b""
        try:
            package, archive = packages.pack(directory)
            self._packages.put(package, archive)
        except PackageError as error:
            raise SubmitError(error.kind, str(error)) from error
        return package, archive

    def archive_of(self, package: str) -> bytes | None:
        """What ``pack`` kept; None when it is there no more."""
        return self._packages.get(package) if package else b""

    def prepare(self, spec: JobSpec, archive: bytes) -> str:
        """Where the job's driver is to run, with its program in it; raises OSError, ValueError."""
        own = self.make(spec.submission_id)
        if spec.working_directory and spec.run_in_place:
            return spec.working_directory
        work = own / "work"
        work.mkdir(mode=0o700, exist_ok=True)
        if archive:
            packages.unpack(archive, work)
        return str(work)
