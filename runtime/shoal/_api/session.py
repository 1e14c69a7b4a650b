"""The session of this interpreter: ``init``, ``shutdown``, and starting a node on a laptop.

Invariant: there is at most one session; what ``init`` started, ``shutdown`` (or the end of the process, however it
ends) stops.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shoal.exceptions import RemoteDriverError, SystemFailureError
from shoal.owner.process import OwnerProcess
from shoal.owner.refs import set_process
from shoal.resources import ResourceSet

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
LAST_OUTPUT_SECONDS: Final = 1.0
OTHERS_OUTPUT_SECONDS: Final = 0.2
NODE_SOCKET: Final = "SHOAL_NODE_SOCKET"
HEAD_ADDRESS: Final = "SHOAL_ADDRESS"


@dataclass(slots=True)
class _Session:
    process: OwnerProcess
    namespace: str
    log_to_driver: bool
    node: subprocess.Popen[bytes] | None = None  # the node that init() started
    lifeline: int = -1  # closes with this process, however it ends
    directory: str = ""
    pid: int = 0


_session: _Session | None = None
_lock = threading.RLock()


class ClientContext:
    """What ``init`` returns: facts about the session; usable as a context manager that shuts it down.

    Example:
        >>> with shoal.init(num_cpus=2) as context:
        ...     print(context.address_info["node_id"])
    """

    def __init__(self, info: dict[str, Any]) -> None:
        self.address_info = {
            "node_id": info["node_id"],
            "node_ip_address": info["ip"],
            "session_dir": info["session_dir"],
            "address": info.get("address", ""),
        }
        self.dashboard_url = ""
        self.python_version = sys.version.split()[0]

    def __getitem__(self, name: str) -> Any:
        return self.address_info[name]

    def __enter__(self) -> ClientContext:
        return self

    def __exit__(self, *_exc: object) -> None:
        shutdown()

    def disconnect(self) -> None:
        """Same as ``shutdown``."""
        shutdown()

    def __repr__(self) -> str:
        return f"ClientContext({self.address_info})"


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    object_store_memory: int | None = None,
    namespace: str | None = None,
    ignore_reinit_error: bool = False,
    log_to_driver: bool = True,
    **unsupported: Any,
) -> ClientContext:
    """Start a session: join the node this process runs on, or start one on this machine.

    A program that a head started, and what it starts, find their node by the environment; elsewhere a node of this
    process's own is started and ends with it. Follows Ray's ``init``, but for drivers that run on no node of the
    cluster: where the address, or without one ``SHOAL_ADDRESS``, names a head, this refuses.

    Args:
        address: None (join if there is a node, else what ``SHOAL_ADDRESS`` says, else start one), "local" (always
            start), "auto" (join or fail).
        num_cpus: logical CPUs of the node that is started; by default the cores this process may use.
        num_gpus: likewise, default 0.
        resources: further logical resources, name to quantity.
        object_store_memory: bytes of shared memory for objects; default 30 % of what is available.
        namespace: where named actors are looked up; a name of its own for each session when not given.
        ignore_reinit_error: return the running session instead of raising.
        log_to_driver: print what workers write.

    Raises:
        RuntimeError: there is a session already.
        ValueError: resources are given although a node is joined, an amount is wrong, or an option is unknown.
        RemoteDriverError: a head is named, and this process runs on none of its nodes.
        ConnectionError: "auto", and there is no node.
        SystemFailureError: the node did not start or does not answer.
    """
    global _session
    unknown = {name: value for name, value in unsupported.items() if name not in _IGNORED_OPTIONS}
    if unknown:
        raise ValueError(f"init() got options that this version of Shoal does not support: {sorted(unknown)}")
    with _lock:
        if _session is not None:
            if not ignore_reinit_error:
                raise RuntimeError(
                    "Maybe you called init twice by accident? Pass ignore_reinit_error=True, or call shutdown() first."
                )
            return ClientContext(_session.process.info)
        given = {
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "resources": resources,
            "object_store_memory": object_store_memory,
        }
        socket_path = _existing_node(address)
        if socket_path and any(value is not None for value in given.values()):
            names = sorted(name for name, value in given.items() if value is not None)
            raise ValueError(f"{names} describe a node to start, but this process joins a running one")
        _session = _join(socket_path) if socket_path else _start(given)
        _session.namespace = namespace or os.urandom(8).hex()
        _session.log_to_driver = log_to_driver
        return ClientContext(_session.process.info)


_IGNORED_OPTIONS: Final = frozenset(
    {
        "include_dashboard",
        "dashboard_host",
        "dashboard_port",
        "configure_logging",
        "logging_level",
        "logging_format",
        "logging_config",
        "local_mode",
        "_temp_dir",
        "_system_config",
    }
)
"""Options of Ray about things that Shoal does not have (yet) and whose absence changes no result."""


def _existing_node(address: str | None) -> str:
    """The socket of the node to join, "" to start one. A node around this process comes before ``SHOAL_ADDRESS``."""
    path = os.environ.get(NODE_SOCKET, "")
    source = "address"
    if address in (None, "auto") and not path and os.environ.get(HEAD_ADDRESS):
        address, source = os.environ[HEAD_ADDRESS], HEAD_ADDRESS
    if address == "local":
        return ""
    if address not in (None, "auto"):
        raise _remote_driver(address, source, inside=bool(path))
    if address == "auto" and not path:
        raise ConnectionError(f"no running node: {NODE_SOCKET} is not set. Call init() to start one")
    return path


def _remote_driver(address: str, source: str, *, inside: bool) -> RemoteDriverError:
    named = f"the head at {address}" + (f" (from {source})" if source == HEAD_ADDRESS else "")
    if inside:
        advice = "This program runs on a node already: call init() without an address to join that"
    else:
        unset = f" with {HEAD_ADDRESS} unset" if source == HEAD_ADDRESS else ""
        host = address.removeprefix("ray://")
        shown = (
            host if host == address else f"{host.rpartition(':')[0] or host}:7380"
        )  # Ray's clients have another port
        advice = (
            f"Run it there: shoal job submit --address {shown} --token-file FILE -- python PROGRAM. "
            f"For a node on this machine: init('local'), or init(){unset}"
        )
    words = f"init() cannot join {named}: a program on none of its nodes cannot be its driver yet. {advice}"
    return RemoteDriverError(words, address=address, source=source)


def _job() -> dict[str, Any]:
    """What workers need to run this program's functions."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    paths = [os.path.dirname(os.path.abspath(script))] if script else [os.getcwd()]
    paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    package = os.environ.get("SHOAL_JOB_PACKAGE", "")
    return {
        "id": os.environ.get("SHOAL_JOB_ID", ""),
        "package": package,
        # The package is the same everywhere; a path may be another program's on another node.
        "paths": [] if package else [os.path.abspath(path) for path in paths],
        "cwd": os.getcwd(),
        "env": {},
    }


def _join(socket_path: str) -> _Session:
    process = _driver(socket_path)
    set_process(process)
    return _Session(process, "", True, pid=os.getpid())


def _driver(socket_path: str) -> OwnerProcess:
    process = OwnerProcess(socket_path, "driver", os.urandom(16), _job(), _from_agent, _agent_lost)
    process.open()
    return process


def _start(given: dict[str, Any]) -> _Session:
    # Wrong amounts are refused here, where the caller's line is in the traceback, and not by the node.
    ResourceSet.from_units({"CPU": given["num_cpus"] or 0, "GPU": given["num_gpus"] or 0, **(given["resources"] or {})})
    directory = _session_directory()
    lifeline_read, lifeline_write = os.pipe2(os.O_CLOEXEC)
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    command = [
        sys.executable,
        "-m",
        "shoal.cli.start",
        "--head",
        "--local",
        "--session-dir",
        directory,
        "--owner-pid",
        str(os.getpid()),
        "--lifeline-fd",
        str(lifeline_read),
        "--ready-fd",
        str(ready_write),
    ]
    for flag, name in (("--num-cpus", "num_cpus"), ("--num-gpus", "num_gpus")):
        if given[name] is not None:
            command += [flag, str(given[name])]
    if given["object_store_memory"] is not None:
        command += ["--object-store-bytes", str(int(given["object_store_memory"]))]
    if given["resources"]:
        command += ["--resources", json.dumps(given["resources"])]
    node = subprocess.Popen(
        command, pass_fds=(lifeline_read, ready_write), stdin=subprocess.DEVNULL, start_new_session=True
    )
    os.close(lifeline_read)
    os.close(ready_write)
    try:
        ready = _read_ready(ready_read, node)
        process = _driver(ready["socket"])
    except BaseException:
        os.close(lifeline_write)
        _stop_node(node)
        shutil.rmtree(directory, ignore_errors=True)
        raise
    finally:
        os.close(ready_read)
    set_process(process)
    return _Session(process, "", True, node, lifeline_write, directory, os.getpid())


def _session_directory() -> str:
    root = Path(os.environ.get("SHOAL_HOME") or Path(tempfile.gettempdir()) / f"shoal-{os.getuid()}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.getuid() or root.stat().st_mode & 0o077:
        raise SystemFailureError(f"{root} must belong to you and be closed to others (mode 0700); set SHOAL_HOME")
    path = root / os.urandom(4).hex()
    path.mkdir(mode=0o700)
    return str(path)


def _read_ready(fd: int, node: subprocess.Popen[bytes]) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        readable, _, _ = select.select([fd], [], [], START_SECONDS)
        chunk = os.read(fd, 65536) if readable else b""
        if not chunk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(STOP_SECONDS if readable else 0)  # it has closed the pipe: it ends
            code = node.poll()
            ended = f"it ended with exit code {code}" if code is not None else f"no answer in {START_SECONDS:g} s"
            raise SystemFailureError(f"the node process did not start: {ended}; its output is above")
        data += chunk
    ready: dict[str, Any] = json.loads(data)
    return ready


def _stop_node(node: subprocess.Popen[bytes]) -> None:
    if node.poll() is None:
        node.send_signal(signal.SIGTERM)
    try:
        node.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()


def shutdown(*, wait_for_processes: bool = True) -> None:  # noqa: ARG001  # Ray's signature
    """End the session; stops the node if ``init`` started it. Idempotent; runs at exit by itself.

    Args:
        wait_for_processes: accepted for Ray's sake; processes are always waited for.
    """
    global _session
    try:
        _show_last_output()
    finally:
        with _lock:
            session, _session = _session, None
        _close(session)


def _show_last_output() -> None:
    """What tasks printed comes by another way than their results: let it arrive before the session ends."""
    session = _session
    if session is None or session.pid != os.getpid() or not session.log_to_driver or session.process.closed:
        return
    with contextlib.suppress(SystemFailureError):
        session.process.ask("drain_output", timeout_seconds=LAST_OUTPUT_SECONDS)
    if session.node is None:  # workers of other nodes cannot be asked from here
        session.process.reactor.run_until(lambda: False, time.monotonic() + OTHERS_OUTPUT_SECONDS)


def _close(session: _Session | None) -> None:
    if session is None or session.pid != os.getpid():
        return  # nothing to do, or a forked child that inherited its parent's session
    set_process(None)
    session.process.close()
    if session.node is not None:
        os.close(session.lifeline)
        _stop_node(session.node)
        shutil.rmtree(session.directory, ignore_errors=True)


atexit.register(shutdown)


def is_initialized() -> bool:
    """Whether there is a session. Never starts one."""
    return _session is not None or _worker_process() is not None


def _worker_process() -> OwnerProcess | None:
    from shoal.owner import refs

    return refs._process


def process() -> OwnerProcess:
    """The owner process of this interpreter; starts a session when there is none (Ray's auto-init).

    Raises:
        SystemFailureError: auto-init is off (``SHOAL_ENABLE_AUTO_CONNECT=0``) and nothing is started.
    """
    current = _worker_process()
    if current is not None:
        return current
    for name in ("SHOAL_ENABLE_AUTO_CONNECT", "RAY_ENABLE_AUTO_CONNECT"):
        if os.environ.get(name) == "0":
            raise SystemFailureError("Shoal has not been started yet. Call init() first.")
    init(ignore_reinit_error=True)
    current = _worker_process()
    assert current is not None
    return current


def started_process() -> OwnerProcess:
    """Like ``process``, without auto-init.

    Raises:
        SystemFailureError: nothing is started.
    """
    current = _worker_process()
    if current is None:
        raise SystemFailureError("Shoal has not been started yet. Call init() first.")
    return current


def namespace() -> str:
    """The namespace of this session's named actors."""
    if _session is not None:
        return _session.namespace
    current = _worker_process()
    return str(current.job.get("namespace", "")) if current is not None else ""


# What the agent tells a driver


def _from_agent(method: str, args: tuple[Any, ...], _payload: bytes) -> None:
    if method == "log" and _session is not None and _session.log_to_driver:
        source, lines, is_err = args
        stream = sys.stderr if is_err else sys.stdout
        try:
            stream.write("".join(f"{source} {line}\n" for line in lines))
            stream.flush()
        except (OSError, ValueError):
            return  # the driver's output is closed; its program goes on


def _agent_lost(reason: str) -> None:
    if _session is not None:
        print(f"shoal: {reason}; nothing more can run in this session", file=sys.stderr)  # noqa: T201
