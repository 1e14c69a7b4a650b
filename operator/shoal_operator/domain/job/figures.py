"""Figures of a running program that go into the status: task counts and the tail of its output.

Invariant: they are bounded in size, and their changes in frequency (``PROGRESS_SECONDS``), so that a busy program
does not flood the API server.
"""

from __future__ import annotations

from typing import Final

from shoal_operator.api.job import ComputeJobStatus, TaskCounts
from shoal_operator.domain.head import JobView

OUTPUT_TAIL_BYTES: Final = 4096
PROGRESS_SECONDS: Final = 2.0
"""Least time between two updates of the figures while the program runs."""


def read_figures(row: JobView) -> tuple[TaskCounts, str | None]:
    """Task counts and output of a row of the head's job table."""
    tasks = TaskCounts(submitted=row.tasks_submitted, finished=row.tasks_finished, failed=row.tasks_failed)
    return tasks, output_tail(row.output_tail) or None


def are_outdated(status: ComputeJobStatus, row: JobView) -> bool:
    """Whether the status says something else than the head."""
    return read_figures(row) != (status.tasks, status.output_tail)


def output_tail(text: str) -> str:
    """The last part of ``text`` that is at most 4 KiB of UTF-8, from the start of a line if possible."""
    data = text.encode()
    if len(data) <= OUTPUT_TAIL_BYTES:
        return text
    cut = data[-OUTPUT_TAIL_BYTES:].decode(errors="ignore")
    return cut.split("\n", 1)[1] if "\n" in cut[:-1] else cut
