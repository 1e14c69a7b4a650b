"""Waits and node-seconds over time: in columns, in the report's charts, and for programs."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

import pytest

from shoal_operator.whatif import scales
from shoal_operator.whatif.charts import BOTTOM, TOP, WIDTH
from shoal_operator.whatif.drawing import Drawing
from shoal_operator.whatif.ledger import NodeSeconds, WorkPoint
from shoal_operator.whatif.report import page
from shoal_operator.whatif.summary import as_data
from shoal_operator.whatif.timeline import COLUMNS_MAX, Grid, width_for

CHAR_WIDTH = 7.0
"""Of a digit of the widest font that browsers take for an axis, in pixels."""
BATCH = {"at": 5, "count": 10, "resources": {"CPU": 2}, "duration_seconds": 30}
"""Two nodes of 4 CPUs take four of these at a time: at 18, 48 and 78; the nodes idle from 108 to 128."""


def columns(outcome) -> dict[float, dict]:
    return {column["at"]: column for column in as_data(outcome)["overTime"]["columns"]}


def test_waits_and_node_seconds_stand_where_they_were(replay, group):
    outcome = replay([BATCH], group(most=2))
    found = columns(outcome)
    assert (outcome.lasted, as_data(outcome)["overTime"]["columnSeconds"], len(found)) == (129, 2, 65)
    started = {at: (c["started"], c["medianWaitSeconds"], c["longestWaitSeconds"]) for at, c in found.items()}
    assert {at: each for at, each in started.items() if each[0]} == {18: (4, 13, 13), 48: (4, 43, 43), 78: (2, 73, 73)}
    assert [found[at]["oldestWaitSeconds"] for at in (2, 4, 16, 18, 76, 78, 80)] == [0, 1, 13, 15, 73, 0, 0]
    assert [found[at]["mostWaiting"] for at in (2, 4, 18, 48, 78)] == [0, 10, 6, 2, 0]
    assert [found[at]["mostRunning"] for at in (16, 18, 78, 108)] == [0, 4, 2, 0]
    assert [found[at]["mostNodes"] for at in (2, 4, 128)] == [0, 2, 0]
    seconds = {at: {kind: value for kind, value in c["nodeSeconds"].items() if value} for at, c in found.items()}
    assert seconds[4] == {"starting": 2, "paid": 2}
    assert seconds[18] == {"used": 4, "paid": 4}
    assert seconds[78] == {"used": 2, "unfilled": 2, "paid": 4}
    assert seconds[108] == {"idle": 4, "paid": 4}
    assert seconds[128] == {"draining": 2, "paid": 2}


def test_what_never_starts_grows_older_to_the_end(replay, group):
    never = {"at": 10, "resources": {"CPU": 5}, "duration_seconds": 1}
    outcome = replay([never], group(), until=60)
    assert [columns(outcome)[at]["oldestWaitSeconds"] for at in (9.5, 10, 59.5)] == [0, 0.5, 50]
    assert all(column.waits.units == 0 for column in outcome.timeline.columns)


def test_who_takes_the_place_of_the_oldest_is_as_old_as_it_is(replay, group):
    """At 30 one unit ends, the one of 21 starts and another comes: as many wait and run as before."""
    lines = [{"at": at, "resources": {"CPU": 4}, "duration_seconds": 10} for at in (20, 21, 30)]
    found = columns(replay(lines, group(min_nodes=1, most=1), until=60))
    assert [found[at]["oldestWaitSeconds"] for at in (29.5, 30, 39.5, 40)] == [9, 0.5, 10, 0]


@pytest.mark.parametrize("end", [0.05, 1, 12, 12.1, 59, 3_600, 86_400, 86_401, 7 * 86_400, 366 * 86_400])
def test_columns_are_few_and_cover_the_whole_time(end):
    grid = Grid(end, width_for(end))
    assert 1 <= grid.columns <= COLUMNS_MAX
    assert (grid.columns - 1) * grid.width < end <= grid.columns * grid.width * (1 + 1e-9)
    assert (grid.column(0), grid.column(end)) == (0, grid.columns - 1)


def test_a_time_belongs_to_the_column_that_begins_with_it():
    grid = Grid(12, 0.1)
    assert [grid.column(index / 10) for index in range(120)] == list(range(120))


def test_ages_are_of_the_oldest_and_never_lost_between_columns():
    curve = [WorkPoint(1, 2, 0, 1), WorkPoint(4.25, 1, 1, 4), WorkPoint(4.5, 0, 2), WorkPoint(9, 1, 2, 9)]
    assert Grid(10, 2).ages(curve) == [1, 3, 3.25, 0, 1]


def test_a_busy_second_is_split_and_others_are_whole():
    seconds = NodeSeconds()
    seconds.book("busy", 4, 0.75)
    seconds.book("idle", 2, 0.0)
    assert seconds == NodeSeconds(used=3, unfilled=1, idle=2)


def test_charts_reach_as_high_as_their_figures(replay, group):
    outcome = replay([BATCH], group(most=2))
    drawing = Drawing([outcome])
    plot = 170 - BOTTOM - TOP
    tops = {
        "ages": (drawing.ages(), 73 / scales.durations(73).top),
        "starts": (drawing.starts(), 73 / scales.durations(73).top),
        "spending": (drawing.spending(), 2 / 2),
        "spent": (drawing.spent(), outcome.seconds.paid / scales.durations(outcome.seconds.paid).top),
    }
    for name, (drawn, share) in tops.items():
        heights = [float(y) for path in re.findall(r' d="M([^"]*?)Z?"', drawn) for y in re.findall(r" ([\d.]+)", path)]
        assert min(heights) == pytest.approx(170 - BOTTOM - plot * share, abs=0.1), name
    assert all(f'class="{kind}"' in drawing.spent() for kind in ("used", "unfilled", "idle", "starting", "draining"))


def test_outcomes_side_by_side_have_one_scale(replay, group):
    quick, slow = replay([BATCH], group(), until=200), replay([BATCH], group(most=1), until=200)
    for drawn in (Drawing([quick, slow]).ages(), Drawing([quick, slow]).starts(), Drawing([quick, slow]).spent()):
        left, right = (re.findall(r"<text.*?</text>", part) for part in drawn.split("<svg")[1:])
        assert left == right
        assert "4 min" in "".join(Drawing([quick, slow]).ages())


@pytest.mark.parametrize("until", [0.4, 7, 8, 61, 599, 4_000, 28_800, 86_400, 691_000, 1_382_400, 366 * 86_400])
def test_no_words_of_a_chart_overlap(replay, group, until):
    never = {"at": 0, "resources": {"CPU": 5}, "duration_seconds": 1}
    text = page([replay([never], group(min_nodes=8), until=until)])
    charts = re.findall(r"<svg.*?</svg>", text)
    words = [re.findall(r'<text class="axis" (.*?)>(.*?)</text>', chart) for chart in charts]
    assert sum(map(bool, words)) == 7
    for found in words:
        rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for attributes, label in found:
            fields = dict(re.findall(r'([\w-]+)="(.*?)"', attributes))
            width = sum(CHAR_WIDTH / 2 if char in ":. " else CHAR_WIDTH for char in label)
            start = float(fields["x"]) - (width if fields["text-anchor"] == "end" else width / 2)
            rows[fields["y"]].append((start, start + width))
        for spans in rows.values():
            assert min(start for start, _ in spans) >= 0
            assert max(stop for _, stop in spans) <= WIDTH
            spans.sort()
            assert all(stop <= start for (_, stop), (start, _) in pairwise(spans)), found
