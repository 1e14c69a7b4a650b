"""Following the objects of a run: from watches to lines.

Invariant: what is said comes from ``progress.render`` over consistent snapshots; the verdict comes from the
job's conditions alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from shoal_operator.local.client import ApiClient, ApiError, Change, Reflector
from shoal_operator.local.operations import collection
from shoal_operator.local.output import OutputReader, ReadOutput, head_of
from shoal_operator.local.progress import Snapshot, condition, crashed, failure_text, outcome, pods_of, render

_SETTLE_SECONDS: Final = 0.1
_OUTPUT_SECONDS: Final = 3.0
_LAST_LINES: Final = 5
_GROUP: Final = "shoal.dev/v1alpha1"


class Follower:
    """Says what changes in one namespace.

    Args:
        say: prints one line.
        emit: writes what programs write.
        read_output: streams a job's output; None shows only its last lines, at the end.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        say: Callable[[str], None],
        emit: Callable[[bytes], None],
        read_output: ReadOutput | None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._say = say
        self._emit = emit
        self._read_output = read_output
        self._changed = asyncio.Event()
        self._moved = asyncio.Event()
        self._told = Snapshot()
        self._readers: dict[tuple[str, str], OutputReader] = {}
        self._jobs = self._reflector(_GROUP, "computejobs")
        self._clusters = self._reflector(_GROUP, "computeclusters")
        self._pods = self._reflector("v1", "pods")

    def _reflector(self, api_version: str, plural: str) -> Reflector:
        return Reflector(self._client, collection(api_version, plural, self._namespace), self._on_change)

    def _on_change(self, change: Change, item: dict[str, Any]) -> None:
        self._changed.set()
        self._moved.set()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow in the background for as long as the block runs."""
        loop = asyncio.get_running_loop()
        work = [self._jobs.run(), self._clusters.run(), self._pods.run(), self._tell()]
        tasks = [loop.create_task(one) for one in work]
        try:
            yield
        finally:
            for reader in self._readers.values():
                reader.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _snapshot(self) -> Snapshot:
        jobs = {key[1]: item for key, item in self._jobs.items.items()}
        clusters = {key[1]: item for key, item in self._clusters.items.items()}
        # The pods of a cluster that has just gone still end: they are told to the last.
        names = [*clusters, *self._told.clusters, *jobs]
        pods = pods_of(list(self._pods.items.values()), names)
        return Snapshot(jobs, clusters, pods)

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            before = self._told
            self.tell()
            for name in crashed(before, self._told):
                await self._last_words(name)
            for name, job in self._told.jobs.items():
                await self._open_output(name, job)
            await asyncio.sleep(_SETTLE_SECONDS)

    def tell(self) -> None:
        """Say what has changed since it was last said."""
        current = self._snapshot()
        for line in render(self._told, current):
            self._say(line)
        self._told = current

    async def _last_words(self, name: str) -> None:
        """The end of the log of a pod whose container crashed."""
        path = f"{collection('v1', 'pods', self._namespace)}/{name}/log"
        text = ""
        for query in ({"previous": "true"}, {}):
            try:
                text = text or await self._client.text(path, {"tailLines": str(_LAST_LINES), **query})
            except ApiError:
                continue
        for line in text.splitlines():
            self._say(f"pod {name}: | {line}")

    async def _open_output(self, name: str, job: Mapping[str, Any]) -> None:
        """Begin to show a program's output once it runs."""
        submission_id = (job.get("status") or {}).get("submissionId")
        running = condition(job, "Running")
        if self._read_output is None or not submission_id or (name, submission_id) in self._readers:
            return
        if (running is None or running.get("status") != "True") and outcome(job) is None:
            return
        head = await head_of(self._client, self._namespace, job)
        if head is not None:
            reader = self._readers[name, submission_id] = OutputReader(self._read_output, self._emit)
            reader.start(head, submission_id)

    async def finish(self, jobs: Sequence[str], on_ended: Callable[[], None] = lambda: None) -> int:
        """Wait until every job has ended; 0 when all are Complete, else 1. Shows what they wrote.

        Args:
            jobs: their names.
            on_ended: called when all have ended and what they wrote is still being shown.
        """
        failed = False
        for name in jobs:
            while not self._has_ended(name):
                await self._moved.wait()
                self._moved.clear()
            if all(map(self._has_ended, jobs)):
                on_ended()
            job = self._jobs.items[self._namespace, name]
            self.tell()
            await self._show_output(name, job)
            if outcome(job) != "Complete":
                failed = True
                self._say(f"error: job {name} failed: {failure_text(job)}")
        return 1 if failed else 0

    def _has_ended(self, name: str) -> bool:
        return outcome(self._jobs.items.get((self._namespace, name))) is not None

    async def _show_output(self, name: str, job: Mapping[str, Any]) -> None:
        """What the program wrote, as far as it was not shown while it came."""
        status = job.get("status") or {}
        tail = str(status.get("outputTail") or "")
        reader = self._readers.get((name, str(status.get("submissionId"))))
        if reader is not None:
            await reader.finish(tail, _OUTPUT_SECONDS)
        elif tail:
            self._emit(tail.rstrip("\n").encode() + b"\n")
