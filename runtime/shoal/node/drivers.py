"""Submitted drivers on this node: those of jobs that asked for resources. The head decides, the node runs.

Invariants: a driver's resources are held from its start until all of its processes are gone; the head hears of its
end again and again until it says that it has taken it down; nothing of a driver outlives the agent.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shoal.core.scheduler import LeaseScheduler
from shoal.jobs.environment import driver_environment
from shoal.node.leases import Leases
from shoal.node.packages import PackageCache
from shoal.resources import ResourceSet, describe
from shoal.wire.reactor import Reactor

if TYPE_CHECKING:
    from shoal.jobs.supervisor import DriverLaunch, DriverSupervisor
    from shoal.protocol import node_pb2
    from shoal.protocol.link import HeadLink

_HOLDER: Final = "driver:"
CLOSE_SECONDS: Final = 0.5


@dataclass(eq=False)
class _Driver:
    submission_id: str
    job_id: str
    entrypoint: str
    package: str
    environment: dict[str, str]
    state: str = "STATE_STARTING"
    exit_code: int = 0
    message: str = ""
    stop_grace_seconds: float | None = None
    launched: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state in {"STATE_EXITED", "STATE_FAILED"}


class Drivers:
    """See the module; all methods run in the reactor's thread.

    Args:
        reactor: the agent's.
        session_directory: of the agent; drivers live in its ``jobs`` folder.
        node_socket: where drivers connect.
        scheduler: whose resources drivers hold.
        leases: carries out what becomes possible when a driver gives its resources back.
        packages: the working directories.
        link: to the head.
        changed: called when what is held has changed.
    """

    def __init__(
        self,
        reactor: Reactor,
        session_directory: str,
        node_socket: str,
        scheduler: LeaseScheduler,
        leases: Leases,
        packages: PackageCache,
        link: Callable[[], HeadLink],
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._session_directory, self._node_socket = session_directory, node_socket
        self._scheduler, self._leases, self._packages = scheduler, leases, packages
        self._link, self._changed = link, changed
        self._drivers: dict[str, _Driver] = {}
        self._supervisor: DriverSupervisor | None = None

    def __len__(self) -> int:
        return sum(not driver.has_ended for driver in self._drivers.values())

    # The head's orders

    def take_order(self, message: node_pb2.HeadMessage) -> None:
        """One of ``start_driver``, ``stop_driver`` and ``forget_driver``."""
        match message.WhichOneof("body"):
            case "start_driver":
                self.start(message.start_driver)
            case "stop_driver":
                self.stop(message.stop_driver.submission_id, message.stop_driver.grace_seconds)
            case _:
                self.forget(message.forget_driver.submission_id)

    def start(self, order: node_pb2.StartDriver) -> None:
        """Hold the resources, fetch the working directory, start the driver."""
        known = self._drivers.get(order.submission_id)
        if known is not None:
            self._report(known)
            return
        driver = _Driver(order.submission_id, order.job_id, order.entrypoint, order.package, dict(order.environment))
        lacking = {"the node": 1} if self._scheduler.draining else {}
        shape = ResourceSet(order.resources.amounts)
        lacking = lacking or self._scheduler.reserve(_holder(driver), shape, driver.job_id)
        if lacking:
            driver.state, driver.message = "STATE_REFUSED", f"{describe(lacking)} more would be needed"
            self._report(driver)
            return
        self._drivers[driver.submission_id] = driver
        self._changed()
        self._report(driver)
        self._packages.ensure(driver.package, lambda words: self._fetched(driver, words))

    def stop(self, submission_id: str, grace_seconds: float) -> None:
        """End a driver: SIGTERM, then SIGKILL after the grace."""
        driver = self._drivers.get(submission_id)
        if driver is None or driver.has_ended:
            return
        driver.stop_grace_seconds = grace_seconds
        if driver.launched and self._supervisor is not None:
            self._supervisor.stop(submission_id, grace_seconds)

    def forget(self, submission_id: str) -> None:
        """The head has taken the end down."""
        driver = self._drivers.get(submission_id)
        if driver is not None and driver.has_ended:
            del self._drivers[submission_id]
            threading.Thread(
                target=shutil.rmtree, args=(self._directory(driver), True), name="shoal-remove-driver", daemon=True
            ).start()

    def tell_again(self) -> None:
        """A session has begun: the head may not know what happened here."""
        for driver in self._drivers.values():
            self._report(driver)

    def stop_all(self, grace_seconds: float) -> None:
        """The node stops."""
        for submission_id in list(self._drivers):
            self.stop(submission_id, grace_seconds)

    def close(self) -> None:
        """End what is left. Idempotent."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.close(CLOSE_SECONDS)

    # Its life here

    def _fetched(self, driver: _Driver, words: str | None) -> None:
        if words is not None:
            self._ended(driver, "STATE_FAILED", 0, words)
            return
        # Copying files may take a second; the reactor must go on meanwhile.
        threading.Thread(target=self._prepare, args=(driver,), name="shoal-driver-files", daemon=True).start()

    def _prepare(self, driver: _Driver) -> None:
        work = self._directory(driver) / "work"
        try:
            work.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if driver.package:
                source = Path(self._session_directory) / "packages" / driver.package
                shutil.copytree(source, work, symlinks=True, dirs_exist_ok=True)
            else:
                work.mkdir(mode=0o700, exist_ok=True)
        except (OSError, shutil.Error) as error:
            words = f"could not prepare the job's directory: {error}"
            self._reactor.call_soon(lambda: self._ended(driver, "STATE_FAILED", 0, words))
            return
        self._reactor.call_soon(lambda: self._launch(driver, str(work)))

    def _launch(self, driver: _Driver, directory: str) -> None:
        from shoal.jobs.supervisor import DriverLaunch

        if driver.stop_grace_seconds is not None:
            self._ended(driver, "STATE_EXITED", 143, "")
            return
        environment = driver_environment(
            driver.environment,
            node_socket=self._node_socket,
            session_directory=self._session_directory,
            job_id=driver.job_id,
            package=driver.package,
        )
        log_path = self._directory(driver) / "driver.log"
        launch = DriverLaunch(driver.submission_id, driver.entrypoint, directory, environment, log_path)
        driver.launched = True
        self._start_launch(launch)

    def _start_launch(self, launch: DriverLaunch) -> None:
        from shoal.jobs.supervisor import DriverEvents, DriverSupervisor

        if self._supervisor is None:
            hop = self._reactor.call_soon
            events = DriverEvents(
                started=lambda key, _pid: hop(lambda: self._started(key)),
                wrote=lambda key, data: hop(lambda: self._wrote(key, data)),
                exited=lambda key, code: hop(lambda: self._over(key, "STATE_EXITED", code, "")),
                could_not_start=lambda key, words: hop(lambda: self._over(key, "STATE_FAILED", 0, words)),
            )
            self._supervisor = DriverSupervisor(events)
        self._supervisor.start(launch)

    def _started(self, submission_id: str) -> None:
        driver = self._drivers[submission_id]
        driver.state = "STATE_RUNNING"
        self._report(driver)
        if driver.stop_grace_seconds is not None and self._supervisor is not None:
            self._supervisor.stop(submission_id, driver.stop_grace_seconds)

    def _wrote(self, submission_id: str, data: bytes) -> None:
        from shoal.protocol import node_pb2

        output = node_pb2.DriverOutput(submission_id=submission_id, data=data)
        self._link().send(node_pb2.NodeMessage(driver_output=output))

    def _over(self, submission_id: str, state: str, code: int, words: str) -> None:
        driver = self._drivers.get(submission_id)
        if driver is not None:
            self._ended(driver, state, code, words)

    def _ended(self, driver: _Driver, state: str, code: int, words: str) -> None:
        driver.state, driver.exit_code, driver.message = state, code, words
        self._leases.release(_holder(driver))
        self._report(driver)
        self._changed()

    def _report(self, driver: _Driver) -> None:
        from shoal.protocol import node_pb2

        report = node_pb2.DriverReport(
            submission_id=driver.submission_id,
            state=driver.state,
            exit_code=driver.exit_code,
            message=driver.message,
        )
        self._link().send(node_pb2.NodeMessage(driver_report=report))

    def _directory(self, driver: _Driver) -> Path:
        return Path(self._session_directory) / "jobs" / driver.submission_id


def _holder(driver: _Driver) -> str:
    return _HOLDER + driver.submission_id
