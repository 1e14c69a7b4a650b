"""Snapshots of heads as they went over the wire once: they are read for ever, and as the same.

``golden/NAME.hex`` is a serialized ``HeadSnapshot``; ``golden/NAME.json`` what an operator reads in it. They are never
changed. For a new set of fields, add a pair: ``python tests/protocol/test_golden.py NAME`` with the snapshot as
protobuf's JSON on standard input.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from shoal.protocol import head_pb2
from shoal.resources import ResourceSet
from shoal_operator.heads.convert import head_view

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.hex"))
RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)


def plain(value: Any) -> Any:
    """A view as JSON; what is absent or 0 is left out, so that views may get new fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {name: told for name, told in named.items() if told not in (None, "", 0, [], {})}
    if isinstance(value, ResourceSet):
        return dict(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def read(name: str) -> tuple[head_pb2.HeadSnapshot, Any]:
    snapshot = head_pb2.HeadSnapshot.FromString(bytes.fromhex((GOLDEN / f"{name}.hex").read_text()))
    return snapshot, json.loads(json.dumps(plain(head_view(snapshot, RECEIVED))))


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_of_once_is_read_as_it_was(name: str) -> None:
    assert read(name)[1] == json.loads((GOLDEN / f"{name}.json").read_text())


def test_older_and_newer_heads_are_among_them() -> None:
    assert {"before_gangs", "with_gangs", "from_the_future"} <= set(NAMES)
    old, new = read("before_gangs")[0], read("with_gangs")[0]
    assert not old.HasField("activity")
    assert new.gangs
    assert new.floors


def test_fields_that_this_program_does_not_know_are_passed_over() -> None:
    newer, known = read("from_the_future")[0], read("with_gangs")[0]
    assert newer != known, "the unknown fields are there"
    assert read("from_the_future")[1] == read("with_gangs")[1]


def write(name: str, snapshot: head_pb2.HeadSnapshot) -> None:
    """Add a pair."""
    (GOLDEN / f"{name}.hex").write_text("\n".join(textwrap.wrap(snapshot.SerializeToString().hex(), 100)) + "\n")
    (GOLDEN / f"{name}.json").write_text(json.dumps(plain(head_view(snapshot, RECEIVED)), indent=1) + "\n")


if __name__ == "__main__":
    write(sys.argv[1], json_format.Parse(sys.stdin.read(), head_pb2.HeadSnapshot()))
