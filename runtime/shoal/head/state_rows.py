"""Between what the head keeps in memory and the rows of its state file.

Invariants: nothing but translation happens here; a field that this program does not know is left out, one that a row
lacks has its default, so that versions of the same schema read each other's rows; nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from shoal.core.actors import Actor, ActorSpec
from shoal.core.demand import NodeDemand, selector
from shoal.core.jobs import Job, JobSpec
from shoal.core.membership import Member, NodeInfo
from shoal.resources import ResourceSet

_READ: Final[dict[Any, Callable[[Any], Any]]] = {
    "ResourceSet": lambda value: ResourceSet(value["resources"]),
    "Selector": lambda value: selector(dict(value)),
}
"""Fields whose JSON is not their value, by type."""

T = TypeVar("T")
Row = tuple[Any, ...]

_ACTOR_FIELDS: Final = ("restarts", "reason", "message", "restart_after_kill", "bundle_index")
_JOB_FIELDS: Final = (
    *("state", "reason", "message", "exit_code", "start_time", "end_time", "stop_reason"),
    *("node_id", "output_state", "output_message", "launched"),
)


def actor_row(actor: Actor) -> Row:
    """A row of ``actors``; without subscribers, who tell it again."""
    record = {name: getattr(actor, name) for name in _ACTOR_FIELDS}
    record["spec"] = _plain(actor.spec, leave_out=("creation", "handle"))
    spec = actor.spec
    return (
        *(spec.actor_id, spec.name, actor.state, actor.node_id, json.dumps(record)),
        *(actor.worker, spec.creation, spec.handle),
    )


def actor(row: Row) -> Actor:
    """The opposite. Raises ValueError for a malformed row."""
    _actor_id, _name, state, node_id, record, worker, creation, handle = row
    fields = _record(record)
    spec = _made(ActorSpec, {**fields.pop("spec"), "creation": creation, "handle": handle})
    return _made(Actor, {**fields, "spec": spec, "state": state, "node_id": node_id, "worker": worker})


def job_row(job: Job) -> Row:
    """A row of ``jobs``."""
    record = {name: getattr(job, name) for name in _JOB_FIELDS if hasattr(job, name)}
    record["spec"] = _plain(job.spec)
    record["counts"] = {node: list(counts) for node, counts in job.counts.items()}
    return (job.spec.submission_id, job.state, json.dumps(record), job.tail)


def job(row: Row) -> Job:
    """The opposite. Raises ValueError for a malformed row."""
    _submission_id, _state, record, tail = row
    fields = _record(record)
    fields["counts"] = {node: tuple(counts) for node, counts in fields.get("counts", {}).items()}
    return _made(Job, {**fields, "spec": _made(JobSpec, fields["spec"]), "tail": tail})


def node_row(member: Member) -> Row:
    """A row of ``nodes``."""
    record = {"reason": member.reason, "info": _plain(member.info)}
    return (member.info.node_id, int(member.alive), json.dumps(record))


def node(row: Row) -> tuple[NodeInfo, bool, str]:
    """What was known of a node, whether it was alive, and why not. Raises ValueError for a malformed row."""
    _node_id, alive, record = row
    fields = _record(record)
    return _made(NodeInfo, fields["info"]), bool(alive), str(fields.get("reason", ""))


def floors_text(floors: list[NodeDemand]) -> str:
    """The value of ``floors`` in ``identity``."""
    return json.dumps([_plain(floor, leave_out=("examples", "recent_count")) for floor in floors])


def floors(text: str) -> tuple[NodeDemand, ...]:
    """The opposite. Raises ValueError for a malformed text."""
    rows = json.loads(text)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("floors are not a list of JSON objects")
    return tuple(_made(NodeDemand, row) for row in rows)


def _plain(value: Any, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(value) if field.name not in leave_out]
    return {name: _json_value(getattr(value, name)) for name in names}


def _json_value(value: Any) -> Any:
    return {"resources": dict(value)} if isinstance(value, ResourceSet) else value


def _made(kind: Callable[..., T], fields: dict[str, Any]) -> T:
    known = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    taken = {
        name: _READ[known[name]](value) if known[name] in _READ else value
        for name, value in fields.items()
        if name in known
    }
    try:
        return kind(**taken)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _record(text: str) -> dict[str, Any]:
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("a record is not a JSON object")
    return record
