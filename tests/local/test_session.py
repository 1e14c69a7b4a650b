from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shoal_operator.local.errors import LocalError
from shoal_operator.local.loopback import LoopbackPool
from shoal_operator.local.session import (
    clear_dead_sessions,
    create_session,
    prepare_root,
    running_sessions,
    session_root,
)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SHOAL_HOME": "/x", "XDG_RUNTIME_DIR": "/run/user/7"}, "/x"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/shoal-7"),
        ({}, "/tmp/shoal-7"),
    ],
)
def test_where_sessions_live(environment: dict[str, str], expected: str) -> None:
    assert session_root(environment, 7) == Path(expected)


def test_a_session_is_private_locked_and_removed(tmp_path: Path) -> None:
    session = create_session(tmp_path / "root")
    session.describe(url="https://x")
    assert stat.S_IMODE(session.directory.stat().st_mode) == 0o700
    assert [one.session_id for one in running_sessions(tmp_path / "root")] == [session.session_id]
    assert clear_dead_sessions(tmp_path / "root") == []
    session.close()
    assert running_sessions(tmp_path / "root") == []
    assert not session.directory.exists()


def test_two_sessions_live_side_by_side(tmp_path: Path) -> None:
    first, second = create_session(tmp_path), create_session(tmp_path)
    assert first.directory != second.directory
    assert first.directory.exists()
    first.close()
    assert second.directory.exists()
    second.close()


def test_the_next_session_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    dead = create_session(tmp_path)
    (dead.directory / "pods" / "uid" / "volumes").mkdir(parents=True)
    memory = Path("/dev/shm") / f"shoal-volume-test-{os.getpid()}"
    memory.mkdir()
    (dead.directory / "pods" / "uid" / "volumes" / "v").symlink_to(memory)
    os.close(dead.lock_fd)
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(1000)"],
        env={**os.environ, "SHOAL_SESSION": dead.session_id},
        start_new_session=True,
    )
    bystander = subprocess.Popen(["sleep", "1000"], env={**os.environ, "SHOAL_SESSION": dead.session_id + "x"})
    session = create_session(tmp_path)
    assert stray.wait(5) == -signal.SIGKILL
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert not dead.directory.exists()
    assert not memory.exists()
    session.close()


def test_a_root_that_others_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(LocalError, match="is not a directory of yours"):
        prepare_root(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="cannot make the session directory"):
        prepare_root(tmp_path / "file" / "below")


def test_a_root_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir(mode=0o755)
    prepare_root(tmp_path / "wide")
    assert stat.S_IMODE((tmp_path / "wide").stat().st_mode) == 0o700


def test_pools_share_no_address_even_with_the_same_seed() -> None:
    first, second = LoopbackPool(7), LoopbackPool(7)
    ours, theirs = {first.allocate() for _ in range(300)}, {second.allocate() for _ in range(300)}
    assert len(ours) == len(theirs) == 300
    assert not ours & theirs
    assert all(int(address.split(".")[1]) >= 1 for address in ours | theirs)
    first.close()
    second.close()


def test_addresses_can_be_listened_on_and_come_back_last() -> None:
    pool = LoopbackPool(1)
    address = pool.allocate()
    with socket.create_server((address, 0)):
        pass
    pool.release(address)
    pool.release("127.0.0.1")
    assert address not in {pool.allocate() for _ in range(253)}
    assert pool.allocate() == address
    pool.close()


def test_a_claim_ends_with_its_owner() -> None:
    program = (
        "from shoal_operator.local.loopback import LoopbackPool as P; import time; "
        "p = P(9); print(p.allocate(), flush=True); time.sleep(99)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    address = owner.stdout.readline().strip()
    pool = LoopbackPool(9)
    assert pool.allocate() != address
    pool.close()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    pool = LoopbackPool(9)
    assert pool.allocate() == address
    pool.close()
