"""The head itself: a thread-safe shell around the pure cores, without any network in it.

Sessions of agents, local or remote, bring messages in; instructions of the cores go out over the same
sessions; watchers are told that the version grew and fetch a snapshot when they like.

Invariant: all state changes happen under one lock, and nothing that can block is called while it is held;
``version`` grows with every change that a snapshot shows.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from shoal.core.actors import ActorTable, Instruction
from shoal.core.cluster_use import Users
from shoal.core.membership import Member, Membership, MembershipError
from shoal.core.placement import PlacementTable
from shoal.head import convert
from shoal.head.actors import ActorEvents, Actors
from shoal.head.agent_calls import AgentCalls
from shoal.head.driver_placement import DriverPlacement
from shoal.head.journal import Journal
from shoal.head.kv import KvStore
from shoal.head.kv_service import serve_kv
from shoal.head.node_drains import NodeDrains
from shoal.head.node_session import NodeSession, SessionRefused
from shoal.head.outlook import Outlook
from shoal.head.package_calls import package_handlers
from shoal.head.placement_groups import PlacementGroups
from shoal.head.restore import Parts, restore
from shoal.head.rooms import Rooms
from shoal.head.sessions import Deliver, Session, SessionBook
from shoal.head.ticker import Ticker
from shoal.jobs.package_store import PackageStore
from shoal.protocol import PROTOCOL_VERSION, head_pb2, node_pb2
from shoal.protocol.link import HeadCallError

if TYPE_CHECKING:
    from shoal.jobs.runner import JobHooks, JobRunner

VIEW_SECONDS: Final = 0.05
NODES_PER_VIEW_INTERVAL: Final = 50
"""Views of large clusters are sent less often: all of them grow with the square of the nodes."""


class HeadService:
    """The state of one cluster.

    Args:
        packages: where packages are kept.
        membership: for tests with other limits.
        journal: what an earlier head process left, and where this one writes; default: nothing outlives the process.
    """

    def __init__(
        self, packages: PackageStore, membership: Membership | None = None, journal: Journal | None = None
    ) -> None:
        self.incarnation: Final = os.urandom(8).hex()
        self._lock = threading.Lock()
        self._version = 1
        self._members = membership or Membership()
        self._actor_table = ActorTable()
        self._kv = KvStore()
        self._group_table = PlacementTable()
        self._rooms = Rooms(self._members, self._actor_table, self._group_table)
        self._outlook = Outlook(time.monotonic())
        self._packages = packages
        self._journal = journal or Journal()
        self._sessions = SessionBook(self._journal)
        nodes = (self._members, self._rooms, self._sessions.send)
        self.groups: Final = PlacementGroups(
            *(self._lock, self._group_table, *nodes, self._journal), self._placing_changed, self._group_removed
        )
        events = ActorEvents(self._actors_changed, self._wake, self._note_demand, self._lasting_job_over)
        self.actors: Final = Actors(
            *(self._lock, self._actor_table, self._group_table, self.groups, self._rooms, self._sessions.send),
            *(self._journal, events),
        )
        self.drains: Final = NodeDrains(
            *(self._lock, self._members, self._actor_table, self._group_table, self._sessions.send),
            *(self._journal, self._membership_changed),
        )
        self.calls: Final = AgentCalls(self._journal, self._handlers())
        self._jobs: JobRunner | None = None
        self.drivers: Final = DriverPlacement(
            self._lock, self._sessions.send, self._placing_changed, lambda: self._jobs
        )
        self._watchers: dict[object, Callable[[bool], None]] = {}
        self._view_dirty, self._view_due = False, 0.0
        self._ticker = Ticker(self._turn)
        self._restore()
        self._ticker.start()

    def _restore(self) -> None:
        parts = Parts(self._members, self._actor_table, self._kv, self._sessions, self._group_table)
        with self._lock:
            self._outlook.floors = list(self._journal.restored.floors)
            instructions, of_groups, gone = restore(self._journal.restored, parts, time.monotonic())
            for node_id in gone:
                self._write_node(node_id)
            self.actors.carry_out(instructions)
            self.groups.carry_out(of_groups)

    def attach_jobs(self, jobs: JobRunner) -> None:
        """Give the head its jobs; before that it has none."""
        self._jobs = jobs
        jobs.restore(self._journal.restored.jobs)
        self._journal.forget_restored()
        with self._lock:
            self._note_users()

    def job_hooks(self) -> JobHooks:
        """What a ``JobRunner`` of this head must call."""
        from shoal.jobs.runner import JobHooks

        return JobHooks(self._job_changed, self.job_ended, self._journal)

    @property
    def jobs(self) -> JobRunner:
        """The jobs.

        Raises HeadCallError when this head runs none (a local session without a control port).
        """
        if self._jobs is None:
            raise HeadCallError("SubmitJob", "Refused", "this head runs no submitted jobs")
        return self._jobs

    def close(self) -> None:
        """Stop the jobs and the head's thread. Idempotent."""
        if self._jobs is not None:
            self._jobs.close()
        self._ticker.close()
        self._journal.close()

    # Watching

    def watch(self, changed: Callable[[bool], None]) -> Callable[[], None]:
        """Call ``changed(urgent)`` (which must only queue) after every change; returns what ends that.

        Urgent is what people wait for, such as the end of a job: no reason to coalesce it with what may follow.
        """
        key = object()
        with self._lock:
            self._watchers[key] = changed

        def end() -> None:
            with self._lock:
                self._watchers.pop(key, None)

        return end

    def snapshot(self) -> head_pb2.HeadSnapshot:
        """Everything that the operator needs to know, now."""
        jobs = self._jobs.snapshots() if self._jobs is not None else []
        with self._lock:
            now = time.monotonic()
            self._note_demand(now)
            snapshot = head_pb2.HeadSnapshot(
                protocol_version=PROTOCOL_VERSION,
                incarnation=self.incarnation,
                cluster_id=self._journal.cluster_id,
                version=self._version,
                nodes=self._rooms.snapshots(now, recent=True),
                jobs=jobs,
            )
            gangs, more = self.groups.gangs()
            self._outlook.tell(snapshot, gangs, now, more)
            return snapshot

    def _note_demand(self, now: float) -> None:
        """Take down what waits at the head itself."""
        if self._outlook.head_waits([*self._actor_table.demands(), *self.drivers.demands()], now):
            self._ticker.wake()

    def _note_users(self) -> None:
        """Take down who uses the cluster."""
        jobs = self._jobs
        drivers = sum(count for job_id, count in self._sessions.drivers() if jobs is None or not jobs.owns(job_id))
        users = Users(drivers, 0 if jobs is None else jobs.live(), self._actor_table.detached)
        if self._outlook.used_by(users, time.monotonic()):
            self._changed()

    def _changed(self, *, urgent: bool = False) -> None:
        self._version += 1
        for changed in self._watchers.values():
            changed(urgent)

    def _placing_changed(self) -> None:
        self._changed()
        self._ticker.wake()

    def _wake(self) -> None:
        self._ticker.wake()

    def _job_changed(self, urgent: bool) -> None:
        with self._lock:
            self._note_users()
            self._changed(urgent=urgent)

    # Sessions

    def open_session(
        self, register: node_pb2.RegisterNode, deliver: Deliver, end: Callable[[str], None]
    ) -> NodeSession:
        """A node joins or comes back. Welcome, the view and what it missed are delivered before this returns.

        Raises:
            SessionRefused: with words for the node's log.
        """
        if register.protocol_version != PROTOCOL_VERSION:
            raise SessionRefused(
                "Version",
                f"the node speaks protocol {register.protocol_version}, this head {PROTOCOL_VERSION}: "
                "run the same version of shoal on every pod",
            )
        now = time.monotonic()
        with self._lock:
            try:
                info, drivers = convert.node_info(register), convert.drivers(register)
                member = self._members.register(info, now)
            except MembershipError as error:
                raise SessionRefused(error.kind, str(error)) from error
            except ValueError as error:
                raise SessionRefused("Invalid", f"malformed registration: {error}") from error
            self._end_graces(now)  # of nodes whose pod runs this one now: what they had finds room on it
            deliver(node_pb2.HeadMessage(welcome=self._welcome(member)))
            ended = self._sessions.open(info.node_id, Session(member.session, deliver, end), drivers)
            instructions: list[Instruction] = []
            for failed in register.failed_actors:
                instructions += self.actors.failure(info.node_id, failed, now)
            instructions += self._actor_table.node_registered(info.node_id, register.live_actor_ids, now)
            self._journal.node(member)
            deliver(node_pb2.HeadMessage(view=self._rooms.view()))
            for actor_id in self._actor_table.subscribed(info.node_id):
                deliver(self.actors.update(actor_id))
            self.actors.carry_out(instructions)
            self.drivers.node_registered(info.node_id)
            self.groups.node_registered(info.node_id, register.held_bundles, now)
            for job_id in ended:
                self._last_driver_gone(job_id)
            self._membership_changed(urgent=len(self._sessions) <= NODES_PER_VIEW_INTERVAL)
        return NodeSession(self, info.node_id, member.session)

    def _welcome(self, member: Member) -> node_pb2.Welcome:
        head = next((m.info.node_id for m in self._members.alive() if m.info.is_head), "")
        return node_pb2.Welcome(
            session=self.incarnation,
            head_node_id=head,
            cluster_id=self._journal.cluster_id,
            reports_every_seconds=self._members.reports_every_seconds(member.info),
            knows_drivers=True,
        )

    def session_ended(self, node_id: str, number: int, goodbye: str) -> None:
        """A session is over; with a ``goodbye`` the node is dead at once, without it the grace begins."""
        now = time.monotonic()
        with self._lock:
            self._sessions.close(node_id, number)
            if goodbye:
                if self._members.left(node_id, number, goodbye, now):
                    self._node_died(node_id, now)
            elif (member := self._members.session_broke(node_id, number, now)) is not None:
                self.drivers.node_out_of_touch(node_id, member.info.name)
                self._membership_changed()

    def received(self, node_id: str, number: int, message: node_pb2.NodeMessage) -> None:
        """One message of a session. Raises ValueError when it is malformed."""
        now = time.monotonic()
        with self._lock:
            member = self._members.heard(node_id, number, now)
            if member is None:
                return
            kind = message.WhichOneof("body")
            if kind not in {"driver_report", "driver_output"}:
                self._take(member, kind, message, now)
                return
        if kind == "driver_report":
            self.drivers.reported(node_id, message.driver_report)
        else:
            self.drivers.wrote(node_id, message.driver_output)

    def _take(self, member: Member, kind: str | None, message: node_pb2.NodeMessage, now: float) -> None:
        node_id = member.info.node_id
        match kind:
            case "report":
                self._reported(member, message.report, now)
            case "task_counts":
                self._counted(node_id, message.task_counts)
            case "actor_started":
                self.actors.started(node_id, message.actor_started)
            case "actor_failed":
                self.actors.failed(node_id, message.actor_failed, now)
            case "actor_scope_ended":
                self.actors.scope_ended(message.actor_scope_ended)
            case "driver_started":
                self._sessions.driver_started(message.driver_started.job_id, node_id)
                self._note_users()
            case "driver_exited":
                if self._sessions.driver_exited(message.driver_exited.job_id, node_id):
                    self._last_driver_gone(message.driver_exited.job_id)
                self._note_users()
            case "log_lines":
                self._sessions.route_logs(message.log_lines, node_id)
            case "bundles_answer":
                self.groups.answered(node_id, message.bundles_answer, now)
            case "drain_answer":
                self.drains.answered(node_id, message.drain_answer)
            case other:
                raise ValueError(f"a session takes no message {other!r} after its first")

    def _reported(self, member: Member, report: node_pb2.NodeReport, now: float) -> None:
        status = convert.node_status(report)
        before, took_work, goes_on = member.status, member.takes_work, member.goes_on(status, now)
        if member.drain_requested:
            self._journal.drain(member.info.node_id, None)
        self._members.report(member.info.node_id, member.session, status, now)
        self.groups.node_reported(member.info.node_id, drains=status.drain_state != "active", now=now)
        if status.drain_state != "active":
            self.drains.node_drains(member.info.node_id)
        if goes_on:
            return  # no news for anybody
        if before.available != status.available and len(self._sessions) > 1:
            self._view_dirty = True
        if took_work != member.takes_work:
            self._view_dirty = True
        self._changed()
        node_id = member.info.node_id
        fell = self._rooms.lately.changed(node_id, before.available, status.available, now)
        fell |= before.demands != status.demands and self._outlook.node_waits(node_id, status.demands, now)
        waits = self.actors.is_waiting() or self.drivers.is_waiting() or self.groups.is_waiting()
        if self._view_dirty or fell or waits:
            self._ticker.wake()

    def _counted(self, node_id: str, counts: node_pb2.TaskCounts) -> None:
        totals = (counts.submitted, counts.finished, counts.failed)
        if self._jobs is not None and self._jobs.counted(counts.job_id, node_id, totals):
            self._changed()

    def _node_died(self, node_id: str, now: float) -> None:
        member = self._members.get(node_id)
        reason = member.reason if member is not None else "unknown"
        self.drains.node_gone(node_id)
        self._outlook.node_waits(node_id, (), now)
        self._write_node(node_id)
        for job_id in self._sessions.node_died(node_id):
            self._last_driver_gone(job_id)
        self.actors.node_died(node_id, reason, now)
        self.groups.node_died(node_id, now)
        self.drivers.node_died(node_id, member.info.name if member is not None else node_id[:8], reason)
        self._membership_changed()

    def _write_node(self, node_id: str) -> None:
        member = self._members.get(node_id)
        if member is not None:
            self._journal.node(member)

    def _membership_changed(self, *, urgent: bool = True) -> None:
        self._view_dirty, self._view_due = True, 0.0 if urgent else self._view_due
        self._note_users()
        self._changed()
        self._ticker.wake()

    # Timed work

    def _turn(self) -> float | None:
        now = time.monotonic()
        due = self._guarded_turn(now)
        self.drivers.flush()
        return due

    def _guarded_turn(self, now: float) -> float | None:
        with self._lock:
            self._end_silent(now)
            self._end_graces(now)
            self._journal.nodes_forgotten(self._members.take_forgotten())
            expired = [self._rooms.lately.expire(now), self._outlook.expire(now)]
            if any(expired):
                self._changed()
            self.drains.expire(now)
            self.groups.turn(now)
            if self.actors.is_waiting():
                self.actors.place(now)
            if self.drivers.is_waiting() and not self._members.awaiting():
                self.drivers.turn(self._rooms.candidates(now), now)
                self._note_demand(now)
            if self._view_dirty and now >= self._view_due:
                self._view_dirty = False
                self._view_due = now + VIEW_SECONDS * max(1.0, len(self._sessions) / NODES_PER_VIEW_INTERVAL)
                self._sessions.broadcast(node_pb2.HeadMessage(view=self._rooms.view()))
            times = [self._members.next_deadline(), self.drains.next_deadline()]
            times += [self._actor_table.next_deadline(now), self._view_due if self._view_dirty else None]
            times += [
                self.groups.next_deadline(now),
                self.drivers.next_deadline(),
                self._rooms.lately.next_deadline(),
                self._outlook.next_deadline(),
            ]
            return min((due for due in times if due is not None), default=None)

    def _end_silent(self, now: float) -> None:
        for member in self._members.fall_silent(now):
            self._sessions.end(member.info.node_id, member.session, "this node said nothing for too long")
            self.drivers.node_out_of_touch(member.info.node_id, member.info.name)
            self._membership_changed()

    def _end_graces(self, now: float) -> None:
        for node_id in self._members.expire(now):
            self._node_died(node_id, now)

    def _group_removed(self, group_id: str) -> None:
        self.actors.group_removed(group_id)

    def _actors_changed(self) -> None:
        self._note_users()
        self._changed()

    def _lasting_job_over(self, job_id: str) -> None:
        self._end_of_job(job_id)
        self._sessions.job_ended(job_id)

    # Jobs

    def job_ended(self, job_id: str) -> None:
        """A job's driver process has ended for good: its workers and actors go."""
        with self._lock:
            self._end_of_job(job_id)
            self._sessions.job_ended(job_id)

    def _end_of_job(self, job_id: str) -> None:
        self.actors.job_ended(job_id)
        self.groups.job_ended(job_id)

    def _last_driver_gone(self, job_id: str) -> None:
        self._end_of_job(job_id)
        if self._jobs is None or not self._jobs.owns(job_id):  # a submitted job may start another driver
            self._sessions.job_ended(job_id)

    # Calls of agents

    def _handlers(self) -> dict[str, Callable[[Any], Any]]:
        return {
            **self.actors.handlers,
            **package_handlers(self._packages),
            "Kv": self._kv_call,
            "ListNodes": self._list_nodes,
            "RequestResources": self._request_resources,
            **self.groups.handlers,
        }

    def _kv_call(self, request: node_pb2.KvRequest) -> node_pb2.KvReply:
        with self._lock:
            return serve_kv(self._kv, self._journal, request)

    def _list_nodes(self, request: node_pb2.ListNodesRequest) -> node_pb2.ListNodesReply:
        with self._lock:
            return node_pb2.ListNodesReply(nodes=self._rooms.snapshots(time.monotonic(), recent=False))

    def _request_resources(self, request: node_pb2.RequestResourcesRequest) -> node_pb2.RequestResourcesReply:
        with self._lock:
            self._outlook.request(request)
            self._journal.floors(self._outlook.floors)
            self._changed()
        return node_pb2.RequestResourcesReply()
