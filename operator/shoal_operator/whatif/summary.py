"""The outcome as text for a terminal, and as data for programs.

Invariant: lines are aligned and short; whatever did not get a place is named with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from shoal_operator.whatif.figures import seconds_text, share_text, table
from shoal_operator.whatif.ledger import Decision, NodeSeconds
from shoal_operator.whatif.outcome import NeedOutcome, Outcome
from shoal_operator.whatif.timeline import Column
from shoal_operator.whatif.waits import Waits

NEEDS_SHOWN: Final = 12
VERDICTS_SHOWN: Final = 5
NEED_WIDTH: Final = 48


def render(outcomes: Sequence[Outcome]) -> str:
    """The text for people: of one cluster in detail; of several their figures side by side, then each in detail."""
    parts = [_comparison(outcomes)] if len(outcomes) > 1 else []
    return "\n\n".join([*parts, *("\n".join(_lines(outcome)) for outcome in outcomes)])


def _lines(outcome: Outcome) -> list[str]:
    lines = [f"{outcome.name}: cluster {outcome.cluster}, {outcome.trace}, seed {outcome.seed}"]
    lines.append(f"work: {_work_text(outcome)}")
    head = ("need", "units", "p50", "p90", "p99", "longest wait", "most waiting", "never started")
    shown = sorted(outcome.needs, key=lambda each: -each.waits.longest)[:NEEDS_SHOWN]
    lines += table([head, *map(_need_row, shown)], "  ")
    if len(outcome.needs) > len(shown):
        lines.append(f"  and {len(outcome.needs) - len(shown)} more")
    lines.append(f"nodes: {seconds_text(outcome.seconds.paid)} paid in all, of them")
    columns = ("group", "most", "asked for", "machines", "paid", "used", "unfilled", "idle", "starting", "draining")
    rows = [
        (each.name, str(each.most), str(each.asked), str(each.machines), *_shares(each.seconds))
        for each in outcome.groups
    ]
    lines += table([columns, *rows], "  ")
    for resource in outcome.resources:
        if resource.name != "memory":
            share = share_text(resource.used, resource.paid)
            lines.append(
                f"  {resource.name}-hours: {_hours(resource.paid)} paid, {_hours(resource.used)} used ({share})"
            )
    changes = [each for each in outcome.decisions if each.change]
    lines.append(f"decisions: {len(changes) + outcome.decisions_left_out} in {outcome.plans} plans")
    lines += [f"  {line}" for line in _verdicts(outcome.decisions)]
    if not outcome.settled:
        lines.append("  the planner went on changing its mind at one instant: please report this with both files")
    return lines


def _hours(unit_seconds: float) -> str:
    return f"{unit_seconds / 3600:,.2f}"


def _work_text(outcome: Outcome) -> str:
    left = [f"{outcome.came} units came, {outcome.ended} ended within {seconds_text(outcome.lasted)}"]
    running = outcome.started - outcome.ended
    if running:
        left.append(f"{running} still run")
    if outcome.left_waiting:
        left.append(f"{outcome.left_waiting} never started")
    return ", ".join(left)


def cut(text: str, width: int = NEED_WIDTH) -> str:
    """A text of at most that width."""
    return text if len(text) <= width else text[: width - 3] + "..."


def _need_row(item: NeedOutcome) -> tuple[str, ...]:
    waits = item.waits
    times = [seconds_text(value) for value in (waits.p50, waits.p90, waits.p99, waits.longest)] if waits.units else []
    units = waits.units + item.left_waiting
    return (
        cut(str(item.need)),
        str(units),
        *(times or ["-"] * 4),
        str(item.most_waiting),
        str(item.left_waiting) if item.left_waiting else "-",
    )


def _shares(seconds: NodeSeconds) -> tuple[str, ...]:
    parts = (seconds.used, seconds.unfilled, seconds.idle, seconds.starting, seconds.draining)
    return seconds_text(seconds.paid), *(share_text(part, seconds.paid) for part in parts)


def _verdicts(decisions: Sequence[Decision]) -> list[str]:
    """The verdicts that were given, each at its first time, without the counts that differ."""
    first: dict[tuple[str, str], Decision] = {}
    for each in decisions:
        if not each.change:
            first.setdefault((each.reason, each.text.partition(": ")[2]), each)
    found = [f"{each.reason} from {seconds_text(each.at)} on: {each.text}" for each in first.values()]
    more = len(found) - VERDICTS_SHOWN
    return found[:VERDICTS_SHOWN] + ([f"and {more} more verdicts, see the report"] if more > 0 else [])


Row = tuple[str, Callable[[Outcome], str]]

FIGURES: Final[tuple[Row, ...]] = (
    ("units ended", lambda o: f"{o.ended} of {o.came}"),
    ("wait, median", lambda o: _wait(o, o.waits.p50)),
    ("wait, 90 %", lambda o: _wait(o, o.waits.p90)),
    ("wait, 99 %", lambda o: _wait(o, o.waits.p99)),
    ("wait, longest", lambda o: _wait(o, o.waits.longest)),
    ("never started", lambda o: str(o.left_waiting)),
    ("most nodes at once", lambda o: str(_most_nodes(o))),
    ("node-time paid", lambda o: seconds_text(o.seconds.paid)),
    ("node-time used", lambda o: share_text(o.seconds.used, o.seconds.paid)),
    ("node-time unfilled", lambda o: share_text(o.seconds.unfilled, o.seconds.paid)),
    ("node-time idle", lambda o: share_text(o.seconds.idle, o.seconds.paid)),
    ("node-time starting", lambda o: share_text(o.seconds.starting, o.seconds.paid)),
    ("node-time draining", lambda o: share_text(o.seconds.draining, o.seconds.paid)),
    ("decisions", lambda o: str(sum(1 for each in o.decisions if each.change) + o.decisions_left_out)),
)
"""What is compared first: name, and how it reads."""


def figures(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Rows of the comparison: a name, then one text for each outcome; resources last."""
    rows = [(name, *(text(each) for each in outcomes)) for name, text in FIGURES]
    names = sorted({resource.name for each in outcomes for resource in each.resources} - {"memory"})
    for name in names:
        found = [next((r for r in each.resources if r.name == name), None) for each in outcomes]
        rows.append((f"{name}-hours paid", *(_hours(r.paid) if r else "-" for r in found)))
        rows.append((f"{name}-hours used", *(share_text(r.used, r.paid) if r else "-" for r in found)))
    return rows


def _wait(outcome: Outcome, seconds: float) -> str:
    return seconds_text(seconds) if outcome.waits.units else "-"


def _most_nodes(outcome: Outcome) -> int:
    """The most nodes wanted at once in all groups together."""
    changes = sorted(
        (point.at, index, point.wanted) for index, group in enumerate(outcome.groups) for point in group.curve
    )
    wanted: dict[int, int] = {}
    most = 0
    for position, (at, index, count) in enumerate(changes):
        wanted[index] = count
        if position + 1 == len(changes) or changes[position + 1][0] != at:
            most = max(most, sum(wanted.values()))
    return most


def _comparison(outcomes: Sequence[Outcome]) -> str:
    return "\n".join(table([("", *(each.name for each in outcomes)), *figures(outcomes)]))


def as_data(outcome: Outcome) -> dict[str, Any]:
    """The outcome for programs; times in seconds, resources in units. Over time by columns, not by every change."""
    return {
        "file": outcome.name,
        "cluster": outcome.cluster,
        "trace": outcome.trace,
        "seed": outcome.seed,
        "lastedSeconds": outcome.lasted,
        "units": {"came": outcome.came, "started": outcome.started, "ended": outcome.ended},
        "waitSeconds": _waits_data(outcome.waits),
        "needs": [
            {
                "need": str(each.need),
                "waitSeconds": _waits_data(each.waits),
                "mostWaiting": each.most_waiting,
                "leftWaiting": each.left_waiting,
            }
            for each in outcome.needs
        ],
        "nodeSeconds": _seconds_data(outcome.seconds),
        "groups": [
            {
                "name": each.name,
                "mostNodes": each.most,
                "podsAskedFor": each.asked,
                "machines": each.machines,
                "nodeSeconds": _seconds_data(each.seconds),
            }
            for each in outcome.groups
        ],
        "resourceSeconds": {each.name: {"paid": each.paid, "used": each.used} for each in outcome.resources},
        "overTime": {
            "columnSeconds": outcome.timeline.width_seconds,
            "columns": [_column_data(each) for each in outcome.timeline.columns],
        },
        "decisions": [asdict(each) for each in outcome.decisions],
        "decisionsLeftOut": outcome.decisions_left_out,
        "plans": outcome.plans,
        "settled": outcome.settled,
    }


def _column_data(column: Column) -> dict[str, Any]:
    return {
        "at": column.at,
        "mostWaiting": column.waiting,
        "oldestWaitSeconds": column.oldest,
        "started": column.waits.units,
        "medianWaitSeconds": column.waits.p50,
        "longestWaitSeconds": column.waits.longest,
        "mostRunning": column.running,
        "mostNodes": column.nodes,
        "nodeSeconds": _seconds_data(column.seconds),
    }


def _waits_data(waits: Waits) -> dict[str, float]:
    return asdict(waits)


def _seconds_data(seconds: NodeSeconds) -> dict[str, float]:
    return {**asdict(seconds), "paid": seconds.paid}
