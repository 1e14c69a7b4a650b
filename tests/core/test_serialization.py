"""Values to bytes and back."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.serialization import Serialized, deserialize, serialize


def round_trip(value: object) -> object:
    return deserialize(serialize(value).to_bytes())


@pytest.mark.parametrize("value", [None, True, 3, 1.5, "text", b"bytes", [1, {"a": (2, None)}], {1, 2}])
def test_plain_values(value: object) -> None:
    assert round_trip(value) == value


def test_functions_travel_by_value() -> None:
    factor = 3
    function = round_trip(lambda x: x * factor)
    assert function(4) == 12  # type: ignore[operator]


def test_arrays_are_views_of_the_data_and_read_only() -> None:
    array = np.arange(100_000).reshape(100, 1000)
    serialized = serialize({"a": array, "b": array[:, ::2]})
    target = bytearray(serialized.total_bytes)
    serialized.write_into(memoryview(target))
    found = deserialize(target)
    assert (found["a"] == array).all()
    assert (found["b"] == array[:, ::2]).all()
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0, 0] = 1
    address = found["a"].__array_interface__["data"][0]
    start = np.frombuffer(target, dtype=np.uint8).__array_interface__["data"][0]
    assert start <= address < start + len(target)
    assert (address - start) % 64 == 0


def test_size_is_known_before_writing() -> None:
    serialized = serialize(np.ones(1000))
    assert len(serialized.to_bytes()) == serialized.total_bytes
    assert isinstance(serialized, Serialized)


def test_foreign_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="not a serialized value"):
        deserialize(b"x" * 100)
    with pytest.raises(ValueError, match="at least"):
        deserialize(b"x")
