"""The outcome as one HTML page: curves over time, waits, node-seconds and decisions.

Invariants: one file that loads nothing and runs nothing; every text that came from a file is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from typing import Final

from shoal_operator.whatif.charts import bar, legend
from shoal_operator.whatif.drawing import MEANINGS, WAIT_COLOURS, Drawing
from shoal_operator.whatif.figures import clock_text, seconds_text, share_text
from shoal_operator.whatif.ledger import Decision, NodeSeconds
from shoal_operator.whatif.outcome import Outcome
from shoal_operator.whatif.style import STYLE
from shoal_operator.whatif.summary import cut, figures
from shoal_operator.whatif.waits import Waits

DECISIONS_SHOWN: Final = 300
NEEDS_SHOWN: Final = 50
WAITS_DRAWN: Final = 8
MERGED_SECONDS: Final = 10.0
"""Alike decisions that follow each other so soon are one line."""
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def page(outcomes: Sequence[Outcome]) -> str:
    """The whole page.

    Args:
        outcomes: of one cluster, or of several over the same trace; at least one.
    """
    title = f"{outcomes[0].trace} on {' and '.join(each.name for each in outcomes)}"
    drawing = Drawing(outcomes)
    sections = [
        _section("Figures", _figures(outcomes)),
        _section("Work that waits", drawing.work("waiting"), "Units without a place, by what they need."),
        _section("Work that runs", drawing.work("running"), "Units that hold resources."),
        _section("Workers", drawing.workers(), "Ready and starting ones are those that the autoscaler wants."),
        _section("Waiting times", _waiting(drawing, outcomes)),
        _section("Node-seconds", _spending(drawing, outcomes)),
        _section("Decisions", drawing.side_by_side([_decisions(each) for each in outcomes])),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{_inputs(outcomes)}{''.join(sections)}</body></html>\n"
    )


def _waiting(drawing: Drawing, outcomes: Sequence[Outcome]) -> str:
    longest = max(each.waits.longest for each in outcomes)
    started = f"Waits of the units that started, within each {drawing.starts_within()}"
    parts = [
        _part("How long the oldest unit has waited", drawing.ages(), "What rises to the end never started."),
        _part(started, drawing.starts() + legend(list(WAIT_COLOURS.items()))),
        _part("In all", drawing.side_by_side([_waits(each, longest) for each in outcomes])),
    ]
    return "".join(parts)


def _spending(drawing: Drawing, outcomes: Sequence[Outcome]) -> str:
    most = max(each.seconds.paid for each in outcomes)
    parts = [
        legend([(f"{name}: {text}", name) for name, text in MEANINGS.items()]),
        _part("Nodes by what they did", drawing.spending()),
        _part("Spent so far", drawing.spent()),
        _part("In all", drawing.side_by_side([_node_seconds(each, most) for each in outcomes])),
    ]
    return "".join(parts)


def _part(title: str, body: str, words: str = "") -> str:
    note = f'<p class="note">{escape(words)}</p>' if words else ""
    return f"<h3>{escape(title)}</h3>{note}{body}"


def _section(title: str, body: str, words: str = "") -> str:
    note = f'<p class="note">{escape(words)}</p>' if words else ""
    return f"<section><h2>{title}</h2>{note}{body}</section>"


def _inputs(outcomes: Sequence[Outcome]) -> str:
    first = outcomes[0]
    starts = dict.fromkeys(words for each in outcomes for words in each.start_models)
    items = [
        f"{first.came} units of work, {seconds_text(first.lasted)} in all; seed {first.seed}",
        *(f"a pod of group {group}: {words}" for group, words in starts),
    ]
    if not all(each.settled for each in outcomes):
        items.append("the planner went on changing its mind at one instant: please report this with both files")
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _figures(outcomes: Sequence[Outcome]) -> str:
    return _table(["", *(each.name for each in outcomes)], figures(outcomes))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """``words``: how many columns at the left are not numbers."""
    cells = "".join(f"<th{_side(index, words)}>{escape(cell)}</th>" for index, cell in enumerate(head))
    lines = "".join(
        "<tr>" + "".join(f"<td{_side(index, words)}>{escape(cell)}</td>" for index, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>'


def _side(column: int, words: int) -> str:
    return "" if column < words else ' class="number"'


def _waits(outcome: Outcome, longest: float) -> str:
    head = ("need", "units", "median", "90 %", "99 %", "longest", "most waiting", "never started")
    shown = sorted(outcome.needs, key=lambda each: (-each.left_waiting, -each.waits.longest))[:NEEDS_SHOWN]
    rows = []
    for each in shown:
        waits = each.waits
        times = [seconds_text(value) for value in (waits.p50, waits.p90, waits.p99, waits.longest)]
        counts = (str(each.most_waiting), str(each.left_waiting or "-"))
        rows.append((cut(str(each.need)), str(waits.units + each.left_waiting), *times, *counts))
    left_out = len(outcome.needs) - len(shown)
    bars = "".join(_wait_bar(cut(str(each.need)), each.waits, longest) for each in shown[:WAITS_DRAWN])
    return bars + _table(head, rows) + (f'<p class="note">and {left_out} more</p>' if left_out else "")


def _wait_bar(name: str, waits: Waits, longest: float) -> str:
    marks = (0.0, waits.p50, waits.p90, waits.p99, waits.longest)
    parts = [
        (f"{words}: {seconds_text(stop)}", stop - start, colour)
        for (words, colour), start, stop in zip(WAIT_COLOURS.items(), marks, marks[1:], strict=False)
    ]
    return f'<p class="bar">{escape(name)}</p>{bar(f"waiting times of {name}", parts, longest, height=12)}'


def _node_seconds(outcome: Outcome, most: float) -> str:
    rows = [("all groups", outcome.seconds), *((group.name, group.seconds) for group in outcome.groups)]
    drawn = [
        f'<p class="bar">{escape(name)}: {seconds_text(each.paid)} paid, '
        f"{share_text(each.used, each.paid)} used</p>{_bar(name, each, most)}"
        for name, each in rows
    ]
    return "".join(drawn)


def _bar(name: str, seconds: NodeSeconds, most: float) -> str:
    parts = []
    for kind in MEANINGS:
        length: float = getattr(seconds, kind)
        words = f"{kind}: {seconds_text(length)} ({share_text(length, seconds.paid)})"
        parts.append((words, length, kind))
    return bar(f"node-seconds of {name}", parts, most)


def _decisions(outcome: Outcome) -> str:
    merged = list(_merged(outcome.decisions))
    rows = [
        (clock_text(each.at), each.group, f"{each.change:+d}" if each.change else "", each.reason, each.text)
        for each in merged[:DECISIONS_SHOWN]
    ]
    left_out = max(0, len(merged) - DECISIONS_SHOWN) + outcome.decisions_left_out
    note = f'<p class="note">and {left_out} more; --json has the first ones</p>' if left_out else ""
    return _table(("time", "group", "nodes", "reason", "because"), rows, words=5) + note


def _merged(decisions: Sequence[Decision]) -> Iterator[Decision]:
    """Alike changes that follow each other soon, as one at the time of the first."""
    run: Decision | None = None
    for each in decisions:
        alike = run is not None and each.change * run.change > 0 and each.at - run.at <= MERGED_SECONDS
        if run is not None and alike and (each.group, each.reason, each.text) == (run.group, run.reason, run.text):
            run = replace(run, change=run.change + each.change)
            continue
        if run is not None:
            yield run
        run = each
    if run is not None:
        yield run
