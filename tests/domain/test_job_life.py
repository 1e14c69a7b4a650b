"""The peer's table of states (rows 0-29), its catalogue of tests and its users' complaints, as properties of our jobs.

A number in a name is the row of the peer's state machine that the test answers; P numbers are complaints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shoal_operator.domain.cluster.observed import PodView
from shoal_operator.domain.head import JobState, JobView
from shoal_operator.domain.job.attempts import retry_delay_seconds
from shoal_operator.domain.labels import STOP_PROGRAM

from .test_job_plan import MakeWorld, shared, started


def running_on_shared(job_world: MakeWorld, **spec: Any) -> Any:
    return started(shared(job_world(clusterRef={"name": "shared"}, **spec)))


def end_silently(world: Any, seconds: float) -> None:
    world.reachable = False
    world.settle()
    world.wait(seconds)
    world.settle()


# Row 0: deletion


def test_row_0_deletion_stops_the_program_of_a_shared_cluster_and_then_lets_go(job_world: MakeWorld) -> None:
    world = running_on_shared(job_world, gracePeriodSeconds=7)
    assert world.finalizers == (STOP_PROGRAM,)
    world.deleted_at = world.now
    world.settle()
    assert [(stop.submission_id, stop.grace_seconds) for stop in world.stops] == [("job-uid-1", 7.0)]
    assert world.deleted


def test_row_0_deletion_with_a_head_that_is_silent_is_bounded_and_says_so(job_world: MakeWorld) -> None:
    world = running_on_shared(job_world, gracePeriodSeconds=5)
    world.deleted_at = world.now
    world.reachable = False
    world.settle()
    assert not world.deleted
    world.wait(21)
    world.settle()
    assert world.deleted
    assert (world.events[-1].type, world.events[-1].reason) == ("Warning", "StopNotConfirmed")


@pytest.mark.parametrize("how", ["gone", "going"])
def test_row_0_deletion_of_a_namespace_is_not_held_up(job_world: MakeWorld, how: str) -> None:
    world = running_on_shared(job_world)
    world.deleted_at, world.reachable = world.now, False
    if how == "gone":
        world.cluster = None
    else:
        world.cluster["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    world.settle()
    assert world.deleted


def test_row_0_job_with_its_own_cluster_needs_no_finalizer(job_world: MakeWorld) -> None:
    world = started(job_world())
    assert world.finalizers == ()
    world.deleted_at = world.now
    assert world.reconcile().is_empty


def test_finalizer_of_others_is_left_alone_and_ours_goes_with_the_end(job_world: MakeWorld) -> None:
    world = shared(job_world(clusterRef={"name": "shared"}))
    world.finalizers = ("example.com/theirs",)
    started(world)
    assert world.finalizers == ("example.com/theirs", STOP_PROGRAM)
    world.row(state=JobState.SUCCEEDED)
    world.settle()
    assert world.finalizers == ("example.com/theirs",)


# Row 1: validation


def test_row_1_wrong_edit_of_a_running_job_does_not_end_it(job_world: MakeWorld) -> None:
    world = started(job_world(clusterSpec={"workerGroups": [{"name": "a"}]}))
    good = world.spec
    world.spec = {**good, "clusterSpec": {"workerGroups": [{"name": "a", "resources": {"CPU": "many"}}]}}
    world.settle()
    assert world.condition("InvalidSpec")["status"] == "True"
    assert (world.condition("Running")["status"], world.stops) == ("True", [])
    assert "resources" not in world.cluster["spec"]["workerGroups"][0], "a bad spec goes nowhere"
    assert [event.reason for event in world.events].count("InvalidSpec") == 1
    world.row(state=JobState.SUCCEEDED)
    world.settle()
    assert world.condition("Complete")["status"] == "True"


def test_row_1_invalid_is_left_when_the_spec_is_mended(job_world: MakeWorld) -> None:
    world = job_world(source={"directory": "/a", "path": "/b"})
    world.settle()
    assert world.status["summary"] == "Invalid"
    world.spec["source"] = {"path": "/b"}
    world.settle()
    assert (world.condition("InvalidSpec")["status"], world.status["summary"]) == ("False", "Waiting")


def test_row_1_next_attempt_waits_for_a_valid_spec(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=1))
    world.row(state=JobState.FAILED, exit_code=1)
    world.settle()
    world.spec["clusterSpec"] = {"workerGroups": [{"name": "a", "resources": {"CPU": "many"}}]}
    world.wait(10)
    world.settle()
    assert (world.status["reason"], len(world.submissions)) == ("InvalidSpec", 1)
    del world.spec["clusterSpec"]
    world.settle()
    assert world.submissions[-1].submission_id == "job-uid-2"


# Rows 3, 12, 26, 27: suspend


def test_row_12_suspend_stops_gracefully_and_is_observed_before_the_cluster_goes(job_world: MakeWorld) -> None:
    world = started(job_world(gracePeriodSeconds=42))
    world.ignores_stops = True
    world.spec["suspend"] = True
    for _ in range(3):
        world.reconcile()
    assert world.stops[0].grace_seconds == 42
    assert (world.status["summary"], world.condition("Suspended")["status"]) == ("Stopping", "False")
    assert world.cluster is not None
    world.ignores_stops = False
    world.settle()
    assert (world.cluster, world.status["summary"]) == (None, "Suspended")
    assert world.condition("Stopping")["status"] == "False"


def test_row_26_suspend_is_atomic_whatever_the_flag_says_meanwhile(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.ignores_stops = True
    world.spec["suspend"] = True
    world.reconcile()
    world.reconcile()
    world.spec["suspend"] = False
    world.reconcile()
    assert world.status["summary"] == "Stopping"
    world.ignores_stops = False
    world.settle(passes=9)
    assert (world.status["attempt"], world.status["failedAttempts"]) == (2, 0)
    assert world.condition("Failed")["status"] == "False"


def test_row_12_program_that_ends_while_it_is_suspended_keeps_its_result(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.ignores_stops = True
    world.spec["suspend"] = True
    world.reconcile()
    world.row(state=JobState.SUCCEEDED)
    world.settle()
    assert world.condition("Complete")["status"] == "True"


@pytest.mark.parametrize("mode", ["waiting", "interactive"])
def test_row_10_suspend_works_while_the_job_waits(job_world: MakeWorld, mode: str) -> None:
    spec = {"mode": "Interactive", "entrypoint": ""} if mode == "interactive" else {}
    world = job_world(**spec)
    world.settle()
    if mode == "interactive":
        world.start_head()
        world.settle()
        assert world.status["reason"] == "WaitingForSubmission"
    world.spec["suspend"] = True
    world.settle()
    assert (world.cluster, world.status["summary"]) == (None, "Suspended")


def test_created_suspended_makes_nothing_and_asks_for_no_further_look(job_world: MakeWorld) -> None:
    world = job_world(suspend=True)
    assert world.reconcile().requeue_after_seconds is None
    assert (world.cluster, world.status["summary"]) == (None, "Suspended")
    world.spec["suspend"] = False
    started(world)
    assert world.submissions[0].submission_id == "job-uid-1"


def test_suspend_with_a_silent_head_is_bounded(job_world: MakeWorld) -> None:
    world = started(job_world(gracePeriodSeconds=5))
    world.reachable = False
    world.spec["suspend"] = True
    world.settle()
    assert "not confirmed" in world.condition("Stopping")["message"]
    assert world.condition("HeadReachable")["status"] == "Unknown"
    world.wait(66)
    world.settle()
    assert (world.cluster, world.status["summary"]) == (None, "Suspended")


def suspend_cluster(world: Any, *, has_head: bool) -> None:
    """Its pods are being given up, or have gone; nobody speaks with its head any more."""
    told = {"type": "Suspended", "status": "False" if has_head else "True", "reason": "Suspending"}
    told["lastTransitionTime"] = world.now.isoformat()
    world.cluster |= {"spec": {"suspend": True}, "status": {"conditions": [told]}}
    head = PodView("shared-head", "u", "head", "head", -1, "", "Running", ready=False)
    world.head_ready, world.pods = False, (head,) if has_head else ()


@pytest.mark.parametrize("has_head", [True, False])
def test_stop_is_over_where_nothing_can_run(job_world: MakeWorld, has_head: bool) -> None:
    """A cluster that is suspended and has no head runs no program: nothing is left to be confirmed."""
    world = running_on_shared(job_world)
    world.reachable = False
    world.spec["suspend"] = True
    world.settle()
    assert world.status["summary"] == "Stopping"
    suspend_cluster(world, has_head=has_head)
    world.settle()
    assert world.status["summary"] == ("Stopping" if has_head else "Suspended")


def test_job_of_a_suspended_cluster_does_not_run(job_world: MakeWorld) -> None:
    world = running_on_shared(job_world)
    suspend_cluster(world, has_head=False)
    world.settle()
    running = world.condition("Running")
    assert (running["status"], running["reason"]) == ("False", "ClusterSuspended")
    world.cluster |= {"spec": {"suspend": False}}
    world.start_head("two")
    world.settle()
    assert world.condition("Failed")["reason"] == "HeadLost"


# Rows 4, 5, 13: deadlines


def test_row_13_p2_deadline_is_reported_after_the_program_has_stopped(job_world: MakeWorld) -> None:
    world = started(job_world(activeDeadlineSeconds=10))
    world.ignores_stops = True
    world.wait(11)
    for _ in range(3):
        world.reconcile()
    assert (world.status["summary"], world.condition("Failed")["status"]) == ("Stopping", "False")
    assert world.condition("Running")["status"] == "True"
    world.ignores_stops = False
    world.settle()
    failed = world.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", "DeadlineExceeded")
    assert world.jobs == {} or world.jobs["job-uid-1"].state is JobState.STOPPED


def test_row_13_deadline_with_a_head_that_is_silent_says_that_nothing_is_confirmed(job_world: MakeWorld) -> None:
    world = started(job_world(activeDeadlineSeconds=10, gracePeriodSeconds=5))
    end_silently(world, 11)
    assert world.condition("Failed")["status"] == "False"
    assert world.condition("HeadReachable")["status"] == "Unknown"
    assert "not confirmed" in world.status["message"]
    world.wait(66)
    world.reconcile()
    assert world.cluster is None, "what may still run goes before the outcome is given"
    world.settle()
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"


def test_row_13_deadline_on_a_shared_cluster_that_is_silent_is_bounded_too(job_world: MakeWorld) -> None:
    world = running_on_shared(job_world, activeDeadlineSeconds=10, gracePeriodSeconds=5)
    end_silently(world, 11)
    world.wait(66)
    world.settle()
    assert world.cluster is not None
    assert "the stop is not confirmed" in world.condition("Failed")["message"]


def test_deadline_is_over_all_attempts_and_no_retry_resets_it(job_world: MakeWorld) -> None:
    world = started(job_world(activeDeadlineSeconds=30, backoffLimit=5))
    world.wait(5)
    world.row(state=JobState.FAILED, exit_code=1)
    world.settle()
    world.wait(10)
    world.settle()
    assert world.submissions[-1].submission_id == "job-uid-2"
    world.row(2, state=JobState.RUNNING, start_time=world.now)
    world.settle()
    world.wait(15)
    world.settle()
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"
    assert (world.status["attempt"], len(world.submissions)) == (2, 2)


def test_deadline_in_the_delay_before_a_retry_ends_the_job(job_world: MakeWorld) -> None:
    world = started(job_world(activeDeadlineSeconds=12, backoffLimit=5))
    world.wait(5)
    world.row(state=JobState.FAILED, exit_code=1)
    world.settle()
    world.wait(8)
    world.settle()
    assert (world.condition("Failed")["reason"], world.stops) == ("DeadlineExceeded", [])
    assert "attempt 1 of 6 failed" in world.condition("Failed")["message"]


def test_row_11_start_deadline_counts_for_an_interactive_job_as_well(job_world: MakeWorld) -> None:
    world = job_world(mode="Interactive", entrypoint="", startDeadlineSeconds=60)
    world.settle()
    world.start_head()
    world.settle()
    world.wait(61)
    world.settle()
    failed = world.condition("Failed")
    assert failed["reason"] == "StartDeadlineExceeded"
    assert "submit the program yourself" in failed["message"]


# Rows 8, 11: interactive


def test_rows_8_and_11_interactive_job_waits_and_then_follows_the_submission_it_is_told(job_world: MakeWorld) -> None:
    world = job_world(mode="Interactive", entrypoint="")
    world.settle()
    world.start_head()
    world.settle()
    assert world.status["reason"] == "WaitingForSubmission"
    assert world.status["headAddress"] == "census-head.ns.svc:7380"
    assert "census-head.ns.svc:7380" in world.status["message"]
    world.spec["submissionId"] = "mine"
    world.settle()
    assert (world.status["reason"], world.submissions) == ("SubmissionNotFound", [])
    world.jobs["mine"] = JobView("mine", JobState.RUNNING, start_time=world.now)
    world.settle()
    assert (world.status["summary"], world.status["submissionId"]) == ("Running", "mine")
    world.jobs["mine"] = replace(world.jobs["mine"], state=JobState.SUCCEEDED)
    world.settle()
    assert (world.status["summary"], world.cluster) == ("Complete", None)


# Rows 14-22: truth


def test_rows_14_to_22_nothing_but_the_table_ends_a_job(job_world: MakeWorld) -> None:
    """Silence for as long as one likes, broken streams, an operator that has just started: no verdict."""
    world = started(job_world())
    rows = dict(world.jobs)
    for reachable, ready, known in (
        (False, True, True),
        (True, False, True),
        (False, False, True),
        (False, True, False),  # what a head that is silent now did not know when it spoke last
        (True, True, True),
    ):
        world.reachable, world.head_ready = reachable, ready
        world.jobs = dict(rows) if known else {}
        world.wait(100_000)
        world.settle()
        assert world.condition("Running")["status"] == "True"
        assert world.condition("Failed")["status"] == "False"
    assert len(world.submissions) == 1


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda world: None, ("True", "HeadAnswers")),
        (lambda world: setattr(world, "reachable", False), ("Unknown", "HeadUnreachable")),
        (lambda world: setattr(world, "head_ready", False), ("Unknown", "HeadUnreachable")),
        (lambda world: world.cluster.update(status={}, head=setattr(world, "head_ready", False)), ("False", "NoHead")),
    ],
)
def test_head_reachable_is_a_condition_of_the_job(
    job_world: MakeWorld, make: Callable[[Any], None], expected: tuple[str, str]
) -> None:
    world = started(job_world())
    make(world)
    world.settle()
    found = world.condition("HeadReachable")
    assert (found["status"], found["reason"]) == expected


def test_p1b_new_head_that_does_not_know_the_program_has_lost_it(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=1))
    world.start_head("two")
    world.settle()
    assert (world.status["failedAttempts"], world.status["attempt"]) == (1, 2)
    assert "HeadLost" in world.status["message"]


def test_new_head_that_says_that_the_driver_died_counts_the_attempt(job_world: MakeWorld) -> None:
    """A head with a durable table knows its jobs again; the drivers of the old head have gone with it."""
    world = started(job_world(backoffLimit=1))
    rows = dict(world.jobs)
    world.start_head("two")
    world.jobs = {key: replace(row, state=JobState.FAILED, reason="HeadLost") for key, row in rows.items()}
    world.settle()
    assert (world.status["failedAttempts"], world.status["reason"]) == (1, "Retrying")
    world.wait(10)
    world.settle()
    assert world.submissions[-1].submission_id == "job-uid-2"


# Rows 24, 25: retries


@pytest.mark.parametrize(("failed", "seconds"), [(1, 10), (2, 20), (3, 40), (6, 320), (7, 360), (99, 360)])
def test_delay_between_attempts_doubles_up_to_six_minutes(failed: int, seconds: float) -> None:
    assert retry_delay_seconds(failed) == seconds


def test_row_24_delay_is_shown_and_kept_over_a_restart_of_the_operator(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=3))
    world.row(state=JobState.FAILED, reason="EntrypointFailed", exit_code=1, end_time=world.now)
    plan = world.reconcile()
    assert plan.requeue_after_seconds == pytest.approx(10)
    assert "attempt 1 of 4 failed (EntrypointFailed)" in world.condition("Running")["message"]
    due = world.now + timedelta(seconds=10)
    assert f"attempt 2 begins at {due:%H:%M:%S} UTC" in world.status["message"]
    before = world.status
    world.wait(4)
    assert world.reconcile().requeue_after_seconds == pytest.approx(6)
    assert world.status == before, "a wait writes nothing"


@pytest.mark.parametrize("passes_that_lose_the_status", [0, 1, 3])
def test_failed_attempts_are_counted_once_each(job_world: MakeWorld, passes_that_lose_the_status: int) -> None:
    world = started(job_world(backoffLimit=9))
    world.row(state=JobState.FAILED, exit_code=1)
    world.loses_status = True
    for _ in range(passes_that_lose_the_status):
        world.reconcile()
    world.loses_status = False
    world.settle()
    assert world.status["failedAttempts"] == 1


def test_row_25_new_cluster_for_the_next_attempt(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=1, retryPolicy={"cluster": "New"}))
    first = world.cluster["metadata"]["uid"]
    world.row(state=JobState.FAILED, exit_code=1)
    world.loses_status = True
    world.reconcile()
    assert world.cluster is not None, "the failure is recorded before its cluster goes"
    world.loses_status = False
    world.settle()
    assert (world.cluster, world.status["failedAttempts"]) == (None, 1)
    assert "attempt 1 of 2 failed" in world.status["message"]
    world.wait(10)
    world.settle()
    assert world.cluster["metadata"]["uid"] != first
    world.start_head("two")
    world.settle()
    assert world.submissions[-1].submission_id == "job-uid-2"
    assert "discardedClusterUid" not in world.status


def test_row_25_next_attempt_waits_until_the_old_cluster_is_gone(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=1, retryPolicy={"cluster": "New"}))
    world.row(state=JobState.FAILED, exit_code=1)
    world.reconcile()
    world.cluster["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    world.wait(60)
    world.settle()
    assert (world.status["reason"], len(world.submissions)) == ("ReplacingCluster", 1)
    world.cluster, world.head_ready = None, False
    world.settle()
    assert world.cluster is not None


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(
            lambda world: world.row(state=JobState.STOPPED, reason="StoppedByRequest"), id="stopped by a user"
        ),
        pytest.param(lambda world: world.wait(1000), id="deadline"),
    ],
)
def test_row_24_what_is_not_repeated(job_world: MakeWorld, end: Callable[[Any], None]) -> None:
    world = started(job_world(backoffLimit=5, activeDeadlineSeconds=100))
    end(world)
    world.settle()
    assert world.condition("Failed")["status"] == "True"
    assert (world.status["attempt"], len(world.submissions)) == (1, 1)
