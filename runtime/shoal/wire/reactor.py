"""One epoll loop a process, led by whichever thread needs its answer.

A thread that waits in ``run_until`` reads the sockets itself (the leader); others that wait meanwhile are told after
each round (followers). When nobody waits, the I/O thread leads, so that an owner answers borrowers while user code
computes. In a tight loop of calls the I/O thread keeps away: it only takes over after a quiet moment, so that no call
pays for a change of threads.

Invariants: at most one thread polls and runs handlers at any time; handlers never block; an exception in a handler is
reported and does not end the loop.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Final

from shoal.wire.sockets import prepare_accepted

Handler = Callable[[int], None]
EVENTS_MAX: Final = 256
QUIET_SECONDS: Final = 0.004
"""How long nobody may have led before the I/O thread takes over."""
ACCEPT_PAUSE_SECONDS: Final = 0.5
"""How long a listener rests when the process has no descriptor for a connection."""
LONG_LEAD_SECONDS: Final = 0.001
"""A leader that led for longer wakes the I/O thread when it goes; a shorter one does not (a tight loop of calls)."""


class Timer:
    """A pending call; ``cancel()`` makes it never happen."""

    __slots__ = ("cancelled", "deadline", "function")

    def __init__(self, deadline: float, function: Callable[[], None]) -> None:
        self.deadline = deadline
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Reactor:
    """See the module. ``Reactor()`` opens an epoll and an eventfd; ``close()`` releases them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._handlers: dict[int, Handler] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_lock = threading.Lock()
        self._order = itertools.count()
        self._leader = threading.Lock()
        self._leader_thread = 0
        self._leads = 0
        self._changed = threading.Condition(threading.Lock())
        self._followers = 0
        self._yield_wanted = False
        self._io_thread: threading.Thread | None = None
        self._io_alarm = threading.Event()
        self._stopping = False
        self.closed = False

    # What handlers and other threads call

    def call_soon(self, function: Callable[[], None]) -> None:
        """Run ``function`` in the leading thread, soon. Thread-safe."""
        self._soon.append(function)
        if threading.get_ident() != self._leader_thread:
            self.wake()

    def call_later(self, delay_seconds: float, function: Callable[[], None]) -> Timer:
        """Run ``function`` in the leading thread after ``delay_seconds``. Thread-safe."""
        timer = Timer(time.monotonic() + delay_seconds, function)
        with self._timer_lock:
            heapq.heappush(self._timers, (timer.deadline, next(self._order), timer))
            first = self._timers[0][2] is timer
        if first and threading.get_ident() != self._leader_thread:
            self.wake()
        return timer

    def wake(self) -> None:
        """Make a poll that is under way return; nothing after ``close``, whose descriptor number may be another's."""
        if self.closed:
            return
        try:
            os.eventfd_write(self._wake_fd, 1)
        except (BlockingIOError, OSError):
            return  # already awake, or closed

    def in_leader(self) -> bool:
        """Whether the calling thread is the one that polls."""
        return threading.get_ident() == self._leader_thread

    # Registration

    def register(self, fd: int, handler: Handler, *, write: bool = False) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN | (select.EPOLLOUT if write else 0))

    def modify(self, fd: int, *, read: bool = True, write: bool = False) -> None:
        self._epoll.modify(fd, (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0))

    def unregister(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None and not self.closed:
            try:
                self._epoll.unregister(fd)
            except OSError:
                return  # the descriptor is closed already, which unregistered it

    def add_reader(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Call ``on_readable`` whenever ``fd`` can be read (or its other end is gone)."""
        self.register(fd, lambda _mask: on_readable())

    def remove_reader(self, fd: int) -> None:
        self.unregister(fd)

    def add_listener(self, sock: socket.socket, on_accept: Callable[[socket.socket], None]) -> None:
        """Accept connections on a listening socket and hand each on."""

        def accept(_mask: int) -> None:
            for _ in range(64):  # bounded: other descriptors get their turn
                try:
                    accepted, _ = sock.accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    return
                except OSError as error:
                    # No descriptors are left. The connection stays in the backlog, and so would the event.
                    sys.stderr.write(f"shoal: no connection can be accepted for now: {error}\n")
                    self.unregister(sock.fileno())
                    self.call_later(ACCEPT_PAUSE_SECONDS, resume)
                    return
                prepare_accepted(accepted)
                on_accept(accepted)

        def resume() -> None:
            if sock.fileno() >= 0 and not self.closed:
                self.register(sock.fileno(), accept)

        resume()

    # Leading

    def run_forever(self) -> None:
        """Lead until ``stop()``; for a process whose main thread is the loop."""
        with self._leader:
            self._leader_thread = threading.get_ident()
            try:
                while not self._stopping:
                    self._poll(None)
            finally:
                self._leader_thread = 0

    def stop(self) -> None:
        """End ``run_forever`` and the I/O thread. Thread-safe, returns at once."""
        self._stopping = True
        self._io_alarm.set()
        self.wake()

    def run_until(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until ``predicate()``, polling in this thread or behind the one that does.

        Args:
            predicate: cheap, called often, also while another thread leads.
            deadline: on ``time.monotonic()``'s scale; None waits for ever.

        Returns:
            Whether the predicate became true before the deadline (or before the reactor was closed).
        """
        if self.in_leader():
            raise RuntimeError("a handler must not wait: it runs in the thread that would have to deliver the answer")
        while not predicate():
            if self._stopping or (deadline is not None and time.monotonic() >= deadline):
                return predicate()
            if self._leader.acquire(blocking=False):
                if self._lead(predicate, deadline):
                    return True
            else:
                self._follow(predicate, deadline)
        return True

    def _lead(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        started = time.monotonic()
        self._leader_thread = threading.get_ident()
        done = False
        try:
            while not (done := predicate()) and not self._stopping:
                if deadline is not None and time.monotonic() >= deadline:
                    break
                self._poll(deadline)
                if self._followers:
                    self._tell_followers()
            return done
        finally:
            self._leader_thread = 0
            self._leads += 1
            self._leader.release()
            if self._followers:
                self._tell_followers()
            if time.monotonic() - started > LONG_LEAD_SECONDS:
                self._io_alarm.set()

    def _follow(self, predicate: Callable[[], bool], deadline: float | None) -> None:
        with self._changed:
            self._followers += 1
            try:
                if self._io_leads():
                    self._yield_wanted = True
                    self.wake()
                if predicate() or not self._leader.locked():
                    return
                left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
                self._changed.wait(max(left, 0.0))
            finally:
                self._followers -= 1

    def _tell_followers(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # The I/O thread

    def start_io_thread(self) -> None:
        """Start the thread that leads while nobody else does; ends with ``stop()``."""
        if self._io_thread is None:
            self._io_thread = threading.Thread(target=self._io_loop, name="shoal-io", daemon=True)
            self._io_thread.start()

    def _io_leads(self) -> bool:
        return self._io_thread is not None and self._leader_thread == self._io_thread.ident

    def _io_loop(self) -> None:
        seen = -1
        while not self._stopping:
            self._io_alarm.clear()
            locked, leads = self._leader.locked(), self._leads
            if not locked and leads == seen and not self._followers and self._leader.acquire(blocking=False):
                self._io_lead()
            elif locked and leads == seen:
                self._io_alarm.wait(1.0)  # a long wait of somebody: it sets the alarm when it ends
            seen = self._leads
            if not self._stopping:
                time.sleep(QUIET_SECONDS)

    def _io_lead(self) -> None:
        self._leader_thread = threading.get_ident()
        try:
            while not self._stopping and not self._yield_wanted:
                self._poll(None)
                if self._followers:
                    self._tell_followers()
        finally:
            self._yield_wanted = False
            self._leader_thread = 0
            self._leader.release()
            self._tell_followers()

    # One round

    def _poll(self, deadline: float | None) -> None:
        timeout = self._timeout(deadline)
        try:
            events = self._epoll.poll(timeout, EVENTS_MAX)
        except InterruptedError:
            return
        for fd, mask in events:
            if fd == self._wake_fd:
                self._drain_wake()
                continue
            handler = self._handlers.get(fd)
            if handler is not None:
                _run_guarded(handler, mask)
        for _ in range(len(self._soon)):
            _run_guarded(self._soon.popleft())
        if self._timers:
            self._run_timers()

    def _timeout(self, deadline: float | None) -> float:
        if self._soon:
            return 0.0
        nearest = deadline
        if self._timers:
            with self._timer_lock:
                if self._timers:
                    first = self._timers[0][0]
                    nearest = first if nearest is None else min(first, nearest)
        return -1.0 if nearest is None else max(0.0, nearest - time.monotonic())

    def _drain_wake(self) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return  # two wakes were read as one

    def _run_timers(self) -> None:
        now = time.monotonic()
        while True:
            with self._timer_lock:
                if not self._timers or self._timers[0][0] > now:
                    return
                timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                _run_guarded(timer.function)

    def close(self) -> None:
        """Stop, join the I/O thread (bounded) and close what was opened. Registered sockets are their owners'."""
        self.stop()
        thread = self._io_thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        with self._leader:
            if not self.closed:
                self.closed = True
                self._handlers.clear()
                self._epoll.close()
                os.close(self._wake_fd)


def _run_guarded(function: Callable[..., None], *args: int) -> None:
    try:
        function(*args)
    except Exception:  # noqa: BLE001
        # A handler's bug must not stop every other connection of the process; it must be seen, though.
        traceback.print_exc()
