"""Room that a node gave away a moment ago: it is told until the demand that took it has had time to go."""

from __future__ import annotations

import pytest

from shoal.core.room import RecentRoom, largest
from shoal.resources import ResourceSet

NOTHING = ResourceSet()


def cpus(count: float, gpus: float = 0) -> ResourceSet:
    return ResourceSet.from_units({"CPU": count, "GPU": gpus} if gpus else {"CPU": count})


@pytest.mark.parametrize(
    ("reports", "at", "shown"),
    [
        pytest.param([(0.0, cpus(4))], 0.0, cpus(4), id="what it has"),
        pytest.param([(0.0, cpus(4)), (1.0, NOTHING)], 1.0, cpus(4), id="just taken"),
        pytest.param([(0.0, cpus(4)), (1.0, NOTHING)], 1.29, cpus(4), id="taken a moment ago"),
        pytest.param([(0.0, cpus(4)), (1.0, NOTHING)], 1.3, NOTHING, id="taken for good"),
        pytest.param([(0.0, NOTHING), (1.0, cpus(4))], 1.0, cpus(4), id="given back counts at once"),
        pytest.param([(0.0, cpus(4)), (1.0, cpus(2)), (1.2, NOTHING)], 1.4, cpus(2), id="step by step"),
        pytest.param([(0.0, cpus(4, 1)), (1.0, cpus(8))], 1.1, cpus(8, 1), id="each resource by itself"),
    ],
)
def test_what_is_shown(reports: list[tuple[float, ResourceSet]], at: float, shown: ResourceSet) -> None:
    room, now = RecentRoom(remember_seconds=0.3), reports[0][1]
    for when, available in reports[1:]:
        room.changed("n", now, available, when)
        now = available
    assert room.recent("n", now, at) == (None if shown == now else shown)
    assert room.recent("another", now, at) is None


def test_its_end_is_news_once() -> None:
    room = RecentRoom(remember_seconds=0.3)
    assert room.next_deadline() is None
    assert not room.changed("n", cpus(1), cpus(2), 1.0)
    assert room.next_deadline() is None
    assert room.changed("n", cpus(2), cpus(1), 2.0)
    assert room.next_deadline() == 2.3
    assert not room.expire(2.2)
    assert room.expire(2.3)
    assert not room.expire(2.4)
    assert room.next_deadline() is None


def test_the_largest_of_each() -> None:
    assert largest([cpus(1, 2), cpus(3), NOTHING]) == cpus(3, 2)
