"""The node agent: the shell that holds the parts of a node together on one reactor.

Everything here runs in the reactor's thread, except ``start`` (before the reactor runs) and ``stop`` (which
only hops there).

Invariants: a closed connection ends everything that was bound to it (leases, objects, subscriptions, jobs);
after ``on_stopped`` no process, descriptor or socket of the node is left.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shoal.core.ids import known_job
from shoal.core.scheduler import LeaseScheduler
from shoal.node.actors import Actors
from shoal.node.clients import LOCAL_KINDS, Client
from shoal.node.cluster_watch import ClusterWatch
from shoal.node.config import NodeConfig
from shoal.node.context import NodeContext
from shoal.node.drivers import Drivers
from shoal.node.inquiries import Inquiries
from shoal.node.leases import Leases
from shoal.node.obituaries import Obituaries
from shoal.node.packages import PackageCache
from shoal.node.peers import Peers
from shoal.node.placement_groups import PlacementGroups
from shoal.node.reports import Activity, Reporter, State
from shoal.node.retirement import Retirement
from shoal.node.services import Services, TaskCounts
from shoal.node.store_service import StoreService
from shoal.node.worker_pool import Worker, WorkerPool
from shoal.protocol.link import HeadLink, LinkEvents
from shoal.wire.connection import Connection
from shoal.wire.frames import Message
from shoal.wire.network import Network
from shoal.wire.reactor import Reactor
from shoal.wire.rpc import Caller
from shoal.wire.sockets import listen_tcp, listen_unix

if TYPE_CHECKING:
    from shoal.protocol import node_pb2

POLL_SECONDS: Final = 0.02
ENDED_GRACE_SECONDS: Final = 1.0
"""After the time of a retirement is over, for what is left."""
MakeLink = Callable[[LinkEvents], HeadLink]


class NodeAgent:
    """One node.

    Args:
        reactor: the caller runs it (``run_forever``) in the thread that calls ``start``, its main thread.
        config: of the node.
        make_link: makes the link to the head from the agent's side of it; not started yet.
        on_stopped: called with the reason when the node has stopped of its own accord or by ``stop``; stop
            the reactor then. The text begins with "refused: " when the head will not have this node.

    Example:
        >>> agent = NodeAgent(reactor, config, lambda events: LocalLink(head, events, reactor.call_soon), done)
        >>> agent.start()
        >>> reactor.run_forever()
    """

    def __init__(
        self, reactor: Reactor, config: NodeConfig, make_link: MakeLink, on_stopped: Callable[[str], None]
    ) -> None:
        self.reactor = reactor
        self.config = config
        self.port = 0
        self.clients: dict[str, Client] = {}  # local ones, by process id
        self._connections: set[Client] = set()
        self._on_stopped = on_stopped
        self._listeners: list[socket.socket] = []
        self._stopping = False
        self._stopped = False
        self._drain_state = "active"
        self._drain_reason = ""
        self._retirement: Retirement | None = None
        session = Path(config.session_dir)
        self.scheduler = LeaseScheduler(config.node_id, config.total, config.labels)
        self.packages = PackageCache(reactor, session / "packages", lambda: self.link)
        self.pool = WorkerPool(reactor, config, self.packages, self._worker_ended, self._worker_printed)
        self.obituaries = Obituaries(lambda worker_id: worker_id in self.pool.workers)
        self.leases = Leases(reactor, self.scheduler, self.pool, self.changed)
        inquiries = Inquiries(reactor, lambda: self.link)
        context = NodeContext(config.node_id, reactor, self.scheduler, self.leases, lambda: self.link, inquiries)
        self.actors = Actors(context, self.pool, self.changed)
        held = (self.scheduler, self.leases, self.packages)
        self.drivers = Drivers(reactor, config.session_dir, self.socket_path, *held, lambda: self.link, self.changed)
        self.network = Network(config.token, config.tls_directory) if config.token else None
        hello = {"process_id": config.node_id, "pid": os.getpid(), "job": {}}
        self.peers = Peers(reactor, self.network, hello)
        self.store = StoreService(reactor, config, self.peers, self.clients, self.changed)
        self._cluster = ClusterWatch(reactor, self.leases.update_view, self._node_lost)
        self.counts = TaskCounts(self._send_counts)
        self.reporter = Reporter(reactor, lambda: self.link, self._state)
        self.groups = PlacementGroups(context, self.reporter.forget)
        self._services = Services(self)
        self.link = make_link(
            LinkEvents(self._registration, self._on_head_message, self._on_connected, self._on_refused)
        )

    # Life

    @property
    def socket_path(self) -> str:
        """Where drivers and workers of this node connect."""
        return os.path.join(self.config.session_dir, "node.sock")

    def start(self) -> None:
        """Listen, start the template process, begin to connect to the head.

        Raises:
            OSError: a socket cannot be bound, or the certificates cannot be used; the text names it.
        """
        if self.network is not None:
            self.network.check()
        _raise_descriptor_limit()
        session = Path(self.config.session_dir)
        for directory in (session, session / "logs", session / "packages"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listen(listen_unix(self.socket_path), network=False)
        if self.config.frames_port is not None:
            try:
                listener = listen_tcp(self.config.ip, self.config.frames_port)
            except OSError as error:
                self._close_listeners()
                where = f"{self.config.ip}:{self.config.frames_port}"
                raise OSError(f"cannot listen for frames on {where}: {error}") from error
            self.port = int(listener.getsockname()[1])
            self._listen(listener, network=True)
        self.peers.hello["node"] = (self.config.node_id, self.config.ip, self.port)
        self.pool.start()
        self.link.start()

    def _listen(self, listener: socket.socket, *, network: bool) -> None:
        self._listeners.append(listener)
        self.reactor.add_listener(listener, lambda sock: self._accept(sock, network=network))

    def stop(self, reason: str, grace_seconds: float) -> None:
        """Grant nothing any more, give what runs its grace, end everything; ``on_stopped`` follows.

        Thread-safe; a second call makes it immediate.
        """
        self.reactor.call_soon(lambda: self._stop(reason, grace_seconds))

    def retire(self, reason: str, seconds: float) -> None:
        """Take no more work, finish what there is within ``seconds``, then ``stop``. In the reactor's thread."""
        if self._stopping or self._retirement is not None:
            return
        self._retirement = Retirement(
            self.reactor,
            self._activity,
            self.actors,
            lambda: self.link.connected,
            lambda: self._stop(reason, ENDED_GRACE_SECONDS),
        )
        self._drain_reason = reason
        if self._drain_state == "active":
            self._drain_state = "draining"
        self.leases.drain()
        self.reporter.send()
        self._retirement.begin(seconds)

    @property
    def retires(self) -> bool:
        """Whether it was asked to finish and end."""
        return self._retirement is not None

    def _stop(self, reason: str, grace_seconds: float) -> None:
        if self._stopping:
            self._finish(reason)
            return
        self._stopping = True
        self._drain_state = "draining"
        self.leases.drain()
        self.actors.stop_all(reason, grace_seconds)
        self.drivers.stop_all(grace_seconds)
        self._wait_for_end(reason, time.monotonic() + grace_seconds)

    def _wait_for_end(self, reason: str, deadline: float) -> None:
        if self._stopped:
            return
        for worker in list(self.pool.workers.values()):
            if worker.state == "idle":
                self.pool.stop(worker, reason, force=False)
        if not (self.pool.workers or len(self.drivers)) or time.monotonic() >= deadline:
            self._finish(reason)
        else:
            self.reactor.call_later(POLL_SECONDS, lambda: self._wait_for_end(reason, deadline))

    def _finish(self, reason: str) -> None:
        if self._stopped:
            return
        self._stopped = True
        self.reporter.close()
        self._close_listeners()
        self.drivers.close()
        self.link.close()
        self.pool.close()
        self.peers.close()
        for client in list(self._connections):
            client.connection.close(reason)
        self.store.close()
        self._on_stopped(reason)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            self.reactor.unregister(listener.fileno())
            listener.close()
        if self._listeners:
            Path(self.socket_path).unlink(missing_ok=True)
        self._listeners.clear()

    # Connections

    def _accept(self, sock: socket.socket, *, network: bool) -> None:
        if not network:
            connection = Connection(self.reactor, sock, self._on_frame, self._on_closed)
        else:
            assert self.network is not None
            made = self.network.accept(self.reactor, sock, self._on_frame, self._on_closed)
            if made is None:
                return
            connection = made
        client = Client(connection, Caller(connection), network)
        connection.attachment = client
        self._connections.add(client)

    def _on_frame(self, connection: Connection, message: Message, payload: bytes, fds: list[int]) -> None:
        self._services.receive(connection.attachment, message, payload, fds)

    def introduce(self, client: Client, kind: Any, info: dict[str, Any]) -> dict[str, Any]:
        """A hello: who the client is. Returns what it should know."""
        first = not client.kind
        client.kind = kind
        client.process_id = str(info["process_id"])
        client.pid = int(info.get("pid", 0))
        job = info.get("job") or {}
        if kind == "driver" and not job.get("id"):
            job["id"] = client.job_id or os.urandom(4).hex()
        client.job = job
        client.address = tuple(info["address"]) if info.get("address") else None
        if kind == "agent":
            client.node = tuple(info["node"])
        if kind in LOCAL_KINDS:
            self.clients[client.process_id] = client
        if kind == "driver" and first:
            self._driver_started(client)
        if kind == "worker" and client.address is not None and not self.pool.introduce(client):
            client.connection.close("this agent did not start that worker")
        return {
            "node_id": self.config.node_id,
            "ip": self.config.ip,
            "frames_port": self.port,
            "token": None if client.network else self.config.token,
            "tls_directory": self.config.tls_directory,
            "session_dir": self.config.session_dir,
            "multi_node": self.config.frames_port is not None,
            "total": dict(self.config.total),
            "head": self.config.is_head,
            "job_id": client.job_id,
        }

    def _driver_started(self, client: Client) -> None:
        from shoal.protocol import node_pb2

        started = node_pb2.DriverStarted(job_id=client.job_id)
        self.link.send(node_pb2.NodeMessage(driver_started=started))

    def _on_closed(self, connection: Connection, reason: str) -> None:
        client: Client = connection.attachment
        self._connections.discard(client)
        client.caller.fail_all(reason)
        self.leases.client_gone(client)
        self.actors.client_gone(client)
        self.groups.client_gone(client)
        if self.clients.get(client.process_id) is client:
            del self.clients[client.process_id]
            self.store.client_gone(client)
            self._remove_socket(client)
        if client.kind == "worker":
            worker = self.pool.workers.get(client.process_id)
            if worker is not None:
                self.pool.disconnected(worker)
        if client.kind == "driver" and not self._stopped:
            self._driver_exited(client)

    def _remove_socket(self, client: Client) -> None:
        """A process that was killed leaves the socket that it listened on."""
        path = Path(client.address[4]) if client.address is not None and client.address[4] else None
        if path is not None and path.parent == Path(self.config.session_dir):
            path.unlink(missing_ok=True)

    def _driver_exited(self, client: Client) -> None:
        from shoal.protocol import node_pb2

        exited = node_pb2.DriverExited(job_id=client.job_id)
        self.link.send(node_pb2.NodeMessage(driver_exited=exited))
        if not any(c.kind == "driver" and c.job_id == client.job_id for c in self.clients.values()):
            idle = [w for w in self.pool.workers.values() if w.job_id == client.job_id and w.state == "idle"]
            for worker in idle:
                self.pool.stop(worker, "its driver has exited", force=True)

    # Workers

    def _worker_ended(self, worker: Worker) -> None:
        self.obituaries.ended(worker.worker_id, worker.end_words)
        self.leases.worker_ended(worker)
        self.actors.worker_ended(worker)
        self.changed()

    def _worker_printed(self, worker: Worker, lines: list[str], is_err: bool, title: str) -> None:
        source = f"({title or worker.title} pid={worker.pid}, ip={self.config.ip})"
        job_id = known_job(worker.job_id)
        if not self._show(job_id, source, lines, is_err=is_err) and not self._stopped:
            from shoal.protocol import node_pb2

            message = node_pb2.LogLines(job_id=job_id, source=source, lines=lines, is_err=is_err)
            self.link.send(node_pb2.NodeMessage(log_lines=message))

    def tell_drivers(self, job_id: str, words: str) -> None:
        """Show a line to the programs of a job on this node."""
        self._show(known_job(job_id), "shoal:", [words], is_err=True)

    def _show(self, job_id: str, source: str, lines: list[str], *, is_err: bool) -> bool:
        """Hand lines to the job's drivers here; False when there is none."""
        drivers = [c for c in self.clients.values() if c.kind == "driver" and c.job_id == job_id]
        for driver in drivers:
            driver.caller.cast("log", source, lines, is_err)
        return bool(drivers)

    # The head

    def _registration(self) -> node_pb2.RegisterNode:
        from shoal.node.head_messages import registration

        return registration(self.config, self.port, list(self.actors.actors), self.scheduler.bundles.keys())

    def _on_connected(self, connected: bool) -> None:
        if connected:
            self.reporter.forget()
            self.drivers.tell_again()

    def _on_refused(self, reason: str) -> None:
        self._stop(f"refused: {reason}", 0.0)

    def _on_head_message(self, message: node_pb2.HeadMessage) -> None:
        match message.WhichOneof("body"):
            case "welcome":
                self.reporter.report_every(message.welcome.reports_every_seconds)
                self._welcomed(message.welcome)
            case "view":
                self._cluster.take_view(message.view)
            case "start_actor":
                self.actors.start(message.start_actor)
            case "stop_actor":
                order = message.stop_actor
                self.actors.stop(order.actor_id, order.reason, force=order.force)
            case "actor_update":
                self.actors.update(message.actor_update)
            case "reserve_bundles" | "return_bundles" | "placement_group":
                self.groups.take_order(message)
            case "drain":
                self._drain(message.drain)
            case "job_ended":
                self._job_ended(message.job_ended.job_id)
            case "log_lines":
                lines = message.log_lines
                self._show(lines.job_id, lines.source, list(lines.lines), is_err=lines.is_err)
            case "start_driver" | "stop_driver" | "forget_driver":
                self.drivers.take_order(message)
            case "shutdown":
                self._stop(message.shutdown.reason, 5.0)

    def _welcomed(self, welcome: node_pb2.Welcome) -> None:
        is_new = self._cluster.welcomed(welcome.session)
        if is_new:
            self.actors.subscribe_again()
        self.groups.subscribe_again(is_new_head=is_new)

    def _node_lost(self, node_id: str) -> None:
        self.peers.drop(node_id)
        for client in self.clients.values():
            client.caller.cast("node_lost", node_id)

    def _job_ended(self, job_id: str) -> None:
        self.leases.job_ended(job_id)
        self.pool.end_job(job_id, "its job has ended", self.actors.owns)
        self.store.job_ended(job_id)
        self.counts.job_ended(job_id)

    def _send_counts(self, job_id: str, counts: tuple[int, int, int]) -> None:
        from shoal.protocol import node_pb2

        submitted, finished, failed = counts
        message = node_pb2.TaskCounts(job_id=job_id, submitted=submitted, finished=finished, failed=failed)
        self.link.send(node_pb2.NodeMessage(task_counts=message))

    # Drain and reports

    def _drain(self, order: node_pb2.Drain) -> None:
        from shoal.protocol import node_pb2

        activity = self._activity()
        accepted = self._drain_state != "active" or not order.only_if_idle or activity.idle
        answer = node_pb2.DrainAnswer(
            drain_id=order.drain_id, accepted=accepted, message="" if accepted else str(activity)
        )
        self.link.send(node_pb2.NodeMessage(drain_answer=answer))
        if accepted and self._drain_state == "active":
            self._drain_state = "draining"
            self.leases.drain()
            self.reactor.call_later(max(0.0, order.deadline_seconds), self._drain_deadline)
            self._check_drained()
            self.reporter.send()

    def _drain_deadline(self) -> None:
        if self._drain_state == "draining":
            sys.stderr.write(f"shoal node: the drain's deadline is over with {self._activity()}\n")
            self._drain_state = "drained"
            self.reporter.send()

    def _check_drained(self) -> None:
        if self._drain_state == "draining" and not self._stopping and self._activity().idle:
            self._drain_state = "drained"

    def _activity(self) -> Activity:
        owned = sum(worker.owned for worker in self.pool.workers.values())
        # What waits at a draining node waits for another one.
        waiting = self.scheduler.waiting_here if self._drain_state == "active" else 0
        held = (len(self.leases), len(self.actors), self.store.index.primaries)
        return Activity(*held, owned, waiting, len(self.drivers), len(self.scheduler.bundles))

    def changed(self) -> None:
        """Something of the node's state may have changed."""
        if not self._stopped:
            self._check_drained()
            self.reporter.changed()

    def _state(self) -> State:
        self._check_drained()
        demands = tuple(self.scheduler.demand())
        return State(self.scheduler.available, demands, self._activity(), self._drain_state, self._drain_reason)


def _raise_descriptor_limit() -> None:
    """Every segment of shared memory is a descriptor of the agent."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
