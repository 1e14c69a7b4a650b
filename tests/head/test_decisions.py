"""The log of decisions: bounded, one of each id, and what `shoal status` shows of it."""

from __future__ import annotations

from shoal.cli.status import render
from shoal.head.decisions import DECISIONS_MAX, TEXT_MAX, DecisionLog
from shoal.protocol import head_pb2


def line(name: str, **fields: object) -> head_pb2.Decision:
    return head_pb2.Decision(**{"decision_id": name, "time_seconds": 1.0, "what": f"what {name}", **fields})


def test_one_of_each_id_is_kept_and_the_oldest_make_room() -> None:
    log = DecisionLog()
    log.record([line("a"), line("a", what="again"), line("")])
    assert [item.what for item in log.listed()] == ["what a"]
    log.record(line(str(number)) for number in range(DECISIONS_MAX))
    assert [item.decision_id for item in log.listed()] == [str(number) for number in range(DECISIONS_MAX)]


def test_nonsense_is_cut_to_size() -> None:
    log = DecisionLog()
    log.record([line("x" * 1000, what="y" * 10_000, why="z" * 10_000, time_seconds=float("nan"))])
    (kept,) = log.listed()
    assert (len(kept.decision_id), len(kept.what), len(kept.why), kept.time_seconds) == (100, TEXT_MAX, TEXT_MAX, 0.0)


def test_status_shows_the_last_ones() -> None:
    shown = render(head_pb2.HeadSnapshot(), [line(str(number), why="Demand") for number in range(25)])
    assert "last decisions about workers: 20 of 25" in shown
    assert "what 24: Demand" in shown
    assert "what 4:" not in shown
    assert "decisions" not in render(head_pb2.HeadSnapshot())
