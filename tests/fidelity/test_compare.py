"""The comparison itself can fail, and what a run makes of its own does not reach a recording."""

from __future__ import annotations

from e2e.fidelity.compare import Expected, differences, unexpected, unused
from e2e.fidelity.masks import Masker

UID = "11111111-1111-1111-1111-111111111111"


def test_every_difference_has_an_address() -> None:
    golden = [{"step": "a", "status": 200, "body": {"x": [1, 2]}}, {"step": "b", "status": 200}]
    now = [{"step": "a", "status": 201, "body": {"x": [1]}}, {"step": "c", "status": 200}]
    found = {(item.step, item.path): (item.golden, item.now) for item in differences("s", golden, now)}
    assert found[("s/a", "status")] == ("200", "201")
    assert found[("s/a", "body.x[1]")] == ("2", "absent")
    assert ("s/b", "status") in found
    assert ("s/c", "") in found


def test_expectations_cover_what_they_name_and_are_missed_when_idle() -> None:
    found = differences("s", [{"step": "a", "n": 1, "m": 1}], [{"step": "a", "n": 2, "m": 2}])
    named, idle = Expected("s/a", "n", "why"), Expected("s/b", "*", "why")
    assert [item.path for item in unexpected(found, [named])] == ["m"]
    assert unused(found, [named, idle]) == [idle]


def test_masks_name_ids_for_their_objects_and_count_versions() -> None:
    masker = Masker()
    first = masker.mask({"metadata": {"name": "a", "uid": UID, "resourceVersion": "17"}})["metadata"]
    second = masker.mask({"metadata": {"name": "a", "uid": UID, "resourceVersion": "18"}})["metadata"]
    again = masker.mask({"metadata": {"name": "a", "uid": UID, "resourceVersion": "17"}})["metadata"]
    assert first == {"name": "a", "uid": "uid of a", "resourceVersion": "version 1"}
    assert (second["resourceVersion"], again["resourceVersion"]) == ("version 2", "version 1")
    assert masker.mask(f"conflict with {UID} at 2030-01-01T00:00:00Z") == "conflict with uid of a at <time>"


def test_repeated_causes_count_once() -> None:
    cause = {"field": "x", "message": "bad"}
    status = {
        "kind": "Status",
        "message": 'Pod "a" is invalid: [x: bad, x: bad]',
        "details": {"causes": [cause, cause]},
    }
    assert Masker().mask(status)["message"] == 'Pod "a" is invalid: x: bad'
