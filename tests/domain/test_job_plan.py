"""Life of a job in the model world: cluster, submission, result, cleanup, and everything that can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_operator.domain.head import JobState
from shoal_operator.domain.job.failure import LATE_SECONDS
from shoal_operator.domain.job.figures import output_tail
from shoal_operator.domain.job.observed import SubmissionRefusal
from shoal_operator.domain.job.plan import plan_job
from shoal_operator.domain.job.status import job_status

MakeWorld = Callable[..., Any]


def started(world: Any) -> Any:
    """Bring the job to where its program runs."""
    world.settle()
    world.start_head()
    world.settle()
    world.row(state=JobState.RUNNING, start_time=world.now)
    world.settle()
    assert world.condition("Running")["status"] == "True"
    return world


def test_makes_its_cluster_and_submits_when_the_head_answers(job_world: MakeWorld) -> None:
    spec = {"workerGroups": [{"name": "small", "maxReplicas": 4, "resources": {"CPU": 1}}]}
    world = job_world(source={"directory": "/here"}, env=[{"name": "A", "value": "1"}], clusterSpec=spec)
    world.reconcile()
    owner = world.cluster["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("ComputeJob", "job-uid", True)
    assert world.cluster["metadata"]["name"] == "census"
    assert world.cluster["spec"] == spec
    assert world.reconcile().is_empty
    assert (world.status["summary"], world.status["reason"]) == ("Waiting", "WaitingForHead")
    world.start_head()
    world.settle()
    (submission,) = world.submissions
    assert submission.submission_id == "job-uid-1"
    assert (submission.working_directory, submission.run_in_place) == ("/here", True)
    assert submission.environment == {"A": "1"}
    assert world.status["submissionId"] == "job-uid-1"


def test_complete_job_loses_its_cluster_only_after_the_outcome_is_recorded(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.row(state=JobState.SUCCEEDED, tasks_finished=7, tasks_submitted=7, output_tail="done\n")
    world.loses_status = True
    world.reconcile()
    world.reconcile()
    assert world.cluster is not None, "a crash before the status is written must not run the program again"
    world.loses_status = False
    world.settle()
    assert world.condition("Complete")["status"] == "True"
    assert world.condition("Running")["status"] == "False"
    assert world.cluster is None
    assert not world.deleted
    assert world.status["tasks"] == {"submitted": 7, "finished": 7, "failed": 0}
    assert world.status["outputTail"] == "done\n"
    assert world.status["completionTime"]
    assert "reason" not in world.status
    assert len(world.submissions) == 1


def test_failed_entrypoint_says_how_it_ended(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.row(state=JobState.FAILED, reason="EntrypointFailed", exit_code=3, output_tail="ValueError: no\n")
    world.settle()
    failed = world.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", "EntrypointFailed")
    assert failed["message"] == "the program ended with exit code 3"
    assert world.status["outputTail"] == "ValueError: no\n"
    assert world.cluster is None
    assert world.events[-1].type == "Warning"


def test_failed_attempt_is_repeated_up_to_the_limit(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=1))
    world.row(state=JobState.FAILED, exit_code=1)
    world.settle()
    world.wait(10)
    world.settle()
    assert [submission.submission_id for submission in world.submissions] == ["job-uid-1", "job-uid-2"]
    assert (world.status["attempt"], world.status["failedAttempts"]) == (2, 1)
    world.row(2, state=JobState.FAILED, exit_code=1)
    world.settle()
    assert world.condition("Failed")["status"] == "True"
    assert "(attempt 2 of 2)" in world.status["message"]
    assert len(world.submissions) == 2


def test_retry_whose_status_was_lost_is_the_same_retry(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=5))
    world.row(state=JobState.FAILED, exit_code=1)
    world.loses_status = True
    for _ in range(3):
        world.reconcile()
    world.loses_status = False
    world.settle()
    world.wait(10)
    world.settle()
    assert {submission.submission_id for submission in world.submissions} == {"job-uid-1", "job-uid-2"}
    assert world.status["attempt"] == 2


def test_lost_head_fails_the_job_with_an_explanation(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.start_head("two")
    world.settle()
    assert world.condition("Failed")["reason"] == "HeadLost"
    assert "backoffLimit" in world.condition("Failed")["message"]


def test_lost_head_begins_a_new_attempt_when_allowed(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=1))
    world.start_head("two")
    world.settle()
    world.wait(10)
    world.settle()
    assert world.submissions[-1].submission_id == "job-uid-2"
    assert world.status["headIncarnation"] == "two"


def test_head_that_knows_the_job_again_goes_on(job_world: MakeWorld) -> None:
    world = started(job_world())
    jobs = dict(world.jobs)
    world.start_head("two")
    world.jobs = jobs
    world.settle()
    assert world.condition("Running")["status"] == "True"
    assert world.status["headIncarnation"] == "two"


def test_head_that_is_silent_is_no_verdict(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.reachable = False
    world.wait(3600)
    world.settle()
    assert world.condition("Running")["status"] == "True"
    assert world.status["reason"] == "HeadUnreachable"


def test_head_not_heard_of_yet_is_no_verdict_either(job_world: MakeWorld) -> None:
    """An operator that has just started knows no head."""
    world = started(job_world())
    world.head_ready = False
    world.settle()
    assert world.condition("Running")["status"] == "True"
    assert len(world.submissions) == 1


@pytest.mark.parametrize(("is_final", "failed", "summary"), [(True, "True", "Failed"), (False, "False", "Submitting")])
def test_refused_submission_is_explained(job_world: MakeWorld, is_final: bool, failed: str, summary: str) -> None:
    world = job_world(backoffLimit=3)
    world.settle()
    world.start_head()
    refusal = SubmissionRefusal("job-uid-1", "there is no directory /nowhere", is_final)
    observed = replace(world.observe(), refusal=refusal)
    status: Any = job_status(observed, world.now)
    assert (status["summary"], status["reason"]) == (summary, "SubmissionRefused")
    assert "there is no directory /nowhere" in status["message"]
    assert next(c for c in status["conditions"] if c["type"] == "Failed")["status"] == failed
    other = replace(observed, refusal=replace(refusal, submission_id="job-uid-7"))
    assert job_status(other, world.now)["reason"] == "Submitting"


def test_program_that_cannot_be_fetched_is_asked_for_a_few_times_and_then_the_attempt_has_failed(
    job_world: MakeWorld,
) -> None:
    world = job_world(backoffLimit=1)
    world.settle()
    world.start_head()
    refusal = SubmissionRefusal("job-uid-1", "ABORTED: connection reset", is_final=False, fetches_failed=7)
    observed = replace(world.observe(), refusal=refusal)
    status: Any = job_status(observed, world.now)
    assert (status["summary"], "try 7 of 8" in status["message"]) == ("Submitting", True)
    observed = replace(observed, refusal=replace(refusal, fetches_failed=8))
    plan = plan_job(observed, world.now)
    status = job_status(observed, world.now)
    assert (status["reason"], status["attempt"], status["failedAttempts"]) == ("Retrying", 2, 1)
    assert "connection reset" in status["message"]
    assert [event.reason for event in plan.events] == ["Retrying"]
    assert plan.head_commands == ()


def test_deleted_cluster_is_made_again_and_counts_as_a_lost_head(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=1))
    world.cluster, world.head_ready, world.jobs = None, False, {}
    world.settle()
    assert world.cluster is not None
    world.start_head("two")
    world.settle()
    world.wait(10)
    world.settle()
    assert world.submissions[-1].submission_id == "job-uid-2"


def test_stopped_program_is_a_failure_without_retry(job_world: MakeWorld) -> None:
    world = started(job_world(backoffLimit=3))
    world.row(state=JobState.STOPPED, reason="StoppedByRequest")
    world.settle()
    assert world.condition("Failed")["reason"] == "StoppedByRequest"


def test_program_that_ended_with_its_head_is_a_lost_head(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.row(state=JobState.STOPPED, reason="HeadStopped")
    world.settle()
    assert world.condition("Failed")["reason"] == "HeadLost"
    assert "backoffLimit" in world.condition("Failed")["message"]
    again = started(job_world(backoffLimit=1))
    again.row(state=JobState.STOPPED, reason="HeadStopped")
    again.head_ready = False
    again.settle()
    again.start_head("two")
    again.settle()
    again.wait(10)
    again.settle()
    assert again.submissions[-1].submission_id == "job-uid-2"
    assert again.status["failedAttempts"] == 1


def test_active_deadline_stops_the_program(job_world: MakeWorld) -> None:
    world = started(job_world(activeDeadlineSeconds=10))
    world.wait(4)
    assert world.reconcile().requeue_after_seconds == pytest.approx(6)
    world.wait(6)
    world.reconcile()
    assert (world.status["summary"], world.stops) == ("Stopping", []), "the wish is durable before the head hears it"
    world.reconcile()
    assert world.jobs["job-uid-1"].state is JobState.STOPPED
    assert world.condition("Failed")["status"] == "False", "not before the end is seen"
    world.settle()
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"
    assert world.cluster is None


def test_success_at_the_deadline_is_success(job_world: MakeWorld) -> None:
    world = started(job_world(activeDeadlineSeconds=10))
    world.wait(20)
    world.row(state=JobState.SUCCEEDED)
    world.settle()
    assert world.condition("Complete")["status"] == "True"


def test_start_deadline_names_what_it_waited_for(job_world: MakeWorld) -> None:
    world = job_world(startDeadlineSeconds=60)
    world.settle()
    world.wait(61)
    world.settle()
    failed = world.condition("Failed")
    assert failed["reason"] == "StartDeadlineExceeded"
    assert "the head of ComputeCluster `census` is starting" in failed["message"]


def test_suspend_stops_the_program_and_resume_runs_it_from_its_beginning(job_world: MakeWorld) -> None:
    world = started(job_world(activeDeadlineSeconds=100))
    world.spec["suspend"] = True
    world.settle()
    assert world.cluster is None
    assert world.condition("Suspended")["status"] == "True"
    assert (world.status["summary"], world.status["attempt"]) == ("Suspended", 2)
    world.wait(1000)
    world.spec["suspend"] = False
    world.settle()
    world.start_head("two")
    world.settle()
    assert world.submissions[-1].submission_id == "job-uid-2"
    assert world.status["failedAttempts"] == 0
    assert world.condition("Failed")["status"] == "False"


def test_suspended_from_the_beginning_makes_nothing(job_world: MakeWorld) -> None:
    world = job_world(suspend=True)
    world.settle()
    assert world.cluster is None
    assert world.status["attempt"] == 1


def shared(world: Any, **metadata: Any) -> Any:
    """Put a cluster there that is not the job's."""
    world.cluster = {
        "apiVersion": "shoal.dev/v1alpha1",
        "kind": "ComputeCluster",
        "metadata": {"name": "shared", "uid": "theirs", **metadata},
    }
    return world


def test_referenced_cluster_is_used_and_left_as_it_is(job_world: MakeWorld) -> None:
    world = job_world(clusterRef={"name": "shared"})
    world.settle()
    assert world.cluster is None
    assert (world.status["reason"], world.status["clusterName"]) == ("ClusterNotFound", "shared")
    started(shared(world))
    world.row(state=JobState.SUCCEEDED)
    world.settle()
    assert world.condition("Complete")["status"] == "True"
    left: Any = world.cluster
    assert left["metadata"]["uid"] == "theirs"


def test_suspended_job_is_stopped_on_a_referenced_cluster(job_world: MakeWorld) -> None:
    world = started(shared(job_world(clusterRef={"name": "shared"})))
    world.spec["suspend"] = True
    world.settle()
    assert world.jobs["job-uid-1"].state is JobState.STOPPED
    assert world.cluster is not None


def test_cluster_of_the_same_name_that_is_not_ours_is_not_touched(job_world: MakeWorld) -> None:
    world = shared(job_world(), name="census")
    world.settle()
    assert world.status["reason"] == "ClusterNameTaken"
    assert world.cluster["metadata"]["uid"] == "theirs"


def test_waiting_job_says_what_its_cluster_waits_for(job_world: MakeWorld) -> None:
    world = job_world()
    world.settle()
    world.cluster["status"] = {"reason": "HeadStarting", "message": "pod census-head: ErrImagePull: no such image"}
    world.settle()
    assert world.status["message"] == "pod census-head: ErrImagePull: no such image"
    assert world.condition("Running")["reason"] == "HeadStarting"


def test_running_job_says_what_its_cluster_waits_for(job_world: MakeWorld) -> None:
    world = started(job_world())
    text = "a task needs 8 CPU, group `small` offers at most 2"
    world.cluster["status"] |= {"reason": "Infeasible", "message": text}
    world.settle()
    assert (world.status["summary"], world.status["reason"], world.status["message"]) == ("Running", "Infeasible", text)


def test_time_to_live_deletes_the_job(job_world: MakeWorld) -> None:
    world = started(job_world(ttlSecondsAfterFinished=30))
    world.row(state=JobState.SUCCEEDED)
    plans = world.settle()
    assert plans[-1].requeue_after_seconds == pytest.approx(30, abs=1)
    assert not world.deleted
    world.wait(31)
    world.reconcile()
    assert world.deleted


def test_cleanup_policy_keeps_or_delays(job_world: MakeWorld) -> None:
    rules = [{"outcome": "Failed", "action": "KeepCluster"}, {"outcome": "Complete", "afterSeconds": 20}]
    world = started(job_world(cleanupPolicy=rules))
    world.row(state=JobState.FAILED)
    world.settle()
    world.wait(3600)
    world.settle()
    assert world.cluster is not None
    world = started(job_world(cleanupPolicy=rules))
    world.row(state=JobState.SUCCEEDED)
    assert world.settle()[-1].requeue_after_seconds == pytest.approx(20, abs=1)
    world.wait(21)
    world.settle()
    assert world.cluster is None


def test_config_map_is_mounted_in_the_head(job_world: MakeWorld) -> None:
    template = {"spec": {"containers": [{"name": "shoal", "env": [{"name": "X", "value": "1"}]}]}}
    world = job_world(source={"configMap": {"name": "code"}}, clusterSpec={"head": {"template": template}})
    world.settle()
    pod = world.cluster["spec"]["head"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "shoal-source", "configMap": {"name": "code"}}]
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/shoal/source"
    assert {entry["name"] for entry in pod["containers"][0]["env"]} == {"X", "SHOAL_SOURCE_DIRECTORY"}
    world.start_head()
    world.settle()
    assert world.submissions[0].working_directory == "/var/run/shoal/source"
    assert not world.submissions[0].run_in_place


def test_changed_cluster_spec_reaches_the_cluster(job_world: MakeWorld) -> None:
    world = started(job_world(clusterSpec={"workerGroups": [{"name": "a"}]}))
    world.spec["clusterSpec"] = {"workerGroups": [{"name": "a", "maxReplicas": 7}]}
    world.settle()
    assert world.cluster["spec"]["workerGroups"][0]["maxReplicas"] == 7


def test_invalid_job_says_why_and_makes_nothing(job_world: MakeWorld) -> None:
    world = job_world(source={"directory": "/a", "path": "/b"})
    world.settle()
    assert world.cluster is None
    assert world.condition("InvalidSpec")["status"] == "True"
    assert "has `directory` and `path`" in world.status["message"]


def test_config_map_of_a_job_on_a_cluster_of_others_is_refused_with_a_way_out(job_world: MakeWorld) -> None:
    world = job_world(source={"configMap": {"name": "a"}}, clusterRef={"name": "shared"})
    world.settle()
    assert world.condition("InvalidSpec")["status"] == "True"
    assert "spec.source.configMap" in world.status["message"]
    assert "head template" in world.status["message"]


def test_final_status_never_changes(job_world: MakeWorld) -> None:
    world = started(job_world())
    world.row(state=JobState.SUCCEEDED)
    world.settle()
    before = world.status
    world.wait(99)
    world.spec["suspend"] = True
    world.settle()
    assert world.status == before


def test_task_counts_are_written_at_most_every_two_seconds(job_world: MakeWorld) -> None:
    world = started(job_world())
    written = []
    for finished in range(40):
        world.row(tasks_finished=finished)
        before = world.status
        plan = world.reconcile()
        written += [finished] if world.status != before else []
        assert plan.requeue_after_seconds is not None or world.status["tasks"]["finished"] == finished
        world.wait(0.25)
    assert 4 <= len(written) <= 6


def test_output_tail_is_cut_at_a_line_and_at_4_kib_of_utf8() -> None:
    text = "".join(f"line {number} ü\n" for number in range(1000))
    tail = output_tail(text)
    assert len(tail.encode()) <= 4096
    assert tail.startswith("line ")
    assert text.endswith(tail)
    assert len(output_tail("ü" * 5000).encode()) <= 4096


STEPS = st.lists(
    st.sampled_from(
        [
            *("head", "new-head", "run", "succeed", "fail", "silent", "answers", "suspend", "resume", "wait"),
            *("lose-cluster", "wait-long", "spoil", "mend"),
        ]
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(
    steps=STEPS,
    limit=st.integers(0, 2),
    deadline=st.sampled_from([None, 20]),
    cluster=st.sampled_from(["Same", "New"]),
)
def test_every_history_comes_to_rest(
    job_world: MakeWorld, steps: list[str], limit: int, deadline: int | None, cluster: str
) -> None:
    """Whatever happens: no endless doing, no second outcome, no attempt beyond the limit, one program at a time."""
    spec = {"backoffLimit": limit} | ({"activeDeadlineSeconds": deadline} if deadline else {})
    world = job_world(retryPolicy={"cluster": cluster}, **spec)
    world.settle()
    outcomes: list[str] = []
    for step in steps:
        happen(world, step)
        world.settle(passes=8)
        before = world.status
        assert world.reconcile().is_empty
        assert world.status == before
        outcomes += [kind for kind in ("Complete", "Failed") if world.condition(kind)["status"] == "True"]
        assert world.status["failedAttempts"] <= limit + 1
        assert len([row for row in world.jobs.values() if not row.state.is_final]) <= 1
    assert len(set(outcomes)) <= 1
    if outcomes:
        world.wait(LATE_SECONDS)  # for the end of a lost head's pod
        world.settle()
        assert world.cluster is None


def happen(world: Any, step: str) -> None:
    current = world.status.get("submissionId")
    row = world.jobs.get(current)
    attempt = world.status.get("attempt", 1)
    active = row is not None and not row.state.is_final
    match step:
        case "head" if world.cluster is not None and not world.head_ready:
            world.start_head(world.incarnation)
        case "new-head" if world.cluster is not None:
            world.start_head(world.incarnation + "+")
        case "run" if active:
            world.row(attempt, state=JobState.RUNNING, start_time=world.now)
        case "succeed" if active:
            world.row(attempt, state=JobState.SUCCEEDED)
        case "fail" if active:
            world.row(attempt, state=JobState.FAILED, exit_code=1)
        case "silent" | "answers":
            world.reachable = step == "answers"
        case "suspend" | "resume":
            world.spec["suspend"] = step == "suspend"
        case "lose-cluster":
            world.cluster, world.head_ready, world.jobs = None, False, {}
        case "spoil":
            world.spec["clusterSpec"] = {"workerGroups": [{"name": "a", "resources": {"CPU": "many"}}]}
        case "mend":
            world.spec.pop("clusterSpec", None)
        case "wait-long":
            world.wait(400)
        case _:
            world.wait(7)


def test_secret_for_the_output_is_mounted_in_the_head_and_named_to_it(job_world: MakeWorld) -> None:
    world = job_world(output={"url": "s3://logs/{namespace}/{uid}", "secretRef": {"name": "keys"}})
    world.settle()
    pod = world.cluster["spec"]["head"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "shoal-output-secret", "secret": {"secretName": "keys"}}]
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/shoal/output-secret"
    world.start_head()
    world.settle()
    assert world.submissions[0].output_url == "s3://logs/ns/job-uid"
    assert world.submissions[0].output_secret_directory == "/var/run/shoal/output-secret"
