"""Watches: a cursor in the store's log, and what one client sees of it.

Invariant: a client sees every change that matters to it once and in order, or an ERROR event with 410 that
tells it to list again. A watch holds no queue of its own: a slow client costs no memory.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator

from shoal_operator.local.apiserver import errors, tables, versions
from shoal_operator.local.apiserver.context import Context
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.negotiation import View
from shoal_operator.local.apiserver.reads import Filter, check_version
from shoal_operator.local.apiserver.store import Change, HistoryLostError
from shoal_operator.local.apiserver.values import Document, encode

BATCH = 500
"""Changes put into one write, so that a long backlog does not become one huge buffer."""


INITIAL_EVENTS_END = "k8s.io/initial-events-end"


def _as_left(document: Document, version: int) -> Document:
    """An object as it last matched a watch's selector, at the version by which it ceased to."""
    return document | {"metadata": document["metadata"] | {"resourceVersion": str(version)}}


class Hub:
    """Wakes the watches of a collection when it changes."""

    def __init__(self, context: Context) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        context.store.subscribe(self._wake)

    def join(self, collection: str) -> asyncio.Event:
        event = asyncio.Event()
        self._waiting[collection].add(event)
        return event

    def leave(self, collection: str, event: asyncio.Event) -> None:
        self._waiting[collection].discard(event)

    def wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()

    def _wake(self, change: Change) -> None:
        for event in self._waiting.get(change.key.collection, ()):
            event.set()


class Watch:
    """One client's view, without I/O: `poll` gives the lines to send now.

    `ended` turns true when the watch cannot go on; the last line is then the ERROR event.
    """

    def __init__(
        self,
        context: Context,
        resource: Resource,
        namespace: str | None,
        wanted: Filter,
        view: View,
        include: str,
    ) -> None:
        self._context = context
        self._resource = resource
        self._namespace = namespace
        self._filter = wanted
        self._view = view
        self._include = include
        self._columns_sent = False
        self._cursor = 0
        self._backlog: Iterator[Document] | None = None
        self._marks_initial = False
        self.ended = False

    def start(self, resource_version: str, *, initial: bool | None = None) -> None:
        """Begin after a version, or with all that stands now ("" and "0").

        `initial` is the client's wish: True for all that stands now and then a bookmark that says so, False for
        neither, None for what the version says.
        """
        store = self._context.store
        check_version(resource_version)
        if initial is False and resource_version in ("", "0"):
            self._cursor = store.resource_version
            return
        if initial or resource_version in ("", "0"):
            self._marks_initial = bool(initial)
            self._cursor = store.resource_version
            entries = store.scan(self._resource.collection, self._namespace)
            self._backlog = (document for _, document in entries if self._filter.matches(document))
            return
        # A version of the future comes from a server that is gone; the client has to begin again.
        self._cursor = int(resource_version) if int(resource_version) <= store.resource_version else -1

    def poll(self) -> bytes:
        """Lines of the next changes, b"" when the client is up to date."""
        if self._backlog is not None:
            return self._initial()
        try:
            changes = self._context.store.changes_after(self._resource.collection, self._cursor)
        except HistoryLostError as error:
            self.ended = True
            return self._line("ERROR", errors.expired(str(error)).document())
        lines = []
        for change in changes[:BATCH]:
            self._cursor = change.resource_version
            line = self._change(change)
            if line:
                lines.append(line)
        if len(changes) <= BATCH:
            return b"".join(lines)
        return b"".join(lines) or self.poll()

    def bookmark(self) -> bytes:
        """A line that only says how far the client is."""
        # Changes of other kinds do not concern this client, so it may resume from the newest version of all.
        if not self._context.store.changes_after(self._resource.collection, self._cursor):
            self._cursor = self._context.store.resource_version
        return self._line("BOOKMARK", self._mark({}))

    def _mark(self, more: Document) -> Document:
        metadata = {"resourceVersion": str(self._cursor)} | more
        if self._view.is_table:
            return tables.table(self._resource, [], self._context.clock(), metadata=metadata)
        return {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}

    def _initial(self) -> bytes:
        assert self._backlog is not None
        lines = []
        for document in self._backlog:
            lines.append(self._event("ADDED", document))
            if len(lines) >= BATCH:
                return b"".join(lines)
        self._backlog = None
        if self._marks_initial:
            lines.append(self._line("BOOKMARK", self._mark({"annotations": {INITIAL_EVENTS_END: "true"}})))
        return b"".join(lines) or self.poll()

    def _change(self, change: Change) -> bytes:
        if self._namespace is not None and change.key.namespace != self._namespace:
            return b""
        kind: str = change.type
        if not self._filter.everything():
            now = change.type != "DELETED" and self._filter.matches(change.document)
            before = change.previous is not None and self._filter.matches(change.previous)
            if not now and not before:
                return b""
            kind = "MODIFIED" if now and before else "ADDED" if now else "DELETED"
            if not now and change.type != "DELETED" and change.previous is not None:
                return self._event(kind, _as_left(change.previous, change.resource_version))
        if self._view.name or versions.from_storage(self._resource, change.document) is not change.document:
            return self._event(kind, change.document)
        if change.encoded is None:
            change.encoded = encode(change.document)
        return b'{"type":"' + kind.encode() + b'","object":' + change.encoded + b"}\n"

    def _event(self, kind: str, document: Document) -> bytes:
        shown = versions.from_storage(self._resource, document)
        if self._view.is_table:
            shown = tables.table(
                self._resource,
                [shown],
                self._context.clock(),
                include=self._include,
                metadata={"resourceVersion": document["metadata"]["resourceVersion"]},
                with_columns=not self._columns_sent,
            )
            self._columns_sent = True
        elif self._view.is_partial:
            shown = tables.partial(shown)
        return self._line(kind, shown)

    @staticmethod
    def _line(kind: str, shown: Document) -> bytes:
        return encode({"type": kind, "object": shown}) + b"\n"
