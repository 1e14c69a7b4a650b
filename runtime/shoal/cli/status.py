"""``shoal status``: the nodes of a running cluster, what waits, and the jobs.

Invariant: it prints one snapshot of the head and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from shoal.cli.connect import head_options
from shoal.resources import describe

if TYPE_CHECKING:
    from shoal.jobs.client import JobClient
    from shoal.protocol import head_pb2

DECISIONS_SHOWN: Final = 20
GANGS_SHOWN: Final = 20


@click.command()
@head_options
def status(client: JobClient) -> None:
    """Show a running cluster: nodes, waiting work, jobs."""
    click.echo(render(client.snapshot(), client.decisions()))


def render(snapshot: head_pb2.HeadSnapshot, decisions: Sequence[head_pb2.Decision] = ()) -> str:
    """The text for people."""
    from shoal.protocol import head_pb2

    alive = [node for node in snapshot.nodes if node.alive]
    lines = [f"nodes: {len(alive)}"]
    for node in alive:
        drain = head_pb2.DrainState.Name(node.drain_state).removeprefix("DRAIN_STATE_").lower()
        state = node.activity or (f"idle for {node.idle_seconds:.0f} s" if node.idle_seconds else "busy")
        words = [node.pod_name or node.node_id[:8], node.address]
        total, free = describe(node.total.amounts), describe(node.available.amounts)
        words.append(f"{free} free of {total}" if any(node.total.amounts.values()) else "offers no resources")
        lines.append("  " + "  ".join([*words, state if drain == "active" else f"{drain}: {state}"]))
    lines += _waiting(snapshot)
    lines.append(f"jobs: {len(snapshot.jobs) or 'none'}")
    for job in snapshot.jobs:
        state = head_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")
        lines.append(
            f"  {job.submission_id}  {state}  {job.tasks_finished}/{job.tasks_submitted} tasks  {job.message}".rstrip()
        )
    if decisions:
        lines.append(f"last decisions about workers: {min(len(decisions), DECISIONS_SHOWN)} of {len(decisions)}")
    for decision in decisions[-DECISIONS_SHOWN:]:
        moment = time.strftime("%H:%M:%S", time.localtime(decision.time_seconds))
        lines.append(f"  {moment}  {decision.what}" + (f": {decision.why}" if decision.why else ""))
    return "\n".join(lines)


def _waiting(snapshot: head_pb2.HeadSnapshot) -> Iterator[str]:
    gangs = len(snapshot.gangs) + snapshot.gangs_left_out
    yield f"waiting: {sum(d.count for d in snapshot.demands) + gangs or 'nothing'}"
    for demand in snapshot.demands:
        if demand.count:  # else it waited a moment ago
            names = f" ({', '.join(demand.examples)})" if demand.examples else ""
            yield f"  {_bundle(demand)} for a {demand.kind}{names}"
    for gang in snapshot.gangs[:GANGS_SHOWN]:
        name = f" ({gang.name})" if gang.name else ""
        yield f"  {' and '.join(map(_bundle, gang.bundles))} for a placement group{name}"
    if gangs > GANGS_SHOWN:
        yield f"  {gangs - GANGS_SHOWN} more placement groups"
    if snapshot.floors:
        yield f"requested in total: {', '.join(map(_bundle, snapshot.floors))}"


def _bundle(bundle: head_pb2.Demand | head_pb2.GangBundle) -> str:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(bundle.label_selector.items()))
    return f"{bundle.count} x {describe(bundle.shape.amounts)}" + (f" where {labels}" if labels else "")
