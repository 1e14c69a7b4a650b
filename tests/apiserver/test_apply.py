"""Server-side apply: who owns what, what conflicts, what goes when its last owner lets go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_operator.local.apiserver import fieldsets
from shoal_operator.local.apiserver.errors import StatusError


def owners(document: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """Owned paths, dotted, by (manager, operation)."""
    return {
        (entry["manager"], entry["operation"]): {fieldsets.dotted(p) for p in fieldsets.decode(entry["fieldsV1"])}
        for entry in document["metadata"].get("managedFields", [])
    }


def current(api: Any, name: str = "w") -> Any:
    return api.get("Widget", name, "example.com/v1")


def test_apply_creates_and_owns_what_it_names(api: Any, new_widget: Any) -> None:
    made = api.apply(new_widget(groups=[{"name": "a", "count": 1}], tags=["x"]), "one")
    assert made["metadata"]["generation"] == 1
    assert owners(made) == {
        ("one", "Apply"): {
            ".spec.size",
            '.spec.groups[name="a"]',
            '.spec.groups[name="a"].name',
            '.spec.groups[name="a"].count',
            '.spec.tags[="x"]',
        }
    }


def test_a_repeated_apply_writes_nothing(api: Any, new_widget: Any) -> None:
    first = api.apply(new_widget(replicas=2), "one")
    api.pass_time(60)
    assert api.apply(new_widget(replicas=2), "one") == first


def test_a_field_no_longer_applied_goes(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(name="a", options={"x": "1", "y": "2"}), "one")
    api.apply(new_widget(options={"y": "2"}), "one")
    assert current(api)["spec"] == {"size": "Small", "replicas": 1, "options": {"y": "2"}}
    api.apply(new_widget(), "one")
    assert "options" not in current(api)["spec"]


def test_a_field_no_longer_applied_stays_while_another_owns_it(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(name="a"), "one")
    api.apply(new_widget(name="a"), "two")
    api.apply(new_widget(), "one")
    assert current(api)["spec"]["name"] == "a"
    api.apply(new_widget(), "two")
    assert "name" not in current(api)["spec"]


def test_the_same_value_is_shared_and_another_conflicts(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(replicas=2), "one")
    api.apply(new_widget(replicas=2), "two")
    with pytest.raises(StatusError) as refused:
        api.apply(new_widget(replicas=3), "three")
    status = refused.value.document()
    assert (status["code"], status["reason"]) == (409, "Conflict")
    assert status["message"] == (
        "Apply failed with 2 conflicts: "
        'conflicts with "one":\n- .spec.replicas\n'
        'conflicts with "two":\n- .spec.replicas'
    )
    assert status["details"]["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one"',
        "field": ".spec.replicas",
    }
    assert current(api)["spec"]["replicas"] == 2


def test_force_takes_a_field_over(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(replicas=2), "one")
    taken = api.apply(new_widget(replicas=3), "two", force=True)
    assert taken["spec"]["replicas"] == 3
    assert ".spec.replicas" not in owners(taken)["one", "Apply"]
    # The loser applies the winner's value: no conflict, both own it.
    assert ".spec.replicas" in owners(api.apply(new_widget(replicas=3), "one"))["one", "Apply"]


def test_items_of_a_keyed_list_have_their_own_owners(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(groups=[{"name": "a", "count": 1}]), "one")
    api.apply(new_widget(groups=[{"name": "b", "count": 5}]), "two")
    assert current(api)["spec"]["groups"] == [{"name": "a", "count": 1}, {"name": "b", "count": 5}]
    api.apply(new_widget(groups=[]), "one")
    assert current(api)["spec"]["groups"] == [{"name": "b", "count": 5}]


def test_an_item_stays_while_another_owns_a_field_in_it(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(groups=[{"name": "a"}]), "one")
    api.patch(
        "Widget",
        "w",
        {"spec": {"groups": [{"name": "a", "count": 9}]}},
        api_version="example.com/v1",
        field_manager="two",
    )
    api.apply(new_widget(), "one")
    assert current(api)["spec"]["groups"] == [{"name": "a", "count": 9}]


def test_items_of_a_set_have_their_own_owners(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(tags=["a", "b"]), "one")
    api.apply(new_widget(tags=["b", "c"]), "two")
    assert current(api)["spec"]["tags"] == ["a", "b", "c"]
    api.apply(new_widget(tags=["a"]), "one")
    assert current(api)["spec"]["tags"] == ["a", "b", "c"]
    api.apply(new_widget(tags=["c"]), "two")
    assert current(api)["spec"]["tags"] == ["a", "c"]


def test_an_update_takes_what_it_changes_and_apply_then_conflicts(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(replicas=2), "one")
    changed = api.patch("Widget", "w", {"spec": {"replicas": 5}}, api_version="example.com/v1", field_manager="scaler")
    assert owners(changed)["scaler", "Update"] == {".spec.replicas"}
    assert ".spec.replicas" not in owners(changed)["one", "Apply"]
    with pytest.raises(StatusError, match=r'conflict with "scaler" using example.com/v1: \.spec\.replicas'):
        api.apply(new_widget(replicas=2), "one")
    assert api.apply(new_widget(), "one")["spec"]["replicas"] == 5


def test_status_has_its_own_appliers(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(), "one")
    body = new_widget()
    del body["spec"]
    body["metadata"]["labels"] = {"ignored": "yes"}
    body["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    shown = api.apply(body, "controller", subresource="status")
    assert shown["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
    assert "labels" not in shown["metadata"]
    assert shown["metadata"]["generation"] == 1
    assert owners(shown)["controller", "Apply"] == {
        '.status.conditions[type="Ready"]',
        '.status.conditions[type="Ready"].type',
        '.status.conditions[type="Ready"].status',
    }
    # The main endpoint owns and changes none of it.
    again = api.apply(new_widget() | {"status": {"replicas": 9}}, "one")
    assert "replicas" not in again["status"]


def test_pod_lists_merge_by_their_well_known_keys(api: Any, new_pod: Any) -> None:
    first = new_pod()
    first["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    api.apply(first, "one")
    second = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"x": "y"}}}
    second["spec"] = {"containers": [{"name": "main", "image": "image:2"}]}
    with pytest.raises(StatusError, match=r'conflict with "one": .spec.containers\[name="main"\].image'):
        api.apply(second, "two")
    taken = api.apply(second, "two", force=True)
    assert taken["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert taken["spec"]["containers"][0]["image"] == "image:2"


def test_apply_never_touches_anothers_object_by_uid_or_version(api: Any, new_widget: Any) -> None:
    api.apply(new_widget(), "one")
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        body = new_widget()
        body["metadata"] |= wrong
        with pytest.raises(StatusError) as refused:
            api.apply(body, "one")
        assert refused.value.code == 409


def test_field_sets_survive_their_encoding() -> None:
    paths = {("f:a",), ("f:a", "f:b"), ("f:l", 'k:{"name":"x"}'), ("f:l", 'k:{"name":"x"}', "f:y"), ("f:s", 'v:"1"')}
    assert fieldsets.decode(fieldsets.encode(paths)) == paths


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 3),
        "name": st.sampled_from(["a", "b"]),
        "tags": st.lists(st.sampled_from("xyz"), unique=True, max_size=3),
        "options": st.dictionaries(st.sampled_from("kl"), st.sampled_from("12"), max_size=2),
        "groups": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("pqr")}, optional={"count": st.integers(0, 3)}),
            unique_by=lambda group: group["name"],
            max_size=3,
        ),
    },
)


def covers(value: Any, applied: Any) -> bool:
    """Whether everything in `applied` stands in `value`; lists are compared as sets or by name."""
    if isinstance(applied, dict):
        return all(name in value and covers(value[name], item) for name, item in applied.items())
    if isinstance(applied, list) and not applied:
        return isinstance(value, list)
    if isinstance(applied, list) and isinstance(applied[0], dict):
        held = {item["name"]: item for item in value}
        return all(item["name"] in held and covers(held[item["name"]], item) for item in applied)
    if isinstance(applied, list):
        return set(applied) <= set(value)
    return bool(value == applied)


def test_forced_applies_by_two_managers_keep_the_promises(make_api: Any, new_widget: Any) -> None:
    """What was applied last stands, is owned by its applier, and nothing unowned but defaults is left."""

    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.sampled_from(["one", "two"]), SPECS), min_size=1, max_size=8))
    def play(steps: list[tuple[str, dict[str, Any]]]) -> None:
        api = make_api()
        for manager, spec in steps:
            body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
            shown = api.apply(body | {"spec": {"size": "Small"} | spec}, manager, force=True)
            assert covers(shown["spec"], spec)
            owned = owners(shown)[manager, "Apply"]
            schema = api.resource("example.com/v1", "Widget").schema
            said = {fieldsets.dotted(path) for path in fieldsets.leaves({"spec": {"size": "Small"} | spec}, schema)}
            assert owned == said
            present = {fieldsets.dotted(path) for path in fieldsets.leaves(shown, schema)}
            everybodys = set().union(*owners(shown).values())
            unowned = {
                path for path in present - everybodys if path != ".spec.replicas" and not path.endswith(".count")
            }
            assert unowned <= {".spec.tags", ".spec.groups", ".spec.options"}
        last = api.apply(body | {"spec": {"size": "Small"} | steps[-1][1]}, steps[-1][0], force=True)
        assert last == shown

    play()
