"""Every test leaves the machine as it found it; one that does not fails, and what it left is ended.

What is looked at: processes (children, their descendants, and daemons that carry the test's mark), threads,
file descriptors (with them memfds and listening sockets), mappings of shared memory, entries in /dev/shm, and
Unix sockets in the test's directory. A test that means to leave something says what and why:

    @pytest.mark.leaks("sockets", reason="a killed server cannot remove its socket; the next start does")
"""

from __future__ import annotations

import gc
import os
import re
import signal
import stat
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

import pytest

KINDS = frozenset({"processes", "threads", "fds", "shm", "listeners", "sockets"})
GRACE_SECONDS = 5.0
"""How long endings that are under way may take."""
MARK = "SHOAL_TEST_MARK"
"""Environment variable by which processes of a test are known even after they were orphaned."""


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare before and after."""
    allowed = _allowed(request.node)
    directory = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    mark = f"{os.getpid()}-{uuid.uuid4().hex}"
    outer = os.environ.get(MARK)
    os.environ[MARK] = mark
    before = _State.now()
    yield
    if outer is None:
        os.environ.pop(MARK, None)
    else:
        os.environ[MARK] = outer
    needles = [mark.encode(), *([os.fsencode(directory)] if directory else [])]

    def left() -> dict[str, list[str]]:
        return {kind: found for kind, found in before.left(needles, directory).items() if kind not in allowed}

    deadline = time.monotonic() + GRACE_SECONDS
    found = left()
    while found and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
        found = left()
    if "processes" in found:
        _end_processes(before, needles)
    if found:
        lines = [f"{kind}: {item}" for kind, items in found.items() for item in items]
        pytest.fail("left behind:\n  " + "\n  ".join(lines), pytrace=False)


def _allowed(item: pytest.Item) -> set[str]:
    allowed: set[str] = set()
    for marker in item.iter_markers("leaks"):
        unknown = set(marker.args) - KINDS
        if unknown or not marker.args or not marker.kwargs.get("reason"):
            pytest.fail(f"{item.nodeid}: leaks takes kinds of {sorted(KINDS)} and a reason")
        allowed.update(marker.args)
    if "fds" in allowed:
        allowed.add("listeners")
    return allowed


class _State:
    """What there was before a test."""

    def __init__(self, processes: set[int], threads: set[int], descriptors: Counter[str], shm: set[str]) -> None:
        self.processes = processes
        self.threads = threads
        self.descriptors = descriptors
        self.shm = shm

    @classmethod
    def now(cls) -> _State:
        threads = {id(thread) for thread in threading.enumerate()}
        return cls(set(_descendants()), threads, _descriptors(), set(_shared_memory()))

    def left(self, needles: list[bytes], directory: Path | None) -> dict[str, list[str]]:
        """By kind, what is there now and was not before; kinds with nothing are not in it."""
        new_fds = list((_descriptors() - self.descriptors).elements())
        listening = _listening_inodes() if new_fds else {}
        listeners = [listening[fd] for fd in new_fds if fd in listening]
        left = {
            "processes": [_describe(pid) for pid in self.new_processes(needles)],
            "threads": [repr(t) for t in threading.enumerate() if id(t) not in self.threads and not _is_grpcs(t)],
            "listeners": listeners,
            "fds": [fd for fd in new_fds if fd not in listening],
            "shm": sorted(set(_shared_memory()) - self.shm),
            "sockets": _socket_files(directory),
        }
        return {kind: items for kind, items in left.items() if items}

    def new_processes(self, needles: list[bytes]) -> list[int]:
        """Descendants, and any process that carries the test's mark or directory.

        What a process from before the test starts belongs to that process: a fixture of wider scope.
        """
        found: set[int] = set()
        for _ in range(2):  # one look misses a process that is just handing over to its child
            found.update(_descendants(self.processes), _carriers(needles))
        return sorted(pid for pid in found - self.processes if _exists(pid))


def _end_processes(before: _State, needles: list[bytes]) -> None:
    """So that the next test starts clean; only what this test started is found here."""
    for pid in before.new_processes(needles):
        _ignore_gone(lambda pid=pid: os.kill(pid, signal.SIGKILL))
        _ignore_gone(lambda pid=pid: os.waitpid(pid, 0) if _parent(pid) == os.getpid() else None)


def _ignore_gone(action: Callable[[], object]) -> None:
    try:
        action()
    except (ProcessLookupError, ChildProcessError):
        return


def _is_grpcs(thread: threading.Thread) -> bool:
    """The one poller that grpc.aio keeps a process, started with the first channel."""
    return thread.name.endswith("(_poll_wrapper)")


def _processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _read(path: str) -> bytes:
    """The file's content; nothing when the process has just gone."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _parent(pid: int) -> int:
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _descendants(without: Container[int] = ()) -> Iterator[int]:
    """Children, their children and so on; but not below the processes ``without``."""
    children: dict[int, list[int]] = {}
    for pid in _processes():
        children.setdefault(_parent(pid), []).append(pid)
    pending = list(children.get(os.getpid(), []))
    while pending:
        pid = pending.pop()
        if b"multiprocessing.resource_tracker" not in _read(f"/proc/{pid}/cmdline"):
            yield pid
        if pid not in without:
            pending.extend(children.get(pid, []))


def _carriers(needles: Iterable[bytes]) -> Iterator[int]:
    for pid in _processes():
        if pid == os.getpid():
            continue
        text = _read(f"/proc/{pid}/environ") + _read(f"/proc/{pid}/cmdline")
        if text and any(needle in text for needle in needles):
            yield pid


def _describe(pid: int) -> str:
    state = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1]
    command = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return f"{pid} {'(zombie)' if state == [b'Z'] else command or _read(f'/proc/{pid}/comm').decode().strip()}"


def _descriptors() -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[os.readlink(f"/proc/self/fd/{entry}")] += 1
        except OSError:  # the descriptor of the listing itself
            continue
    return found


def _listening_inodes() -> dict[str, str]:
    """``socket:[inode]`` to a description, for sockets that listen."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in _read(f"/proc/self/net/{table}").decode().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found[f"socket:[{fields[9]}]"] = f"{table} port {int(fields[1].rpartition(':')[2], 16)}"
    for line in _read("/proc/self/net/unix").decode(errors="replace").splitlines()[1:]:
        fields = line.split()
        if int(fields[3], 16) & 0x10000:  # __SO_ACCEPTCON
            found[f"socket:[{fields[6]}]"] = f"unix {' '.join(fields[7:])}"
    return found


def _shared_memory() -> Iterator[str]:
    """Mappings of memfds in this process, and our entries in /dev/shm."""
    for line in _read("/proc/self/maps").decode(errors="replace").splitlines():
        if re.search(r"/(memfd:|dev/shm/)", line):
            yield f"mapping {line.split(maxsplit=5)[5]} at {line.split('-')[0]}"
    shm = Path("/dev/shm")
    if shm.is_dir():
        yield from (
            f"/dev/shm/{entry}" for entry in os.listdir(shm) if entry.startswith("shoal") and not _is_anothers(entry)
        )


def _is_anothers(entry: str) -> bool:
    """A volume of a kubelet that lives, and not below this process: of another session on the machine."""
    named = re.match(r"shoal-volume-(\d+)-", entry)
    creator = int(named[1]) if named else os.getpid()
    return _exists(creator) and creator != os.getpid() and creator not in set(_descendants())


def _socket_files(directory: Path | None) -> list[str]:
    if directory is None or not directory.is_dir():
        return []
    return sorted(str(path) for path in directory.rglob("*") if _is_socket(path))


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
