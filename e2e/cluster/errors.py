"""What the provider refuses or fails with. Invariant: one exception is one message that a person can act on."""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 15


class ProviderError(Exception):
    """Something is missing, or a part of the cluster did not start. The message says what, where and what to do."""


class CommandError(ProviderError):
    """A command failed or took too long.

    Attributes:
        argv: the command.
        status: its exit status; None when it was stopped for taking too long.
        output: what it wrote last, stdout and stderr together.
    """

    def __init__(self, argv: list[str], status: int | None, output: str) -> None:
        self.argv = argv
        self.status = status
        self.output = output
        ended = "took too long" if status is None else f"ended with status {status}"
        super().__init__(f"`{' '.join(argv)}` {ended}:\n{last_lines(output)}")


def last_lines(text: str, count: int = TAIL_LINES) -> str:
    """The last lines of a text, for messages."""
    return "\n".join(text.strip().splitlines()[-count:])


def log_tail(path: Path, count: int = TAIL_LINES) -> str:
    """The last lines of a log file; says so when there are none."""
    try:
        return last_lines(path.read_text(errors="replace"), count) or f"({path} is empty)"
    except FileNotFoundError:
        return f"({path} was never written)"
