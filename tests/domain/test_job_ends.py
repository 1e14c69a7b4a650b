"""How a job ends and what stays: cleanup in stages, the post-mortem, and places on shared clusters.

A number in a name is the row of the peer's state machine that the test answers; P numbers are complaints.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Demand
from shoal_operator.domain.cluster.observed import PodReason, PodView, pod_view
from shoal_operator.domain.head import JobState
from shoal_operator.domain.job.failure import LATE_SECONDS, seconds_for_late_words
from shoal_operator.domain.job.observed import Rival, read_rival
from shoal_operator.domain.reasons import Reason

from .conftest import START
from .test_job_life import running_on_shared
from .test_job_plan import MakeWorld, shared, started

# Rows 28, 29: cleanup


def end_with(world: Any, outcome: str) -> Any:
    world.row(state=JobState.SUCCEEDED if outcome == "Complete" else JobState.FAILED)
    world.settle()
    assert world.condition(outcome)["status"] == "True"
    return world


def rule(outcome: str, action: str, after: int) -> dict[str, Any]:
    return {"outcome": outcome, "action": action, "afterSeconds": after}


@pytest.mark.parametrize("outcome", ["Complete", "Failed"])
def test_row_29_stages_workers_then_cluster_then_job(job_world: MakeWorld, outcome: str) -> None:
    rules = [
        rule(outcome, action, after)
        for action, after in (("DeleteWorkers", 10), ("DeleteCluster", 20), ("DeleteJob", 30))
    ]
    groups = [{"name": "a", "minReplicas": 2, "maxReplicas": 5}]
    world = end_with(started(job_world(cleanupPolicy=rules, clusterSpec={"workerGroups": groups})), outcome)
    assert world.cluster["spec"]["workerGroups"][0]["minReplicas"] == 2
    world.wait(11)
    assert world.settle()[-1].requeue_after_seconds == pytest.approx(9, abs=1)
    group = world.cluster["spec"]["workerGroups"][0]
    assert (group["minReplicas"], group["maxReplicas"]) == (0, 0)
    world.wait(10)
    world.settle()
    assert (world.cluster, world.deleted) == (None, False)
    world.wait(10)
    world.settle()
    assert world.deleted


def test_row_29_of_overdue_actions_only_the_most_impactful_is_done(job_world: MakeWorld) -> None:
    rules = [rule("Failed", "DeleteWorkers", 1), rule("Failed", "DeleteCluster", 2), rule("Failed", "DeleteJob", 3)]
    world = end_with(started(job_world(cleanupPolicy=rules)), "Failed")
    world.wait(100)
    plan = world.reconcile()
    assert ([ref.kind for ref in plan.delete], plan.apply) == (["ComputeJob"], ())


def test_row_29_rules_of_the_other_outcome_do_nothing(job_world: MakeWorld) -> None:
    world = end_with(started(job_world(cleanupPolicy=[rule("Failed", "KeepCluster", 0)])), "Complete")
    assert world.cluster is None, "the default for Complete"


def test_row_28_shared_cluster_is_left_alone(job_world: MakeWorld) -> None:
    world = end_with(running_on_shared(job_world), "Failed")
    world.wait(10_000)
    world.settle()
    assert world.cluster is not None


def test_delete_job_alone_does_not_keep_the_cluster(job_world: MakeWorld) -> None:
    world = end_with(started(job_world(cleanupPolicy=[rule("Complete", "DeleteJob", 50)])), "Complete")
    assert (world.cluster, world.deleted) == (None, False)


def test_output_on_its_way_is_waited_for_and_then_said(job_world: MakeWorld) -> None:
    world = started(job_world(output={"url": "s3://logs/{name}-{attempt}.log"}))
    assert world.submissions[0].output_url == "s3://logs/census-1.log"
    world.row(state=JobState.SUCCEEDED, output_state="Saving")
    world.settle()
    assert (world.status["summary"], world.cluster is None) == ("Complete", False)
    world.row(output_state="Failed", output_message="no credentials")
    world.settle()
    saved = world.condition("OutputSaved")
    assert (saved["status"], saved["reason"]) == ("False", "OutputNotSaved")
    assert "no credentials" in world.events[-1].message
    assert (world.status["summary"], world.cluster) == ("Complete", None)


def test_output_that_never_arrives_holds_the_cluster_for_a_bounded_time(job_world: MakeWorld) -> None:
    world = started(job_world(output={"url": "s3://logs/x"}))
    world.row(state=JobState.SUCCEEDED, output_state="Saving")
    world.settle()
    world.wait(301)
    world.settle()
    assert world.cluster is None


def test_the_head_is_not_reachable_after_its_cluster_was_deleted(job_world: MakeWorld) -> None:
    world = end_with(started(job_world()), "Complete")
    assert world.cluster is None
    world.settle()
    reachable = world.condition("HeadReachable")
    assert (reachable["status"], reachable["reason"]) == ("False", "ClusterDeleted")


# Post-mortem (P25)


def dead_worker(*, deleting: bool = False) -> PodView:
    why = (PodReason("Error", "exit code 137", "shoal", "terminated"),)
    pod = PodView("census-a-0", "1", "a", "worker", 0, "", "Failed", ready=False, reasons=why)
    return replace(pod, deleting_since=START) if deleting else pod


def test_the_end_of_a_lost_nodes_pod_is_added_and_the_cluster_waits_for_it(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.row(state=JobState.FAILED, reason="NodeLost", message="the node is lost")
    world.settle()
    assert not world.status["failure"].get("pods")
    assert world.cluster is not None, "its pods would go with it"
    world.wait(1)
    world.pods = (dead_worker(),)
    world.settle()
    assert [pod["reason"] for pod in world.status["failure"]["pods"]] == ["Error"]
    assert world.cluster is None
    world.pods = ()
    world.settle()
    assert world.status["failure"]["pods"], "it stays"


def test_a_lost_nodes_pod_is_waited_for_a_few_seconds_and_deleted_pods_are_no_cause(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.row(state=JobState.FAILED, reason="NodeLost", message="the node is lost")
    world.settle()
    world.pods = (dead_worker(deleting=True),)
    world.settle()
    world.wait(6)
    world.settle()
    assert world.cluster is None
    world.pods = (dead_worker(),)
    world.settle()
    assert not world.status["failure"].get("pods")


@pytest.mark.parametrize(
    ("reason", "message", "is_lost"),
    [
        ("NodeLost", "the node is lost", True),
        ("HeadLost", "the head was lost", True),
        ("NodeLost", "", True),
        ("EntrypointFailed", "NodeLost: so the program says", False),
        ("EntrypointFailed", "a HeadLostError was raised", False),
        ("NodeLostTooOften", "a word of another version", False),
    ],
)
@pytest.mark.parametrize("retries", [0, 2])
def test_the_reason_and_no_words_say_whether_a_pods_end_is_waited_for(
    job_world: MakeWorld, reason: str, message: str, is_lost: bool, retries: int
) -> None:
    world = started(job_world(backoffLimit=retries))
    world.row(state=JobState.FAILED, reason=reason, message=message)
    world.reconcile()
    assert world.status["failure"]["reason"] == reason
    assert world.status["reason"] == (Reason.RETRYING if retries else reason)
    left = seconds_for_late_words(world.job(), world.now, world.now)
    assert left == (LATE_SECONDS if is_lost else 0.0)
    world.pods = (dead_worker(),)
    world.wait(1)
    world.reconcile()
    assert [pod["name"] for pod in world.status["failure"].get("pods", ())] == (["census-a-0"] if is_lost else [])


def restarted_head(finished: datetime, code: int = 137) -> PodView:
    last = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": finished.isoformat()}
    entry = {"name": "shoal", "ready": True, "state": {"running": {}}, "lastState": {"terminated": last}}
    metadata = {"name": "census-head", "uid": "1", "labels": {"shoal.dev/role": "head"}}
    return pod_view({"metadata": metadata, "status": {"phase": "Running", "containerStatuses": [entry]}})


def test_a_killed_head_that_was_started_again_in_place_is_among_the_pods(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=0))
    world.wait(5)
    world.pods = (restarted_head(world.now),)
    world.row(state=JobState.FAILED, reason="HeadLost", message="the head was lost")
    world.settle()
    pods = world.status["failure"]["pods"]
    assert [(pod["name"], pod["reason"], pod["message"]) for pod in pods] == [
        ("census-head", "Error", "exit code 137"),
    ]
    assert world.cluster is None


def test_a_head_that_was_killed_before_the_programs_start_was_heard_of_is_among_the_pods(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=0))
    world.row(state=JobState.FAILED, reason="HeadLost", message="the head was lost")
    world.settle()
    world.status.pop("startTime")
    world.pods = (restarted_head(world.now),)
    world.settle()
    assert [pod["message"] for pod in world.status["failure"]["pods"]] == ["exit code 137"]


def test_the_end_of_a_killed_head_that_is_heard_of_late_is_added(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=0))
    world.row(state=JobState.FAILED, reason="HeadLost", message="the head was lost")
    world.settle()
    assert not world.status["failure"].get("pods")
    world.wait(1)
    world.pods = (restarted_head(world.now),)
    world.settle()
    assert [pod["message"] for pod in world.status["failure"]["pods"]] == ["exit code 137"]
    assert world.cluster is None


@pytest.mark.parametrize(("age_seconds", "code"), [(3600, 137), (0, 0)])
def test_restarts_before_the_program_started_and_good_ends_are_no_cause(
    job_world: MakeWorld, age_seconds: float, code: int
) -> None:
    world = started(job_world(backoffLimit=0))
    world.pods = (restarted_head(world.now - timedelta(seconds=age_seconds), code),)
    world.row(state=JobState.FAILED, exit_code=1)
    world.settle()
    assert not world.status["failure"].get("pods")


def test_p25_what_is_known_about_a_failure_stays_on_the_job(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.demands = tuple(Demand(ResourceSet.from_units({"GPU": number}), number, kind="task") for number in range(9))
    verdict = "a task needs GPU 8, no group has more than 0"
    unmet = {"type": "DemandSatisfied", "status": "False", "reason": "Infeasible", "message": verdict}
    since = {"lastTransitionTime": "2026-01-02T03:04:05Z"}
    world.cluster["status"]["conditions"].append(unmet | since)
    killed = (PodReason("OOMKilled", "exit code 137", "shoal"),)
    world.pods = tuple(
        PodView(f"census-a-{number}", str(number), "a", "worker", number, "", "Failed", ready=False, reasons=killed)
        for number in range(9)
    )
    world.row(state=JobState.FAILED, exit_code=137, output_tail="last words\n")
    world.settle()
    failure = world.status["failure"]
    assert (failure["exitCode"], failure["signal"]) == (137, 9)
    assert failure["demandVerdict"] == verdict
    assert [item["count"] for item in failure["unmetDemand"]] == [1, 2, 3, 4, 5], "not what waited a moment ago"
    assert failure["unmetDemand"][0]["kind"] == "task"
    assert [pod["reason"] for pod in failure["pods"]] == ["OOMKilled"] * 5
    assert world.status["outputTail"] == "last words\n"
    assert world.cluster is None


def test_p4_cause_that_held_the_job_up_stands_on_it(job_world: MakeWorld) -> None:
    world = job_world()
    world.settle()
    world.cluster["status"] = {"reason": "ErrImagePull", "message": "pod census-head: no such image"}
    world.settle()
    assert (world.status["reason"], world.condition("Running")["reason"]) == ("ErrImagePull", "ErrImagePull")


# A driver on a worker


def test_driver_that_waits_for_a_worker_is_not_running_and_says_what_it_waits_for(job_world: MakeWorld) -> None:
    world = job_world(entrypointResources={"CPU": 1, "GPU": "0.5"}, startDeadlineSeconds=60)
    world.settle()
    world.start_head()
    world.settle()
    assert world.submissions[0].resources == ResourceSet.from_units({"CPU": 1, "GPU": 0.5})
    world.row(state=JobState.PENDING, message="waits for a node with CPU 1, GPU 0.5")
    world.settle()
    assert world.condition("Running")["status"] == "False"
    assert (world.status["reason"], world.status["message"]) == ("DriverWaits", "waits for a node with CPU 1, GPU 0.5")
    unmet = {"type": "DemandSatisfied", "status": "False", "reason": "Infeasible", "message": "no group offers GPU"}
    since = {"lastTransitionTime": "2026-01-02T03:04:05Z"}
    world.cluster["status"]["conditions"].append(unmet | since)
    world.wait(61)
    world.settle()
    failed = world.condition("Failed")
    assert failed["reason"] == "StartDeadlineExceeded"
    assert failed["message"].endswith("; it waited because: no group offers GPU")
    assert world.jobs == {} or world.jobs["job-uid-1"].state is JobState.STOPPED


def test_a_driver_that_cannot_be_heard_is_said_to_be_so_until_it_can(job_world: MakeWorld) -> None:
    world = job_world(entrypointResources={"CPU": 1})
    world.settle()
    world.start_head()
    world.settle()
    words = "the node that runs the driver (census-small-0) is out of touch; it is given up unless it comes back"
    world.row(state=JobState.RUNNING, reason="NodeOutOfTouch", message=words)
    world.settle()
    running = world.condition("Running")
    assert (running["status"], running["reason"], running["message"]) == ("True", "NodeOutOfTouch", words)
    assert (world.status["reason"], world.status["message"]) == ("NodeOutOfTouch", words)
    world.row(state=JobState.RUNNING, reason="", message="")
    world.settle()
    assert world.condition("Running")["reason"] == "JobRunning"
    assert "reason" not in world.status


# Shared clusters


def limited(world: Any, limit: int) -> Any:
    shared(world)
    world.cluster["spec"] = {"jobConcurrency": limit}
    return world


@pytest.mark.parametrize(
    ("conditions", "more", "place"),
    [
        ([], {}, "waits"),
        ([("Running", "False", "ConcurrencyLimit")], {}, "waits"),
        ([("Running", "False", "Submitting")], {}, "holds"),
        ([("Running", "False", "SubmissionRefused")], {}, "holds"),
        ([("Running", "True", "JobRunning")], {}, "holds"),
        ([("Running", "True", "JobRunning")], {"spec": {"suspend": True}}, "holds"),
        ([("Running", "False", "WaitingForHead"), ("Stopping", "True", "Suspended")], {}, "holds"),
        ([("Running", "False", "HeadUnreachable")], {"incarnation": "one"}, "holds"),
        ([("Running", "False", "Suspended")], {"spec": {"suspend": True}}, "none"),
        ([("Complete", "True", "Succeeded")], {}, "none"),
        ([("Running", "False", "Finished"), ("Failed", "True", "HeadLost")], {"incarnation": "one"}, "none"),
    ],
)
def test_what_a_job_takes_of_a_shared_cluster(conditions, more, place):
    told = [{"type": kind, "status": status, "reason": reason} for kind, status, reason in conditions]
    status = {"conditions": told, "headIncarnation": more.get("incarnation")}
    rival = read_rival({"metadata": {"name": "other"}, "spec": more.get("spec", {}), "status": status})
    assert ("none" if rival is None else "holds" if rival.holds_place else "waits") == place


@pytest.mark.parametrize(
    ("rivals", "limit", "waits_for"),
    [
        ([], 1, None),
        ([Rival("other", holds_place=True)], 1, "`other`"),
        ([Rival("other", holds_place=True)], 2, None),
        ([Rival("older", None)], 1, "`older` (waits)"),
        ([Rival("older", None), Rival("runs", holds_place=True)], 2, "`runs`, `older` (waits)"),
        ([Rival(f"r{number}", holds_place=True) for number in range(7)], 7, "and 2 more"),
    ],
)
def test_concurrency_of_a_shared_cluster(
    job_world: MakeWorld, rivals: list[Rival], limit: int, waits_for: str | None
) -> None:
    world = limited(job_world(clusterRef={"name": "shared"}), limit)
    world.start_head()
    world.rivals = tuple(rivals)
    world.settle(passes=9)
    if waits_for is None:
        assert len(world.submissions) == 1
    else:
        assert world.status["reason"] == "ConcurrencyLimit"
        assert waits_for in world.status["message"]
        assert (world.submissions, world.finalizers) == ([], ())
        world.rivals = ()
        world.settle(passes=9)
        assert len(world.submissions) == 1


def test_job_that_runs_is_not_pushed_out_by_an_older_one(job_world: MakeWorld) -> None:
    world = limited(job_world(clusterRef={"name": "shared"}), 1)
    world.start_head()
    world.settle(passes=9)
    world.row(state=JobState.RUNNING, start_time=world.now)
    world.rivals = (Rival("older"),)
    world.settle()
    assert world.condition("Running")["status"] == "True"


def test_suspended_shared_cluster_is_named(job_world: MakeWorld) -> None:
    world = shared(job_world(clusterRef={"name": "shared"}))
    world.cluster["spec"] = {"suspend": True}
    world.settle()
    assert world.status["reason"] == "ClusterSuspended"
