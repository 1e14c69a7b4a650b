"""``request_resources``: what it takes, and what it says of what it does not take."""

from __future__ import annotations

import pytest

from shoal.core.demand import NodeDemand
from shoal.core.floors import checked, requested
from shoal.resources import ResourceSet


def plain(floors: list[NodeDemand]) -> list[tuple[int, dict[str, float], tuple[tuple[str, str], ...]]]:
    return [(floor.count, floor.shape.to_units(), floor.label_selector) for floor in floors]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, None, None), []),
        ((0, None, None), []),
        ((None, [], None), []),
        ((None, {}, None), []),
        ((3, None, None), [(3, {"CPU": 1.0}, ())]),
        ((3, [{"CPU": 1}], None), [(4, {"CPU": 1.0}, ())]),
        ((None, [{"GPU": 1, "CPU": 4}] * 2, None), [(2, {"CPU": 4.0, "GPU": 1.0}, ())]),
        ((None, ({"CPU": 0.5},), None), [(1, {"CPU": 0.5}, ())]),
        (
            (None, [{"CPU": 1}, {"CPU": 1}], [{"zone": "a"}, {}]),
            [(1, {"CPU": 1.0}, ()), (1, {"CPU": 1.0}, (("zone", "a"),))],
        ),
    ],
)
def test_what_is_asked_for(arguments: tuple[object, object, object], expected: list[object]) -> None:
    assert plain(requested(*arguments)) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1, None, None), "num_cpus must be a whole number of at least 0, got -1"),
        ((1.5, None, None), "num_cpus must be a whole number"),
        (("4", None, None), "num_cpus must be a whole number"),
        ((True, None, None), "num_cpus must be a whole number"),
        ((1_000_001, None, None), "at most 1000000"),
        ((None, "CPU", None), "bundles must be a list of dicts"),
        ((None, {"CPU": 1}, None), "bundles must be a list of dicts"),
        ((None, 5, None), "bundles must be a list of dicts"),
        ((None, [{"CPU": 1}, "GPU"], None), r"bundles\[1\] must be a dict"),
        ((None, [{"CPU": -1}], None), r"bundles\[0\]: resource 'CPU' must not be negative"),
        ((None, [{"CPU": float("nan")}], None), "finite"),
        ((None, [{"CPU": float("inf")}], None), "finite"),
        ((None, [{"CPU": 1e300}], None), r"bundles\[0\]: resource 'CPU' must be at most 1e\+14, got 1e\+300"),
        ((None, [{"CPU": 0.00001}], None), "precision"),
        ((None, [{"CPU": "1"}], None), "must be a number"),
        ((None, [{"CPU": True}], None), "must be a number"),
        ((None, [{"": 1}], None), "a resource's name"),
        ((None, [{5: 1}], None), "a resource's name"),
        ((None, [{"CPU": 0}], None), r"bundles\[0\] asks for nothing"),
        ((None, [{}], None), r"bundles\[0\] asks for nothing"),
        ((None, [{"CPU": n + 1} for n in range(1001)], None), "at most 1000 different bundles, got 1001"),
        ((None, [{"CPU": 1}], [{}, {}]), "1 bundles and 2 bundle_label_selectors"),
        ((None, None, [{}]), "0 bundles and 1 bundle_label_selectors"),
        ((None, [{"CPU": 1}], ["zone"]), r"bundle_label_selectors\[0\] must be a dict"),
        ((None, [{"CPU": 1}], [{"zone": "!in(a"}]), r"bundle_label_selectors\[0\]: 'zone' has '!in\(a', which is none"),
        ((None, [{"CPU": 1}], [{"zone": 1}]), r"bundle_label_selectors\[0\] must be a dict"),
    ],
)
def test_what_is_refused(arguments: tuple[object, object, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        requested(*arguments)


def test_a_head_checks_again() -> None:
    one = ResourceSet.from_units({"CPU": 1})
    with pytest.raises(ValueError, match="asks for nothing"):
        checked([NodeDemand(ResourceSet(), 1)])
    with pytest.raises(ValueError, match="at most 1000000"):
        checked([NodeDemand(one, 1_000_001)])
