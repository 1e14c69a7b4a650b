from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal_operator.local.output import missing_tail
from shoal_operator.local.processes import RestartBudget
from shoal_operator.local.progress import Snapshot, crashed, failure_text, outcome, render
from shoal_operator.local.supervisor import wait_for_end

Json = dict[str, Any]


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def job(*conditions: Json, **status: Any) -> Snapshot:
    return Snapshot(jobs={"x": {"metadata": {"name": "x"}, "status": {"conditions": list(conditions), **status}}})


def cluster(*conditions: Json, **status: Any) -> Snapshot:
    return Snapshot(clusters={"x": {"metadata": {"name": "x"}, "status": {"conditions": list(conditions), **status}}})


def pod(*conditions: Json, metadata: Json | None = None, **status: Any) -> Snapshot:
    body = {"metadata": {"name": "p", **(metadata or {})}, "status": {"conditions": list(conditions), **status}}
    return Snapshot(pods={"p": body})


def crash(restarts: int, **state: Any) -> Json:
    return {"containerStatuses": [{"restartCount": restarts, "state": state}]}


NOTHING = Snapshot()
READY = condition("Ready")
WORKERS = {"desired": 3, "ready": 1, "pending": 2, "draining": 0}


@pytest.mark.parametrize(
    ("before", "now", "lines"),
    [
        (NOTHING, NOTHING, []),
        (NOTHING, job(), ["job x: created"]),
        (job(), job(), []),
        (job(), job(condition("Running")), ["job x: Running"]),
        (job(condition("Running", "False")), job(condition("Running", message="go")), ["job x: Running (go)"]),
        (job(condition("Running")), job(condition("Running")), []),
        (job(condition("Running")), job(condition("Running", "False"), condition("Complete")), ["job x: Complete"]),
        (job(), job(reason="HeadStarting", message="wait"), ["job x: waits: HeadStarting: wait"]),
        (job(reason="A", message="b"), job(reason="A", message="b"), []),
        (job(reason="A", message="b"), job(condition("Failed"), reason="C"), ["job x: Failed"]),
        (job(), job(tasks={"submitted": 5, "finished": 2, "failed": 0}), ["job x: 2 of 5 tasks done"]),
        (job(), job(tasks={"submitted": 5, "finished": 2, "failed": 1}), ["job x: 2 of 5 tasks done, 1 failed"]),
        (job(), job(tasks={"submitted": 0}), []),
        (cluster(), cluster(READY), ["cluster x: ready"]),
        (cluster(READY), cluster(READY), []),
        (cluster(), cluster(workers=WORKERS), ["cluster x: workers: 1 of 3 ready, 2 pending"]),
        (cluster(workers=WORKERS), cluster(workers={}), ["cluster x: workers: 0 of 0 ready"]),
        (cluster(), cluster(workers={}), []),
        (cluster(), cluster(reason="Unfit", message="needs 8 CPU"), ["cluster x: waits: Unfit: needs 8 CPU"]),
        (NOTHING, pod(phase="Pending"), ["pod p: starting"]),
        (pod(phase="Pending"), pod(phase="Running"), []),
        (pod(phase="Running"), pod(READY, phase="Running"), ["pod p: ready"]),
        (pod(READY), pod(READY, metadata={"deletionTimestamp": "t"}), ["pod p: stopping"]),
        (pod(READY), NOTHING, ["pod p: gone"]),
        (
            pod(),
            pod(condition("PodScheduled", "False", "Unschedulable", "0/1 nodes")),
            ["pod p: waits: Unschedulable: 0/1 nodes"],
        ),
        (
            pod(READY, **crash(0)),
            pod(READY, **crash(1, waiting={"reason": "CrashLoopBackOff", "message": "back-off"})),
            ["pod p: waits: CrashLoopBackOff: back-off", "pod p: restarted (1 so far)"],
        ),
    ],
)
def test_lines(before: Snapshot, now: Snapshot, lines: list[str]) -> None:
    assert render(before, now) == lines


def test_what_job_and_cluster_both_say_is_said_once() -> None:
    both = Snapshot(job(reason="A", message="same").jobs, cluster(reason="A", message="same").clusters)
    assert render(NOTHING, both) == ["job x: created", "job x: waits: A: same"]


def test_a_crash_is_noticed_once() -> None:
    ended = crash(0, terminated={"exitCode": 2})
    assert crashed(pod(**crash(0)), pod(**ended)) == ["p"]
    assert crashed(pod(**ended), pod(**ended)) == []
    assert crashed(pod(**ended), pod(**crash(1))) == []
    assert crashed(NOTHING, pod(**crash(0, terminated={"exitCode": 0}))) == []


def test_the_verdict_comes_from_conditions() -> None:
    failed = job(condition("Failed", "True", "EntrypointFailed", "exit code 3")).jobs["x"]
    assert outcome(failed) == "Failed"
    assert failure_text(failed) == "EntrypointFailed: exit code 3"
    assert outcome(job(condition("Complete", "False")).jobs["x"]) is None
    assert outcome(None) is None


@pytest.mark.parametrize(
    ("shown", "tail", "rest"),
    [
        (b"", "", b""),
        (b"", "abc", b"abc"),
        (b"abc", "abc", b""),
        (b"xabc", "bcd", b"d"),
        (b"abc", "b", b""),
        (b"abc", "xyz", b"xyz"),
        (b"a\xff\x00b\n", "\ufffd\ufffdb\n", b""),
        (b"a\xffb\n", "\ufffdb\nc\n", b"c\n"),
        ("aé".encode()[:-1], "aé\n", "é\n".encode()),
    ],
)
def test_what_of_the_tail_is_still_to_be_shown(shown: bytes, tail: str, rest: bytes) -> None:
    assert missing_tail(shown, tail) == rest


def test_the_operator_is_started_again_a_bounded_number_of_times() -> None:
    budget = RestartBudget(base_seconds=1, maximum_seconds=5, attempts=4)
    assert [budget.delay(number) for number in range(1, 7)] == [1, 2, 4, 5, None, None]


async def test_time_runs_only_until_the_jobs_have_ended() -> None:
    never = asyncio.ensure_future(asyncio.Event().wait())
    ended = asyncio.Event()
    await wait_for_end({never}, ended, 0.01)
    ended.set()
    tidying = asyncio.ensure_future(asyncio.sleep(0.1))
    await wait_for_end({never, tidying}, ended, 0.01)
    assert tidying.done()
    assert not never.done()
    never.cancel()
