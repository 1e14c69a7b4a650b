"""All heads that the operator talks to: one link each, the last view of each, and the way for commands.

Invariants:
- ``view`` never waits: it is the last word of the head, marked unreachable once it does not answer;
- a view belongs to one cluster object (by uid): a cluster made again under the same name starts without one;
- a heartbeat without news wakes nobody.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from shoal_operator.control.clock import Clock
from shoal_operator.domain.head import ActivityView, HeadView, NodeView
from shoal_operator.domain.names import Key
from shoal_operator.domain.plan import Decision, HeadCommand
from shoal_operator.heads.address import HeadAddress

if TYPE_CHECKING:
    import grpc.aio

    from shoal.protocol import head_pb2
    from shoal_operator.heads.commands import CommandFailure, CommandRunner
    from shoal_operator.heads.decisions import DecisionSender
    from shoal_operator.heads.link import HeadLink


class News(enum.Flag):
    """What changed in a view."""

    CLUSTER = enum.auto()
    """Nodes, demand, reachability, whether any job is left, or the head process."""
    JOBS = enum.auto()
    """The table of jobs."""


class HeadPool:
    """Links by cluster.

    Args:
        open_channel: makes an authenticated channel to an address in a namespace; true: read the token again.
        on_news: called with the cluster and what changed.
        on_failed: called for every command that failed.
        clock: for the time stamps of views.
        rng: for the jitter of back-offs.
        may_command: whether we lead at this moment; else no command leaves. Default: always.
    """

    def __init__(
        self,
        open_channel: Callable[[HeadAddress, str, bool], Awaitable[grpc.aio.Channel]],
        *,
        on_news: Callable[[Key, News], None],
        on_failed: Callable[[CommandFailure], None],
        clock: Clock,
        rng: random.Random,
        may_command: Callable[[], bool] = lambda: True,
    ) -> None:
        self._may_command = may_command
        self._open_channel = open_channel
        self._on_news = on_news
        self._on_failed = on_failed
        self._clock = clock
        self._rng = rng
        self._members: dict[Key, _Member] = {}
        self._commands: CommandRunner | None = None
        self._decisions: DecisionSender | None = None
        self._ended: set[asyncio.Task[None]] = set()

    def ensure(self, key: Key, address: HeadAddress, *, is_running: bool, is_ready: bool) -> None:
        """There should be a link to that head.

        Args:
            key: the cluster.
            address: a link to another address is replaced.
            is_running: the head's process has been started. The first link waits for that; it does not wait for the
                probe, which looks once a second.
            is_ready: the head's pod is ready: from now on its silence is news.
        """
        member = self._members.get(key)
        if member is not None and member.address != address:
            self.drop(key)
            member = None
        if member is None:
            if not is_running:
                return
            member = self._members[key] = _Member(self, key, address)
            member.start()
        elif (is_running, is_ready) > (member.is_running, member.is_ready):
            member.link.nudge()
        member.is_running, member.is_ready = is_running, is_ready

    def drop(self, key: Key) -> None:
        """Forget the head: its cluster is gone or suspended."""
        member = self._members.pop(key, None)
        if member is not None:
            if self._commands is not None:
                self._commands.forget(key)
            self._ended.add(member.task)
            member.task.add_done_callback(self._ended.discard)
            member.task.cancel()

    def view(self, key: Key) -> HeadView | None:
        """The last word of the head; None before the first."""
        member = self._members.get(key)
        return None if member is None else member.view

    def problem(self, key: Key) -> str:
        """What the link failed with, for people, while the head has never answered; else empty."""
        member = self._members.get(key)
        return "" if member is None or member.view is not None else member.problem

    def is_settled(self, key: Key) -> bool:
        """Whether the link has come to a first verdict: a snapshot, or that the head does not answer.

        Until then nothing may be concluded from the absence of a view (the operator may just have started).
        """
        member = self._members.get(key)
        return member is None or member.is_settled

    def submit(self, key: Key, command: HeadCommand) -> None:
        """Send a command in the background; its effect shows in a later view. Returns at once."""
        member = self._members.get(key)
        if member is None or member.view is None:
            return  # planned for a head that is gone meanwhile; its end has been news already
        self._runner().submit(key, command, member.view.incarnation)

    def record(self, key: Key, decisions: Sequence[Decision]) -> None:
        """Put lines into the head's log of decisions, if it takes them. Returns at once."""
        if not decisions:
            return
        if self._decisions is None:
            from shoal_operator.heads.decisions import DecisionSender

            self._decisions = DecisionSender(self._stub_of)
        self._decisions.send(key, decisions)

    def failures(self, key: Key) -> tuple[CommandFailure, ...]:
        """The commands that this head process did not take and has not taken since, the newest first."""
        return () if self._commands is None else self._commands.failures(key)

    def views(self) -> list[HeadView]:
        """The last words of all heads that have said anything."""
        return [member.view for member in self._members.values() if member.view is not None]

    def link_states(self) -> dict[str, float]:
        """How many links there are of each state: connecting (nothing heard yet), connected, unreachable."""
        counts = dict.fromkeys(("connecting", "connected", "unreachable"), 0.0)
        for member in self._members.values():
            counts[member.state] += 1
        return counts

    def __len__(self) -> int:
        return len(self._members)

    async def close(self) -> None:
        """End all links and commands."""
        for key in list(self._members):
            self.drop(key)
        if self._commands is not None:
            await self._commands.close()
        if self._decisions is not None:
            await self._decisions.close()
        await asyncio.gather(*self._ended, return_exceptions=True)

    def _runner(self) -> CommandRunner:
        if self._commands is None:
            from shoal_operator.heads.commands import CommandRunner

            self._commands = CommandRunner(
                self._stub_of,
                on_settled=lambda key: self._on_news(key, News.CLUSTER | News.JOBS),
                on_failed=self._on_failed,
                rng=self._rng,
            )
        return self._commands

    def _stub_of(self, key: Key) -> object | None:
        member = self._members.get(key)
        return None if member is None or not self._may_command() else member.link.stub


class _Member:
    """One head in the pool; it listens to its link."""

    link: HeadLink
    task: asyncio.Task[None]

    def __init__(self, pool: HeadPool, key: Key, address: HeadAddress) -> None:
        self._pool = pool
        self._key = key
        self.address = address
        self.view: HeadView | None = None
        self.problem = ""
        self.is_running = True
        self.is_ready = False

    @property
    def is_settled(self) -> bool:
        return self.view is not None or bool(self.problem) or not self.is_ready

    @property
    def state(self) -> str:
        if self.view is None:
            return "unreachable" if self.problem else "connecting"
        return "connected" if self.view.reachable else "unreachable"

    def start(self) -> None:
        from shoal_operator.heads.link import HeadLink  # grpc: 0.1 s that an idle operator does not need

        pool, namespace = self._pool, self._key[0]
        self.link = HeadLink(
            self.address.target,
            lambda fresh: pool._open_channel(self.address, namespace, fresh),
            self,
            rng=pool._rng,
        )
        self.task = asyncio.get_running_loop().create_task(self.link.run(), name=f"head of {'/'.join(self._key)}")

    def on_snapshot(self, snapshot: head_pb2.HeadSnapshot) -> None:
        from shoal_operator.heads.convert import head_view

        self._set(head_view(snapshot, self._pool._clock.now()))

    def on_silence(self, message: str) -> None:
        if self.view is not None:
            self._set(dataclasses.replace(self.view, reachable=False, unreachable_message=message))
        elif self.is_ready and self.problem != message:  # one that starts may be silent
            self.problem = message
            self._pool._on_news(self._key, News.CLUSTER | News.JOBS)

    def _set(self, view: HeadView) -> None:
        news = what_changed(self.view, view)
        self.view = view
        if news:
            self._pool._on_news(self._key, news)


def what_changed(old: HeadView | None, new: HeadView) -> News:
    """What a controller should know of; growing idle times and the time of the message are no news."""
    if old is None or (old.incarnation, old.reachable) != (new.incarnation, new.reachable):
        return News.CLUSTER | News.JOBS
    news = News(0)
    if _wants(old) != _wants(new) or len(old.nodes) != len(new.nodes) or any(map(_differ, old.nodes, new.nodes)):
        news |= News.CLUSTER
    if _began_anew(old.activity, new.activity):
        news |= News.CLUSTER
    if old.unreachable_message != new.unreachable_message or old.is_busy != new.is_busy:
        news |= News.CLUSTER
    if old.jobs != new.jobs:
        news |= News.JOBS
    return news


def _wants(view: HeadView) -> tuple[object, ...]:
    return view.demands, view.gangs, view.gangs_left_out, view.floors


def _began_anew(old: ActivityView | None, new: ActivityView | None) -> bool:
    """Whether other kinds of users use the cluster, or its idleness began again in between."""
    if old is None or new is None:
        return old is not new
    kinds = [(bool(one.drivers), bool(one.jobs), bool(one.detached_actors)) for one in (old, new)]
    return kinds[0] != kinds[1] or new.idle_seconds < old.idle_seconds


def _differ(old: NodeView, new: NodeView) -> bool:
    """Most nodes of a large cluster are as they were, but for the time that they have been idle."""
    if (old.idle_seconds > 0) != (new.idle_seconds > 0):
        return True
    return old != dataclasses.replace(new, idle_seconds=old.idle_seconds, address=old.address)
