"""The head's state file: what is said to be on disk is there; a file that makes no sense is never an empty start."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.actors import Actor, ActorSpec
from shoal.core.jobs import Job, JobSpec
from shoal.core.membership import Membership, NodeInfo
from shoal.head import state_rows
from shoal.head.journal import Journal
from shoal.head.state import HeadState
from shoal.head.state_error import StateError
from shoal.head.state_file import FILE_NAME, SCHEMA_VERSION, StateFile
from shoal.resources import ResourceSet

CPU = ResourceSet.from_units({"CPU": 1, "memory": 5})


@pytest.fixture
def state(tmp_path: Path) -> Iterator[HeadState]:
    state = HeadState(StateFile(tmp_path))
    yield state
    state.close()


def settle(state: HeadState) -> None:
    written = threading.Event()
    state.when_durable(written.set)
    assert written.wait(10)


def test_what_was_written_is_found_in_its_order_and_newest_form(state: HeadState, tmp_path: Path) -> None:
    for key in ("b", "a", "c"):
        state.put("kv", "n", key, b"old")
    settle(state)
    state.put("kv", "n", "b", b"new")
    state.drop("kv", "n", "a")
    state.drop("kv", "n", "never there")
    state.close()
    again = HeadState(StateFile(tmp_path))
    assert again.rows("kv") == [("n", "b", b"new"), ("n", "c", b"old")]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    again.close()


def test_durable_means_that_another_process_could_read_it(state: HeadState, tmp_path: Path) -> None:
    state.put("kv", "n", "key", b"value")
    settle(state)
    for suffix in ("", "-wal"):  # what a kill -9 at this moment would leave
        (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"{FILE_NAME}{suffix}").read_bytes())
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT * FROM kv").fetchall() == [("n", "key", b"value")]
    copy.close()


def test_one_file_has_one_head(state: HeadState, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="in use by another head") as caught:
        HeadState(StateFile(tmp_path, lock_wait_seconds=0.1))
    assert (caught.value.kind, caught.value.path) == ("InUse", str(tmp_path / FILE_NAME))


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_a_damaged_file_is_no_empty_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(StateError, match="restore it from a copy, or move it away") as caught:
        HeadState(StateFile(tmp_path))
    assert caught.value.kind == "Unreadable"
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert pickle.loads(pickle.dumps(caught.value)).kind == "Unreadable"


def test_a_newer_file_is_left_alone(state: HeadState, tmp_path: Path) -> None:
    state.close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(StateError, match="start the newer version of shoal") as caught:
        HeadState(StateFile(tmp_path))
    assert caught.value.kind == "Newer"


def test_a_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="mount the volume") as caught:
        HeadState(StateFile(tmp_path / "nowhere"))
    assert caught.value.kind == "Missing"
    assert not (tmp_path / "nowhere").exists()


def test_a_malformed_row_is_an_error_that_names_the_file(state: HeadState, tmp_path: Path) -> None:
    state.put("jobs", "j", "RUNNING", "[]", b"")
    state.close()
    again = HeadState(StateFile(tmp_path))
    with pytest.raises(StateError, match=FILE_NAME):
        Journal(again)
    again.close()


def test_actors_jobs_and_nodes_come_back_as_they_were() -> None:
    spec = ActorSpec("a", "j", "n", "name", "ns", "C", CPU, CPU, -1, True, b"creation", b"handle")
    actor = Actor(spec, "ALIVE", "n2", b"worker", 3, "WorkerDied", "words", restart_after_kill=True)
    assert state_rows.actor(state_rows.actor_row(actor)) == actor
    job_spec = JobSpec("s", "j", "true", "/w", True, {"A": "1"}, {"m": "2"}, "hash", CPU)
    job = Job(job_spec, "FAILED", "Why", "words", 3, 1.5, 2.5, tail=b"\xff", counts={"n": (1, 2, 3)}, launched=True)
    assert state_rows.job(state_rows.job_row(job)) == job
    info = NodeInfo("n", "10.0.0.1", 7381, CPU, {"zone": "a"}, "pod", "small", True)
    members = Membership()
    member = members.register(info, 0.0)
    assert state_rows.node(state_rows.node_row(member)) == (info, True, "")
    members.declare_dead("n", "gone", 1.0)
    assert state_rows.node(state_rows.node_row(member)) == (info, False, "gone")


def test_a_row_of_another_version_loses_what_is_not_known_here() -> None:
    row = state_rows.job_row(Job(JobSpec("s", "j", "true")))
    newer = (*row[:2], row[2].replace('"reason"', '"from_the_future": 1, "reason"'), row[3])
    assert state_rows.job(newer).spec.submission_id == "s"


def test_the_identity_of_the_cluster_stays(state: HeadState, tmp_path: Path) -> None:
    first = Journal(state).cluster_id
    state.close()
    again = HeadState(StateFile(tmp_path))
    assert Journal(again).cluster_id == first
    assert Journal().cluster_id != first
    again.close()
