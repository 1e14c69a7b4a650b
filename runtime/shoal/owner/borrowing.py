"""Borrowed objects: both what this process borrows, and what others borrow from it.

Invariant: a borrower is known to the owner before whoever gave it the reference lets go of its own (the giver holds
on until ``settled`` says that the owner has answered).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from shoal.core.objects import FAILED, INLINE, PENDING, STORED, ObjectEntry, StopBorrowing
from shoal.exceptions import ObjectLostError, OwnerDiedError
from shoal.wire import messages
from shoal.wire.connection import Connection, ConnectionClosedError
from shoal.wire.frames import Message

if TYPE_CHECKING:
    from shoal.owner.process import OwnerProcess


class Borrowing:
    """Methods are called with the process's lock held, except ``receive``."""

    def __init__(self, process: OwnerProcess) -> None:
        self._process = process
        self._unanswered: dict[str, Counter[bytes]] = {}  # owner process -> object -> how often told
        self._settled: list[Callable[[], None]] = []

    # As a borrower

    def begin(self, entry: ObjectEntry) -> None:
        """Tell the owner of a new entry that this process holds a reference."""
        assert entry.owner is not None
        owner = entry.owner[0]
        self._unanswered.setdefault(owner, Counter())[entry.object_id] += 1
        if not self._send(entry, (messages.BORROW, entry.object_id)):
            self._answered(owner, entry.object_id)

    def end(self, effect: StopBorrowing) -> None:
        """The last local reference is gone."""
        connection = self._process.peers.known(effect.owner[0])
        if connection is not None:
            try:
                connection.send((messages.UNBORROW, effect.object_id))
            except ConnectionClosedError:
                return  # the owner is gone, and the object with it

    def ask(self, entry: ObjectEntry) -> None:
        """Ask the owner for the value; the answer comes when there is one."""
        entry.watching = True
        self._send(entry, (messages.WATCH, entry.object_id))

    def report_lost(self, entry: ObjectEntry, node_ids: tuple[str, ...]) -> None:
        """No copy was found on these nodes: tell the owner and ask again."""
        for node_id in node_ids:
            self._send(entry, (messages.COPY_LOST, entry.object_id, node_id))
        self._process.table.make_pending(entry)
        self.ask(entry)

    @property
    def unsettled(self) -> bool:
        """Whether an owner has not answered yet."""
        return bool(self._unanswered)

    def settled(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when every owner has answered the borrows begun so far."""
        if self._unanswered:
            self._settled.append(callback)
        else:
            callback()

    def owner_lost(self, process_id: str, reason: str) -> None:
        """A process is gone: what it owned is lost."""
        table = self._process.table
        # Also for objects that nobody needs any more: no answer about them will come.
        self._unanswered.pop(process_id, None)
        for entry in [e for e in table.entries.values() if e.owner is not None and e.owner[0] == process_id]:
            if entry.state in (PENDING, STORED):
                message = f"the owner of object {entry.object_id.hex()} is gone ({reason})"
                self._process.fail(entry.object_id, OwnerDiedError(message, object_ref_hex=entry.object_id.hex()))
        self._run_settled()

    def _send(self, entry: ObjectEntry, message: Message) -> bool:
        assert entry.owner is not None
        try:
            self._process.peers.connect(entry.owner).send(message)
        except ConnectionClosedError as error:
            text = f"the owner of object {entry.object_id.hex()} cannot be reached: {error}"
            self._process.fail(entry.object_id, OwnerDiedError(text, object_ref_hex=entry.object_id.hex()))
            return False
        return True

    def _answered(self, owner: str, object_id: bytes) -> None:
        objects = self._unanswered.get(owner)
        if objects is not None:
            # Counted: an object may be let go and borrowed again before the first answer comes.
            objects[object_id] -= 1
            if objects[object_id] <= 0:
                del objects[object_id]
            if not objects:
                del self._unanswered[owner]
        self._run_settled()

    def _run_settled(self) -> None:
        if not self._unanswered:
            callbacks, self._settled = self._settled, []
            for callback in callbacks:
                callback()

    # Messages

    def receive(self, connection: Connection, message: Message, payload: bytes) -> None:
        """A message about a borrowed object, from its owner or from a borrower."""
        kind, object_id = message[0], message[1]
        sender: str = connection.attachment.process_id
        with self._process.lock:
            if kind == messages.WATCH:
                self._watched(connection, object_id)
            elif kind == messages.BORROW:
                found = self._process.table.add_borrower(object_id, sender)
                _send_quietly(connection, (messages.BORROWED, object_id, found))
            elif kind == messages.UNBORROW:
                self._process.carry_out(self._process.table.drop_borrower(object_id, sender))
            elif kind == messages.COPY_LOST:
                self._process.copies_lost(object_id, (message[2],))
            elif kind == messages.BORROWED:
                if not message[2]:
                    self._gone(object_id)
                self._answered(sender, object_id)
            elif kind == messages.VALUE:
                self._value(message, payload)

    def _watched(self, connection: Connection, object_id: bytes) -> None:
        entry = self._process.table.entries.get(object_id)
        if entry is None:
            _send_quietly(connection, (messages.VALUE, object_id, messages.GONE, 0, ()))
        elif entry.state in (INLINE, STORED, FAILED):
            self._answer(connection, entry)
        else:
            # The entry may be gone by then; it answers for itself.
            self._process.watch(entry, lambda: self._answer(connection, entry))

    def _answer(self, connection: Connection, entry: ObjectEntry) -> None:
        nodes = tuple(entry.nodes.values())
        _send_quietly(connection, (messages.VALUE, entry.object_id, entry.state, entry.size, nodes), entry.data)

    def _value(self, message: Message, payload: bytes) -> None:
        _kind, object_id, state, size, nodes = message
        table = self._process.table
        entry = table.entries.get(object_id)
        if entry is None or entry.owner is None:
            return
        entry.watching = False
        if state == messages.GONE:
            self._gone(object_id)
        elif state == INLINE:
            self._process.run_waiters(table.resolve_inline(entry, payload))
        elif state == STORED:
            self._process.run_waiters(table.resolve_stored(entry, size, nodes))
        elif state == FAILED:
            self._process.run_waiters(table.resolve_failed(entry, payload))
        elif entry.waiters:
            self.ask(entry)

    def _gone(self, object_id: bytes) -> None:
        message = f"object {object_id.hex()} is gone: its owner has freed it"
        self._process.fail(object_id, ObjectLostError(message, object_ref_hex=object_id.hex()))


def _send_quietly(connection: Connection, message: Message, payload: bytes = b"") -> None:
    try:
        connection.send(message, payload)
    except ConnectionClosedError:
        return  # the asker is gone; its loss is handled where connections close
