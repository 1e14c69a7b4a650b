"""Every exception survives pickling with its fields, and task errors are also what was raised."""

from __future__ import annotations

import pickle

import pytest

from shoal import exceptions
from shoal.exceptions import ShoalError, TaskError

KINDS = sorted(
    {v for v in vars(exceptions).values() if isinstance(v, type) and issubclass(v, ShoalError)} - {TaskError},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_pickles_with_fields(kind: type[ShoalError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what happened", actor_id="ab", extra=3)))
    assert type(error) is kind
    assert str(error) == "what happened"
    assert (error.actor_id, error.extra) == ("ab", 3)


class NeedsArgumentsError(Exception):
    def __init__(self, first: str, second: int) -> None:
        super().__init__(first, second)
        self.second = second


def test_task_error_is_its_cause_too() -> None:
    cause = NeedsArgumentsError("a", 7)
    error = pickle.loads(pickle.dumps(TaskError("f", "trace", cause, 1, "ip"))).as_instance_of_cause()
    assert isinstance(error, TaskError)
    assert isinstance(error, NeedsArgumentsError)
    assert error.second == 7
    assert error.cause.second == 7
    assert "trace" in str(error)


def test_ray_names_are_the_same_classes() -> None:
    assert exceptions.RayTaskError is TaskError
    assert exceptions.RayError is ShoalError
    assert issubclass(exceptions.GetTimeoutError, TimeoutError)
