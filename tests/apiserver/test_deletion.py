"""Deletion: what waits for whom, and what goes along."""

from __future__ import annotations

from typing import Any

import pytest

from shoal_operator.local.apiserver.errors import StatusError

V1 = "example.com/v1"


def mark(document: Any) -> Any:
    return document["metadata"].get("deletionTimestamp")


def test_a_pod_without_a_node_is_gone_at_once(api: Any, new_pod: Any) -> None:
    api.create(new_pod())
    assert api.delete("Pod", "p")[1]
    assert not api.exists("Pod", "p")


def test_a_running_pod_stays_until_its_kubelet_lets_it_go(api: Any, new_pod: Any) -> None:
    api.create(new_pod(nodeName="n"))
    shown, gone = api.delete("Pod", "p")
    assert not gone
    assert mark(shown) == "2030-01-01T00:00:30Z"
    assert shown["metadata"]["deletionGracePeriodSeconds"] == 30
    assert shown["metadata"]["generation"] == 2
    api.patch("Pod", "p", {"status": {"phase": "Running"}}, subresource="status")
    assert api.exists("Pod", "p")
    assert api.delete("Pod", "p", grace_period_seconds=0)[1]


def test_a_second_delete_may_hurry_but_not_linger(api: Any, new_pod: Any) -> None:
    api.create(new_pod(nodeName="n"))
    api.delete("Pod", "p", grace_period_seconds=10)
    version = api.context.store.resource_version
    later = api.delete("Pod", "p", grace_period_seconds=60)[0]
    assert later["metadata"]["deletionGracePeriodSeconds"] == 10
    assert api.context.store.resource_version == version
    sooner = api.delete("Pod", "p", grace_period_seconds=2)[0]
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 2
    assert mark(sooner) == "2030-01-01T00:00:02Z"


def test_a_pod_that_ended_needs_no_grace(api: Any, new_pod: Any) -> None:
    api.create(new_pod(nodeName="n"))
    api.patch("Pod", "p", {"status": {"phase": "Succeeded"}}, subresource="status")
    assert api.delete("Pod", "p")[1]


@pytest.mark.parametrize("wrong", [{"uid": "other"}, {"resource_version": "1"}])
def test_preconditions_protect_a_successor(api: Any, new_pod: Any, wrong: Any) -> None:
    made = api.create(new_pod())
    with pytest.raises(StatusError, match="in the precondition") as refused:
        api.delete("Pod", "p", **wrong)
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    right = {"uid": made["metadata"]["uid"], "resource_version": made["metadata"]["resourceVersion"]}
    assert api.delete("Pod", "p", **right)[1]
    with pytest.raises(StatusError, match='pods "p" not found'):
        api.delete("Pod", "p", **right)


def test_finalizers_hold_an_object_and_none_are_added_late(api: Any, new_widget: Any) -> None:
    body = new_widget()
    body["metadata"]["finalizers"] = ["example.com/a", "example.com/b"]
    api.create(body)
    assert not api.delete("Widget", "w", V1)[1]
    more = {"metadata": {"finalizers": ["example.com/a", "example.com/c"]}}
    with pytest.raises(StatusError, match="no new finalizers can be added if the object is being deleted"):
        api.patch("Widget", "w", more, api_version=V1)
    api.patch("Widget", "w", {"metadata": {"finalizers": ["example.com/b"]}}, api_version=V1)
    assert api.exists("Widget", "w", V1)
    api.patch("Widget", "w", {"metadata": {"finalizers": None}}, api_version=V1)
    assert not api.exists("Widget", "w", V1)


def test_dependents_go_with_their_last_owner(api: Any, new_widget: Any, new_pod: Any) -> None:
    one, two = api.create(new_widget("one")), api.create(new_widget("two"))
    body = new_pod(owner=one)
    body["metadata"]["ownerReferences"] += [
        new_pod(owner=two)["metadata"]["ownerReferences"][0] | {"controller": False}
    ]
    api.create(body)
    api.delete("Widget", "one", V1)
    api.collect()
    assert [o["name"] for o in api.get("Pod", "p")["metadata"]["ownerReferences"]] == ["two"]
    api.delete("Widget", "two", V1)
    api.collect()
    assert not api.exists("Pod", "p")


def test_a_chain_of_owners_goes_to_its_end(api: Any, new_widget: Any, new_pod: Any) -> None:
    top = api.create(new_widget("top"))
    middle = new_widget("middle")
    middle["metadata"]["ownerReferences"] = new_pod(owner=top)["metadata"]["ownerReferences"]
    api.create(new_pod(owner=api.create(middle)))
    api.delete("Widget", "top", V1)
    api.collect()
    assert not api.exists("Widget", "middle", V1)
    assert not api.exists("Pod", "p")


def test_an_object_made_for_an_owner_that_is_gone_goes_too(api: Any, new_widget: Any, new_pod: Any) -> None:
    owner = api.create(new_widget())
    api.delete("Widget", "w", V1)
    api.create(new_pod(owner=owner))
    api.collect()
    assert not api.exists("Pod", "p")


def test_a_successor_of_the_same_name_is_another_owner(api: Any, new_widget: Any, new_pod: Any) -> None:
    api.create(new_pod(owner=api.create(new_widget())))
    api.delete("Widget", "w", V1)
    api.create(new_widget())
    api.collect()
    assert not api.exists("Pod", "p")
    assert api.exists("Widget", "w", V1)


def test_foreground_deletion_waits_for_what_blocks_it(api: Any, new_widget: Any, new_pod: Any) -> None:
    owner = api.create(new_widget())
    api.create(new_pod("slow", owner=owner, nodeName="n"))
    api.create(new_pod("quick", owner=owner))
    shown, gone = api.delete("Widget", "w", V1, propagation="Foreground")
    assert not gone
    assert shown["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.collect()
    assert not api.exists("Pod", "quick")
    assert mark(api.get("Pod", "slow"))
    assert api.exists("Widget", "w", V1)
    api.delete("Pod", "slow", grace_period_seconds=0)
    api.collect()
    assert not api.exists("Widget", "w", V1)


def test_foreground_deletion_does_not_wait_for_what_does_not_block(api: Any, new_widget: Any, new_pod: Any) -> None:
    api.create(new_pod(owner=api.create(new_widget()), blocks=False, nodeName="n"))
    api.delete("Widget", "w", V1, propagation="Foreground")
    api.collect()
    assert not api.exists("Widget", "w", V1)
    assert mark(api.get("Pod", "p"))


def test_foreground_deletion_without_dependents_ends(api: Any, new_widget: Any) -> None:
    api.create(new_widget())
    api.delete("Widget", "w", V1, propagation="Foreground")
    api.collect()
    assert not api.exists("Widget", "w", V1)


def test_orphans_stay_without_their_owner(api: Any, new_widget: Any, new_pod: Any) -> None:
    api.create(new_pod(owner=api.create(new_widget())))
    api.delete("Widget", "w", V1, propagation="Orphan")
    api.collect()
    assert not api.exists("Widget", "w", V1)
    assert "ownerReferences" not in api.get("Pod", "p")["metadata"]


def test_an_unknown_policy_is_refused(api: Any, new_widget: Any) -> None:
    api.create(new_widget())
    with pytest.raises(StatusError, match="Unsupported value"):
        api.delete("Widget", "w", V1, propagation="Sideways")


def test_a_namespace_goes_when_it_is_empty(api: Any, new_pod: Any, new_widget: Any) -> None:
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}, namespace=None)
    for body in (new_pod(nodeName="n"), new_widget()):
        body["metadata"]["namespace"] = "other"
        api.create(body, namespace="other")
    shown, gone = api.delete("Namespace", "other", namespace=None)
    assert (gone, shown["status"]["phase"]) == (False, "Terminating")
    api.collect()
    assert not api.exists("Widget", "w", V1, "other")
    assert api.exists("Pod", "p", namespace="other")
    api.delete("Pod", "p", namespace="other", grace_period_seconds=0)
    api.collect()
    assert not api.exists("Namespace", "other", namespace="")


def test_a_definition_goes_after_its_objects(api: Any, new_widget: Any) -> None:
    held = new_widget()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    api.create(held)
    name, version = "widgets.example.com", "apiextensions.k8s.io/v1"
    api.delete("CustomResourceDefinition", name, version, None)
    api.collect()
    assert mark(api.get("Widget", "w", V1))
    api.patch("Widget", "w", {"metadata": {"finalizers": None}}, api_version=V1)
    api.collect()
    assert not api.exists("CustomResourceDefinition", name, version, "")
    assert api.context.registry.of_kind(V1, "Widget") is None


def test_events_do_not_pile_up(api: Any) -> None:
    meta = {"name": "e", "namespace": "default"}
    api.create({"apiVersion": "v1", "kind": "Event", "metadata": meta, "reason": "Old"})
    api.pass_time(3599)
    api.collector.expire_events()
    assert api.exists("Event", "e")
    api.pass_time(2)
    api.collector.expire_events()
    assert not api.exists("Event", "e")


def test_the_collector_remembers_nobody_who_is_gone(api: Any, new_widget: Any, new_pod: Any) -> None:
    before = api.collector.statistics()
    for round_number in range(20):
        owner = api.create(new_widget(f"w{round_number}"))
        api.create(new_pod(f"p{round_number}", owner=owner))
        api.delete("Widget", f"w{round_number}", V1)
        api.collect()
    assert api.collector.statistics() == before


def test_the_collector_knows_what_stood_before_it(api: Any, new_pod: Any) -> None:
    namespace = api.get("Namespace", "default", namespace=None)
    api.create(new_pod(owner=namespace))
    api.collect()
    assert api.exists("Pod", "p")
