"""How far a simulation is: a line for whoever watches, and nothing for programs."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from shoal.cli.progress import EVERY_SECONDS, ProgressLine
from shoal_operator.local.whatif import read_candidate
from shoal_operator.whatif.outcome import simulate
from shoal_operator.whatif.startup import StartModels
from shoal_operator.whatif.trace import parse_trace

BURST = Path(__file__).parents[2] / "examples/autoscaler/burst"
CLEAR = "\r\x1b[K"
LATER = """
import itertools, sys
from shoal.cli import progress
progress.ProgressLine.__init__.__kwdefaults__["clock"] = itertools.count().__next__
from shoal.cli.main import cli
cli(["autoscaler", "simulate", *sys.argv[1:]])
"""
"""The command in a process whose clock goes on by a second whenever it is read."""


def test_a_line_comes_once_a_second_and_goes_in_the_end() -> None:
    stream, now = io.StringIO(), [10.0]
    with ProgressLine(stream, is_shown=True, clock=lambda: now[0]) as line:
        line.show(lambda: "too early")
        now[0] += EVERY_SECONDS
        line.show(lambda: "first")
        now[0] += EVERY_SECONDS / 2
        line.show(lambda: "too soon")
        now[0] += EVERY_SECONDS / 2
        line.show(lambda: "x" * 1000)
        assert stream.getvalue() == f"{CLEAR}first{CLEAR}{'x' * 79}"
    assert stream.getvalue().endswith(CLEAR)


def test_nobody_who_watches_means_nothing_is_written() -> None:
    stream, now = io.StringIO(), iter(range(100))
    with ProgressLine(stream, is_shown=False, clock=lambda: next(now)) as line:
        line.show(lambda: "hidden")
    assert stream.getvalue() == ""


def test_a_simulation_tells_how_far_it_is() -> None:
    candidate = read_candidate(BURST.with_suffix(".yaml").read_text(), "burst.yaml", StartModels())
    with BURST.with_suffix(".jsonl").open("rb") as lines:
        trace = parse_trace(lines, "burst.jsonl")
    told: list[tuple[str, float, int]] = []
    [outcome] = simulate(trace, [candidate], lambda *words: told.append(words))
    assert {name for name, _, _ in told} == {"burst.yaml"}
    assert all(one[1:] <= other[1:] for one, other in pairwise(told))
    assert told[-1][2] == outcome.plans


def stderr_of(*words: str) -> str:
    """Of the command, with a terminal for it and a pipe for what it prints."""
    ours, theirs = pty.openpty()
    files = ("-f", f"{BURST}.yaml", "--trace", f"{BURST}.jsonl", "--until", "5")
    try:
        program = [sys.executable, "-c", LATER, *files, *words]
        subprocess.run(program, stdout=subprocess.DEVNULL, stderr=theirs, timeout=60, check=True)
        os.write(theirs, b"#")
        seen = b""
        while not seen.endswith(b"#"):
            seen += os.read(ours, 65536)
        return seen.decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_sees_it_and_a_program_that_reads_json_does_not() -> None:
    seen = stderr_of()
    assert f"{CLEAR}simulated 0:" in seen
    assert "plans (" in seen
    assert seen.endswith(f"{CLEAR}#")
    assert stderr_of("--json") == "#"
