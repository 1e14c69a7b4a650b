"""Directories of node processes that start and sweep at the same time."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from shoal.cli import session_directory
from shoal.cli.session_directory import LOCK_NAME, SessionDirectory, SessionDirectoryError, sweep


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Short enough for sockets, wherever pytest has its own directories."""
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as directory:
        monkeypatch.setenv("SHOAL_HOME", directory)
        yield Path(directory)


def interrupted(call: Callable[[], Any], functions: set[str], between: Callable[[FrameType], None]) -> Any:
    """Call ``call``, and ``between`` before each line of the module's ``functions`` on the way."""

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != session_directory.__file__ or frame.f_code.co_name not in functions:
            return None
        if event == "line":
            sys.settrace(None)
            between(frame)
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)


def swept_at_every_line(make: Callable[[], SessionDirectory]) -> SessionDirectory:
    """As if another process swept between any two of its lines."""
    functions = {"__init__", "_claimed", "_new_lock", "_old_lock", "_is_at", "_make_private"}
    made: SessionDirectory = interrupted(make, functions, lambda _frame: sweep())
    return made


@pytest.mark.parametrize("name", ["", "given"])
def test_a_directory_that_begins_is_not_swept(root: Path, name: str) -> None:
    directory = swept_at_every_line(lambda: SessionDirectory(str(root / name) if name else ""))
    sweep()
    assert [path.name for path in directory.path.iterdir()] == [LOCK_NAME]
    with pytest.raises(SessionDirectoryError, match="in use by another node process"):
        SessionDirectory(str(directory.path))
    directory.remove()
    assert list(root.iterdir()) == []


DIES = "import os, sys; from shoal.cli.session_directory import SessionDirectory; SessionDirectory(sys.argv[1]); "
DIES += "open(sys.argv[1] + '/left', 'w').close(); os._exit(9)"


def test_what_a_killed_process_left_is_swept_or_taken_over(root: Path) -> None:
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", DIES, str(root / name)], timeout=30, check=False)
    assert (root / "one" / "left").exists()
    taken = SessionDirectory(str(root / "one"))
    sweep()
    assert [path.name for path in root.iterdir()] == ["one"]
    taken.remove()
    subprocess.run([sys.executable, "-c", DIES, str(root / "one")], timeout=30, check=False)
    swept_at_every_line(lambda: SessionDirectory(str(root / "one"))).remove()
    assert list(root.iterdir()) == []


def test_a_sweep_that_comes_late_leaves_the_successor_alone(root: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(root / "one")], timeout=30, check=False)
    made: list[SessionDirectory] = []

    def succeed(frame: FrameType) -> None:
        if "fd" in frame.f_locals and not made:
            sweep()
            made.append(SessionDirectory(str(root / "one")))

    interrupted(sweep, {"sweep"}, succeed)
    assert [path.name for path in made[0].path.iterdir()] == [LOCK_NAME]
    made[0].remove()
