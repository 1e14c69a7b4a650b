from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shoal_operator.local.apiserver.pods import quality_of_service
from shoal_operator.local.kubelet.lifecycle import (
    Decision,
    Ended,
    Record,
    RestartPolicy,
    decide,
    ended,
    exit_outcome,
    phase,
    restarting,
    running,
    start_failure,
)
from shoal_operator.local.kubelet.probe_state import ProbeCounter, ProbeSettings
from shoal_operator.local.kubelet.status import pod_status

POLICY = RestartPolicy()
OK = Ended(0, "Completed", 1.0, 2.0)
BAD = Ended(3, "Error", 1.0, 2.0)


def spec(policy: str = "Always", init: int = 0, main: int = 1) -> dict[str, Any]:
    return {
        "restartPolicy": policy,
        "initContainers": [{"name": f"i{n}"} for n in range(init)],
        "containers": [{"name": f"c{n}"} for n in range(main)],
    }


def waiting(name: str) -> Record:
    return Record(name)


def up(name: str) -> Record:
    return running(Record(name), 1.0, "id", has_startup=False, has_readiness=False)


def over(name: str, outcome: Ended, at: float = 0.0) -> Record:
    return replace(ended(Record(name), outcome, POLICY), retry_at=at)


@pytest.mark.parametrize(
    ("shape", "records", "expected", "expected_phase"),
    [
        (spec(), [waiting("c0")], Decision(("c0",)), "Pending"),
        (spec(main=2), [waiting("c0"), up("c1")], Decision(("c0",)), "Pending"),
        (spec(), [up("c0")], Decision(), "Running"),
        (spec(), [over("c0", OK)], Decision(("c0",)), "Running"),
        (spec(), [over("c0", BAD, at=500.0)], Decision((), 500.0), "Running"),
        (spec("OnFailure"), [over("c0", OK)], Decision(), "Succeeded"),
        (spec("OnFailure"), [over("c0", BAD)], Decision(("c0",)), "Running"),
        (spec("Never"), [over("c0", BAD)], Decision(), "Failed"),
        (spec("Never"), [over("c0", OK)], Decision(), "Succeeded"),
        (spec("Never", main=2), [over("c0", BAD), up("c1")], Decision(), "Running"),
        (spec("Never", main=2), [over("c0", BAD), over("c1", OK)], Decision(), "Failed"),
        (spec(init=2), [waiting("i0"), waiting("i1"), waiting("c0")], Decision(("i0",)), "Pending"),
        (spec(init=2), [up("i0"), waiting("i1"), waiting("c0")], Decision(), "Pending"),
        (spec(init=2), [over("i0", OK), waiting("i1"), waiting("c0")], Decision(("i1",)), "Pending"),
        (spec(init=1), [over("i0", OK), waiting("c0")], Decision(("c0",)), "Pending"),
        (spec(init=1), [over("i0", BAD, at=500.0), waiting("c0")], Decision((), 500.0), "Pending"),
        (spec("Never", init=1), [over("i0", BAD), waiting("c0")], Decision(init_failed=True), "Failed"),
    ],
)
def test_what_is_started(shape: dict[str, Any], records: list[Record], expected: Decision, expected_phase: str) -> None:
    by_name = {record.name: record for record in records}
    assert decide(shape, by_name, 100.0) == expected
    assert phase(shape, by_name) == expected_phase


def test_back_off_doubles_to_its_bound_and_starts_over_after_a_long_run() -> None:
    record, now, waits = Record("c0"), 0.0, []
    for _ in range(8):
        record = running(restarting(record, POLICY), now, "id", has_startup=False, has_readiness=False)
        now += 1
        record = ended(record, exit_outcome(1, now - 1, now, "id"), POLICY)
        waits.append(record.retry_at - now)
        now = record.retry_at
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert record.restart_count == 7
    record = running(restarting(record, POLICY), now, "id", has_startup=False, has_readiness=False)
    record = ended(record, exit_outcome(1, now, now + 601, "id"), POLICY)
    assert record.retry_at == now + 601


def test_a_signal_is_an_exit_code_above_128() -> None:
    outcome = exit_outcome(-9, 1.0, 2.0, "id")
    assert (outcome.exit_code, outcome.signal, outcome.reason) == (137, 9, "Error")


def pod(shape: dict[str, Any], **status: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "default", "uid": "u"}
    return {"metadata": metadata, "spec": shape, "status": status}


def status_of(record: Record, now: float = 3.0, **status: Any) -> dict[str, Any]:
    return pod_status(
        pod(spec(), **status), {"c0": record}, now, pod_ip="127.1.0.1", host_ip="127.0.0.1", started_at=0.0
    )


def test_crash_loop_is_shown_as_kubectl_shows_it() -> None:
    first = ended(up("c0"), exit_outcome(3, 1.0, 2.0, "id"), POLICY)
    assert status_of(first)["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    second = ended(running(restarting(first, POLICY), 2.0, "id2", has_startup=False, has_readiness=False),
                   exit_outcome(3, 2.0, 2.5, "id2"), POLICY)  # fmt: skip
    shown = status_of(second)["containerStatuses"][0]
    assert shown["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off 10s restarting failed container=c0 pod=p_default(u)",
    }
    assert shown["lastState"]["terminated"]["exitCode"] == 3
    assert shown["restartCount"] == 1


def test_a_command_that_cannot_start_says_so() -> None:
    record = ended(Record("c0"), start_failure("exec: nope", 2.0, "id"), POLICY)
    state = status_of(record)["containerStatuses"][0]["state"]["terminated"]
    assert state["reason"] == "StartError"
    assert state["exitCode"] == 128
    assert state["message"] == "exec: nope"
    assert state["startedAt"] == "1970-01-01T00:00:00Z"


def ready_condition(status: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in status["conditions"] if one["type"] == "Ready")


def test_conditions_keep_their_transition_time_until_they_change() -> None:
    starting = running(Record("c0"), 1.0, "id", has_startup=False, has_readiness=True)
    first = status_of(starting, 5.0)
    assert ready_condition(first)["reason"] == "ContainersNotReady"
    again = status_of(starting, 9.0, conditions=first["conditions"])
    assert again == first
    ready = status_of(replace(starting, ready=True), 20.0, conditions=first["conditions"])
    assert ready_condition(ready)["status"] == "True"
    assert ready_condition(ready)["lastTransitionTime"] == "1970-01-01T00:00:20Z"


def test_readiness_gates_hold_ready_back_and_foreign_conditions_stay() -> None:
    shape = {**spec(), "readinessGates": [{"conditionType": "example.org/ok"}]}
    records = {"c0": up("c0")}
    kwargs: dict[str, Any] = {"pod_ip": "x", "host_ip": "y", "started_at": 0.0}
    held = pod_status(pod(shape), records, 3.0, **kwargs)
    assert ready_condition(held)["reason"] == "ReadinessGatesNotReady"
    gate = {"type": "example.org/ok", "status": "True"}
    free = pod_status(pod(shape, conditions=[gate]), records, 3.0, **kwargs)
    assert ready_condition(free)["status"] == "True"
    assert gate in free["conditions"]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "BestEffort"),
        ({"limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}}, "Guaranteed"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    assert quality_of_service({"spec": {"containers": [{"name": "c", "resources": resources}]}}) == expected


def test_a_probe_changes_its_verdict_after_results_in_a_row() -> None:
    counter = ProbeCounter(ProbeSettings(success_threshold=2, failure_threshold=3))
    verdicts = []
    for success in (True, True, False, False, True, False, False, False, True, True):
        counter = counter.observe(success)
        verdicts.append(counter.verdict)
    assert verdicts == [None, True, True, True, True, True, True, False, False, True]
