"""A trace is understood as a whole, or refused with its lines and what to write instead."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.resources import ResourceSet
from shoal_operator.autoscaler.model import Bundle, GangStrategy
from shoal_operator.whatif.trace import LINES_MAX, NEEDS_MAX, PROBLEMS_SHOWN, UNITS_MAX, TraceError, parse_trace

GOOD = '{"at": 0, "resources": {"CPU": 1}, "duration_seconds": 1}'

FULL = (
    '{"at": 7, "count": 3, "resources": {"CPU": 0.5}, "duration_seconds": 2, "over_seconds": 9, "kind": "task",'
    '"labels": {"zone": "in(a,b)", "kind": "!spot"}, "name": "map"}'
)
GANG = (
    '{"at": 3, "gang": {"strategy": "SPREAD", "bundles": [{"GPU": 1}, {"CPU": 1}, {"GPU": 1}],'
    ' "bundle_label_selectors": [{}, {"zone": "a"}, {}]}, "duration_seconds": 60}'
)


def problems(*lines: str | bytes) -> list[str]:
    with pytest.raises(TraceError) as caught:
        parse_trace(lines, "t.jsonl")
    assert str(caught.value).startswith("t.jsonl: ")
    return list(caught.value.problems)


def test_every_form_of_a_line():
    trace = parse_trace(
        [
            "# words for people",
            "",
            FULL,
            b'{"at": 1.5, "kind": "actor", "resources": {"GPU": 1}}',
            GANG,
            '{"at": 2, "request_resources": {"num_cpus": 4, "bundles": [{"GPU": 1}, {"GPU": 1}]}}',
            '{"at": 9, "request_resources": {}}',
        ],
        "t.jsonl",
    )
    actor, gang, task = trace.work
    assert (actor.line, actor.at, actor.duration_seconds, actor.count) == (4, 1.5, None, 1)
    assert (task.count, task.over_seconds, task.name) == (3, 9, "map")
    assert task.need.label_selector == (("kind", "!spot"), ("zone", "in(a,b)"))
    gpu, cpu = ResourceSet.from_units({"GPU": 1}), ResourceSet.from_units({"CPU": 1})
    assert gang.need.strategy is GangStrategy.SPREAD
    assert gang.need.bundles == (Bundle(gpu, (), 2), Bundle(cpu, (("zone", "a"),), 1))
    assert gang.need.shape == ResourceSet.from_units({"GPU": 2, "CPU": 1})
    asked, ended = trace.floors
    assert [(floor.shape, floor.count) for floor in asked.floors] == [(cpu, 4), (gpu, 2)]
    assert (ended.at, ended.floors) == (9, ())
    assert trace.units == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "is not JSON"),
        ("[1]", "must be an object such as"),
        ('{"at": 0, "resources": {"CPU": 1}}', "duration_seconds: is missing: how long a unit runs, in seconds"),
        ('{"resources": {"CPU": 1}, "duration_seconds": 1}', "at: is missing"),
        ('{"at": -1, "resources": {"CPU": 1}, "duration_seconds": 1}', "at: must be seconds from 0"),
        ('{"at": NaN, "resources": {"CPU": 1}, "duration_seconds": 1}', "at: must be seconds from 0"),
        ('{"at": 1e999, "resources": {"CPU": 1}, "duration_seconds": 1}', "at: must be seconds from 0"),
        ('{"at": true, "resources": {"CPU": 1}, "duration_seconds": 1}', "at: must be seconds from 0"),
        ('{"at": 0, "resources": {"CPU": 1}, "duration_seconds": "1"}', 'must be seconds from 0 to 31622400, is "1"'),
        ('{"at": 0, "resources": {}, "duration_seconds": 1}', "resources: asks for nothing"),
        ('{"at": 0, "resources": {"CPU": 0}, "duration_seconds": 1}', "resources: asks for nothing"),
        ('{"at": 0, "resources": {"CPU": -1}, "duration_seconds": 1}', "must not be negative"),
        ('{"at": 0, "resources": {"CPU": NaN}, "duration_seconds": 1}', "must be a finite number"),
        ('{"at": 0, "resources": {"CPU": 1e300}, "duration_seconds": 1}', "resources.CPU: must be a number of at most"),
        ('{"at": 0, "resources": {"CPU": 0.00001}, "duration_seconds": 1}', "cannot go beyond 0.0001"),
        ('{"at": 0, "resources": "1 CPU", "duration_seconds": 1}', 'must be resources such as {"CPU": 1}'),
        ('{"at": 0, "count": 0, "resources": {"CPU": 1}, "duration_seconds": 1}', "count: must be a whole number from"),
        ('{"at": 0, "count": 1.5, "resources": {"CPU": 1}, "duration_seconds": 1}', "count: must be a whole number"),
        ('{"at": 0, "ressources": {"CPU": 1}, "duration_seconds": 1}', "ressources: is not a field here; those are at"),
        ('{"at": 0, "kind": "job", "resources": {"CPU": 1}, "duration_seconds": 1}', 'kind: must be "task" or "actor"'),
        ('{"at": 0, "labels": {"a": 1}, "resources": {"CPU": 1}, "duration_seconds": 1}', "labels: must be such as"),
        (
            '{"at": 0, "labels": {"zone": "in(a,b"}, "resources": {"CPU": 1}, "duration_seconds": 1}',
            "labels: 'zone' has 'in(a,b', which is none of",
        ),
        (
            '{"at": 0, "labels": {"a b": "c"}, "resources": {"CPU": 1}, "duration_seconds": 1}',
            "labels: 'a b' is no name of a label",
        ),
        ('{"at": 0, "kind": [], "resources": {"CPU": 1}, "duration_seconds": 1}', 'kind: must be "task" or "actor"'),
        ('{"at": 0, "gang": [], "duration_seconds": 1}', "gang: must be such as"),
        (
            '{"at": 0, "gang": {"strategy": {}, "bundles": [{}]}, "duration_seconds": 1}',
            "gang.strategy: must be one of",
        ),
        ('{"at": 0, "gang": {"bundles": []}, "duration_seconds": 1}', "gang.bundles: must have one bundle at least"),
        (
            '{"at": 0, "gang": {"bundles": [{"CPU": 1}, {}]}, "duration_seconds": 1}',
            "gang.bundles[1]: asks for nothing",
        ),
        (
            '{"at": 0, "gang": {"strategy": "pack", "bundles": [{"CPU": 1}]}, "duration_seconds": 1}',
            "gang.strategy: must be one of PACK, SPREAD, STRICT_PACK, STRICT_SPREAD",
        ),
        (
            '{"at": 0, "gang": {"bundles": [{"CPU": 1}], "bundle_label_selectors": []}, "duration_seconds": 1}',
            "gang.bundle_label_selectors: must be a list of 1 selectors",
        ),
        ('{"at": 0, "request_resources": 4}', "request_resources: must be such as"),
        ('{"at": 0, "request_resources": {"num_cpus": -1}}', "request_resources.num_cpus: must be a whole number"),
        ('{"at": 0, "request_resources": {"num_gpus": 1}}', "request_resources.num_gpus: is not a field here"),
        (b'{"at": 0, "name": "\xff"}', "is not UTF-8"),
        ("[" * 100_000, "is not JSON"),
        (" " * 300_000, "has more than the 262144 bytes of a line"),
    ],
)
def test_a_wrong_line_is_named_with_what_to_write(line, words):
    [problem] = problems(GOOD, line, GOOD)
    assert problem.startswith("line 2: ")
    assert words in problem
    assert len(problem) < 400


def test_requested_bundles_are_bounded_as_by_a_head():
    many = json.dumps({"at": 0, "request_resources": {"bundles": [{"GPU": 1}] * 5000}})
    assert [floor.count for floor in parse_trace([many], "t").floors[0].floors] == [5000]
    different = json.dumps({"at": 0, "request_resources": {"bundles": [{"CPU": n + 1} for n in range(1001)]}})
    assert problems(different) == [
        "line 1: request_resources.bundles: must be at most 1000 different bundles, are 1001"
    ]


def test_all_wrong_lines_are_named_up_to_a_bound():
    assert [text.partition(":")[0] for text in problems("x", GOOD, "y")] == ["line 1", "line 3"]
    assert len(problems(*["x"] * 1000)) == PROBLEMS_SHOWN


def test_a_trace_without_work_is_refused():
    [problem] = problems("# nothing")
    assert problem.startswith('there is no work in it; a line of work is such as {"at": 0,')


def test_a_million_lines_are_not_read_to_their_end():
    def lines() -> Iterator[str]:
        for number in itertools.count(1):
            assert number <= LINES_MAX + 1
            yield "#"

    with pytest.raises(
        TraceError, match=f"line {LINES_MAX + 1}: a trace has at most {LINES_MAX} lines: say equal work"
    ):
        parse_trace(lines(), "t.jsonl")


def test_units_and_shapes_have_a_limit():
    many = json.dumps({"at": 0, "count": UNITS_MAX, "resources": {"CPU": 1}, "duration_seconds": 1})
    assert problems(many, GOOD)[0].startswith(f"line 2: count: that makes {UNITS_MAX + 1} units of work")
    shapes = (
        json.dumps({"at": 0, "resources": {f"r{index}": 1}, "duration_seconds": 1}) for index in range(NEEDS_MAX + 1)
    )
    assert problems(*shapes) == [
        f"line {NEEDS_MAX + 1}: resources: is the {NEEDS_MAX + 1}th different shape, the most is {NEEDS_MAX}"
    ]


def test_the_lines_that_the_page_shows_are_a_trace():
    page = (Path(__file__).parents[2] / "docs/autoscaling.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith('    {"at"')]
    trace = parse_trace(lines, "docs/autoscaling.md")
    assert {work.need.kind for work in trace.work} == {"task", "actor", "gang"}
    assert len(trace.floors) == 1
