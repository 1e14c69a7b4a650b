"""The store keeps one order of changes, and says so when it can no longer tell what happened since."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_operator.local.apiserver.store import HistoryLostError, Key, Store


def put(store: Store, name: str, value: int = 0, collection: str = "pods", namespace: str = "default") -> None:
    store.put(Key(collection, namespace, name), {"metadata": {"name": name}, "value": value})


def names(store: Store, namespace: str | None = None) -> list[str]:
    return [key.name for key, _ in store.scan("pods", namespace)]


def test_versions_grow_over_all_collections() -> None:
    store = Store(first_version=10)
    put(store, "a")
    put(store, "b", collection="services")
    put(store, "a", 1)
    changes = store.changes_after("pods", 10)
    assert [(change.type, change.resource_version) for change in changes] == [("ADDED", 11), ("MODIFIED", 13)]
    assert store.resource_version == 13


def test_scan_is_in_key_order_and_by_namespace() -> None:
    store = Store()
    put(store, "b")
    put(store, "a")
    put(store, "c", namespace="another")
    assert names(store) == ["c", "a", "b"]
    assert names(store, "default") == ["a", "b"]
    assert names(store, "nowhere") == []


def test_a_removed_object_carries_the_version_of_its_removal() -> None:
    store = Store()
    put(store, "a")
    last = store.remove(Key("pods", "default", "a"))
    assert last is not None
    assert last["metadata"]["resourceVersion"] == str(store.resource_version)
    assert store.remove(Key("pods", "default", "a")) is None
    assert list(store.collections()) == []


def test_history_is_bounded_and_its_loss_is_told() -> None:
    store = Store(history_limit=10)
    for number in range(100):
        put(store, "a", number)
    assert len(store.changes_after("pods", store.resource_version - 10)) == 10
    with pytest.raises(HistoryLostError) as lost:
        store.changes_after("pods", 5)
    assert lost.value.requested == 5
    assert store.changes_after("pods", lost.value.oldest)[0].resource_version == lost.value.oldest + 1


def test_versions_of_an_earlier_server_are_too_old() -> None:
    with pytest.raises(HistoryLostError):
        Store(first_version=1000).changes_after("pods", 999)


def test_a_listener_hears_changes_until_it_unsubscribes() -> None:
    store, heard = Store(), []
    stop = store.subscribe(lambda change: heard.append(change.key.name))
    put(store, "a")
    stop()
    put(store, "b")
    assert heard == ["a"]


Operation = tuple[str, str]
operations = st.lists(st.tuples(st.sampled_from(["put", "remove"]), st.sampled_from("abcd")), max_size=40)


@given(operations, operations)
def test_the_past_can_be_listed_again(before: list[Operation], after: list[Operation]) -> None:
    """What `scan_at` reconstructs is what `scan` gave at that version."""
    store = Store()

    def play(steps: list[Operation]) -> None:
        for number, (action, name) in enumerate(steps):
            if action == "put":
                put(store, name, number)
            else:
                store.remove(Key("pods", "default", name))

    play(before)
    version, seen = store.resource_version, store.scan("pods")
    play(after)
    assert store.scan_at("pods", None, version) == seen


@given(operations)
def test_the_log_leads_from_nothing_to_what_stands(steps: list[Operation]) -> None:
    """A client that replays the changes ends with what a list shows."""
    store = Store()
    for number, (action, name) in enumerate(steps):
        if action == "put":
            put(store, name, number)
        else:
            store.remove(Key("pods", "default", name))
    replayed = {}
    for change in store.changes_after("pods", 1):
        assert (change.type == "ADDED") == (change.key not in replayed)
        if change.type == "DELETED":
            del replayed[change.key]
        else:
            replayed[change.key] = change.document
    assert sorted(replayed.items(), key=lambda entry: entry[0]) == store.scan("pods")
