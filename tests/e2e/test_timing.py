from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.timing import Program, Step, Version, breakdown, moment, steps, table

T0 = 1_800_000_000.0


def stamp(seconds: float) -> str:
    """As Kubernetes writes it: without the fraction."""
    return datetime.fromtimestamp(math.floor(T0 + seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, seconds: float) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastTransitionTime": stamp(seconds)}


def versions(created: float, later: list[tuple[float, dict[str, Any]]], seen: float = 0.01) -> list[Version]:
    """Versions that each arrive a hundredth of a second after they were made."""
    metadata = {"name": "x", "creationTimestamp": stamp(created)}
    found = [Version(T0 + created + seen, {"metadata": metadata})]
    found += [Version(T0 + at + seen, {"metadata": metadata, "status": status}) for at, status in later]
    return found


def pod(created: float, scheduled: float, started: float, ready: float) -> list[Version]:
    running = [{"name": "shoal", "state": {"running": {"startedAt": stamp(started)}}}]
    first = [condition("PodScheduled", scheduled)]
    return versions(
        created,
        [
            (scheduled, {"conditions": first}),
            (started, {"conditions": first, "containerStatuses": running}),
            (ready, {"conditions": [*first, condition("Ready", ready)], "containerStatuses": running}),
        ],
    )


def test_every_step_of_a_job_is_found_and_they_add_up() -> None:
    job = versions(0.1, [(1.3, {"conditions": [condition("Running", 1.3)]}), (4.5, {"conditions": done(4.5)})])
    program = Program(started=T0 + 1.4, first_task=T0 + 3.0, ended=T0 + 4.25)
    rows = breakdown(T0, job, pod(0.2, 0.25, 0.75, 1.2), pod(1.6, 1.7, 2.3, 2.8), program)
    found = {row.name: round(row.seconds, 2) for row in rows}
    assert found == {
        "admission": 0.11,
        "head created": 0.1,
        "head scheduling": 0.05,
        "head container start": 0.5,
        "head process start, submit": 0.64,
        "worker created": 0.21,
        "worker scheduling": 0.1,
        "worker container start": 0.6,
        "process start, join": 0.69,
        "run": 1.25,
        "report": 0.26,
    }
    assert sum(row.seconds for row in rows) == pytest.approx(4.51)
    assert [row.begin for row in rows[1:]] == pytest.approx([row.begin + row.seconds for row in rows[:-1]])


def done(seconds: float) -> list[dict[str, str]]:
    return [condition("Complete", seconds)]


@pytest.mark.parametrize(
    ("written", "seen_at", "expected"),
    [
        (2.0, 2.4, 2.4),  # seen within its second: when it was seen
        (2.0, 9.0, 2.999),  # seen late: some time in its second
        (2.0, 1.9, 2.0),  # a clock that is behind: not before it was written
    ],
)
def test_an_arrival_refines_a_whole_second_and_never_leaves_it(written: float, seen_at: float, expected: float) -> None:
    found = moment(versions(written, [], seen=seen_at - written), "creation", created)
    assert found == pytest.approx(T0 + expected)


def created(item: Any) -> str:
    text: str = item["metadata"]["creationTimestamp"]
    return text


def test_a_fraction_that_was_written_is_taken_as_it_is() -> None:
    text = datetime.fromtimestamp(T0 + 0.25, UTC).isoformat()
    assert moment([Version(T0 + 9.0, {"metadata": {"creationTimestamp": text}})], "creation", created) == T0 + 0.25


def test_what_never_happened_is_an_error_with_its_name() -> None:
    with pytest.raises(ValueError, match="x has no moment of start"):
        breakdown(T0, versions(0.1, []), pod(0.2, 0.3, 0.4, 0.5)[:-2], [], Program(T0, T0, T0))
    with pytest.raises(ValueError, match="an object that was never seen"):
        moment([], "creation", created)


def test_clocks_that_disagree_make_no_negative_steps() -> None:
    assert steps(10.0, [("a", 12.0), ("b", 11.0), ("c", 13.0)]) == [
        Step("a", 0.0, 2.0),
        Step("b", 2.0, 0.0),
        Step("c", 2.0, 1.0),
    ]


def test_the_table_shows_parts_and_the_whole() -> None:
    assert table([Step("run", 0.0, 3.0), Step("report", 3.0, 1.0)]).splitlines() == [
        "run       3.00 s   75 %",
        "report    1.00 s   25 %",
        "in all    4.00 s",
    ]
