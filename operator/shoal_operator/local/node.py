"""The node process of a local session: API server and kubelet in one process.

Run as ``python -m shoal_operator.local.node``. It writes the kubeconfig (0600), says ``{"url": ...}`` (or
``{"error": ..., "hint": ...}``) on the ready descriptor, and runs until SIGTERM or until its lifeline closes.

Invariant: when this process ends in any way but SIGKILL, no process of the session's pods is left; when its
supervisor is gone it takes the whole session with it, files included.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import secrets
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from shoal_operator.local.apiserver import ApiServer
from shoal_operator.local.client import Access, ApiClient
from shoal_operator.local.kubelet.events import EventRecorder
from shoal_operator.local.kubelet.kubelet import Kubelet
from shoal_operator.local.kubelet.lifecycle import RestartPolicy
from shoal_operator.local.kubelet.node_object import NodeSettings
from shoal_operator.local.kubelet.pod_setup import NodeContext
from shoal_operator.local.kubelet.proxy import ServiceAddresses
from shoal_operator.local.kubelet.translate import Host
from shoal_operator.local.loopback import LoopbackPool
from shoal_operator.local.session import remove_session_directory
from shoal_operator.local.spawn import adopt_orphans
from shoal_operator.local.sweep import SESSION_MARK, kill_marked

_log = logging.getLogger("shoal.node")
_LAST_RESORT_SECONDS: Final = 6.0


@dataclass(frozen=True)
class NodeOptions:
    """The command line. Descriptors are -1 when nobody holds the other end."""

    session_id: str
    directory: Path
    port: int
    lifeline_fd: int
    ready_fd: int
    restart_base_seconds: float


def parse_options(arguments: list[str]) -> NodeOptions:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="shoal_operator.local.node")
    parser.add_argument("--session-id", required=True)
    parser.add_argument("--directory", required=True, type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lifeline-fd", type=int, default=-1)
    parser.add_argument("--ready-fd", type=int, default=-1)
    parser.add_argument("--restart-base-seconds", type=float, default=RestartPolicy.base_seconds)
    return NodeOptions(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Run the node process."""
    options = parse_options(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    asyncio.run(run(options))


async def run(options: NodeOptions) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    adopt_orphans()
    _watch_lifeline(options, stop)
    pool = LoopbackPool(seed=int.from_bytes(options.session_id.encode()[-4:], "big"))
    server = ApiServer(pool)
    try:
        await server.start(port=options.port, directory=options.directory, token=secrets.token_urlsafe(32))
    except OSError as error:
        _say(options, _port_error(options.port, error))
        pool.close()
        return
    try:
        await _serve(options, server, pool, stop)
    finally:
        await server.stop()
        pool.close()
        kill_marked(SESSION_MARK, options.session_id)
        if _supervisor_is_gone(options):
            remove_session_directory(options.directory)


async def _serve(options: NodeOptions, server: ApiServer, pool: LoopbackPool, stop: asyncio.Event) -> None:
    kubeconfig = options.directory / "kubeconfig"
    _write_private(kubeconfig, yaml.safe_dump(server.kubeconfig(), sort_keys=False))
    async with ApiClient(Access.from_kubeconfig(kubeconfig)) as client:
        settings = NodeSettings()
        context = NodeContext(
            client=client,
            events=EventRecorder(client, settings.name),
            host=_host(options.session_id),
            root=options.directory,
            pool=pool,
            service_addresses=ServiceAddresses(pool),
            node_name=settings.name,
            allocatable=settings.capacity,
            restart_policy=RestartPolicy(base_seconds=options.restart_base_seconds),
        )
        kubelet = Kubelet(context, settings)
        server.register_log_source(kubelet)
        try:
            await kubelet.start()
            _say(options, {"url": server.url})
            await stop.wait()
        finally:
            await kubelet.stop()


def _host(session_id: str) -> Host:
    return Host(session_id, dict(os.environ), bin_directory=str(Path(sys.executable).parent))


def _write_private(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)


def _port_error(port: int, error: OSError) -> dict[str, str]:
    if error.errno == errno.EADDRINUSE:
        return {
            "error": f"port {port} of 127.0.0.1 is in use",
            "hint": "choose another one with --port, or leave --port out to get a free one",
        }
    return {"error": f"the API server cannot listen on port {port}: {error.strerror or error}", "hint": ""}


def _say(options: NodeOptions, answer: dict[str, str]) -> None:
    """Tell the supervisor, once."""
    if options.ready_fd < 0:
        print(json.dumps(answer), flush=True)
        return
    with suppress(OSError), os.fdopen(options.ready_fd, "w") as ready:
        ready.write(json.dumps(answer) + "\n")


def _supervisor_is_gone(options: NodeOptions) -> bool:
    """Whether the other end of the lifeline is closed."""
    if options.lifeline_fd < 0:
        return False
    readable, _, _ = select.select([options.lifeline_fd], [], [], 0)
    return bool(readable)


def _watch_lifeline(options: NodeOptions, stop: asyncio.Event) -> None:
    """Stop when the supervisor goes away; end by force when stopping hangs.

    A thread of its own watches, so that even a stuck event loop cannot keep the session alive.
    """
    if options.lifeline_fd < 0:
        return
    loop = asyncio.get_running_loop()
    watched = os.dup(options.lifeline_fd)

    def watch() -> None:
        os.read(watched, 1)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        time.sleep(_LAST_RESORT_SECONDS)
        kill_marked(SESSION_MARK, options.session_id)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


if __name__ == "__main__":
    main()
