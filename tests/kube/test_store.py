from hypothesis import given
from hypothesis import strategies as st

from shoal_operator.kube.store import ChangeType, Store, name_of

from .conftest import pod


def listening(store):
    changes = []
    store.subscribe(lambda change: changes.append((change.type, change.name[1])))
    return changes


def take_list(store, objects, *, namespace, resource_version):
    """What an informer does with a whole list."""
    for obj in objects:
        store.upsert(obj)
    names = {name_of(obj) for obj in objects}
    store.keep_only(names, namespace=namespace, resource_version=resource_version)


def test_a_list_reports_what_vanished():
    store = Store()
    changes = listening(store)
    take_list(store, [pod("a", 1), pod("b", 2)], namespace=None, resource_version="2")
    take_list(store, [pod("b", 2), pod("c", 5)], namespace=None, resource_version="9")
    assert changes == [
        (ChangeType.ADDED, "a"),
        (ChangeType.ADDED, "b"),
        (ChangeType.ADDED, "c"),
        (ChangeType.DELETED, "a"),
    ]


def test_a_list_of_one_namespace_says_nothing_about_another():
    store = Store()
    take_list(store, [pod("a", 1, namespace="x")], namespace="x", resource_version="1")
    take_list(store, [pod("a", 2, namespace="y")], namespace="y", resource_version="2")
    take_list(store, [], namespace="x", resource_version="3")
    assert store.names() == (("y", "a"),)


def test_an_object_never_gets_older():
    store = Store()
    store.upsert(pod("a", 7))
    changes = listening(store)
    store.upsert(pod("a", 6))
    store.upsert(pod("a", 7))
    take_list(store, [pod("a", 5)], namespace=None, resource_version="5")
    assert changes == []
    assert store.get("ml", "a")["metadata"]["resourceVersion"] == "7"


def test_a_list_that_is_older_than_an_event_does_not_delete_its_object():
    store = Store()
    store.upsert(pod("new", 9))
    take_list(store, [], namespace=None, resource_version="8")
    assert store.names() == (("ml", "new"),)


def test_another_object_of_the_same_name_is_another_object():
    store = Store()
    store.upsert(pod("a", 1, uid="first"))
    changes = listening(store)
    store.upsert(pod("a", 5, uid="second"))
    store.remove(pod("a", 4, uid="first"))
    assert changes == [(ChangeType.DELETED, "a"), (ChangeType.ADDED, "a")]
    assert store.get("ml", "a")["metadata"]["uid"] == "second"


def test_the_answer_to_a_write_refreshes_but_never_resurrects():
    store = Store()
    store.upsert(pod("a", 1))
    store.refresh(pod("a", 3))
    assert store.get("ml", "a")["metadata"]["resourceVersion"] == "3"
    store.remove(pod("a", 4))
    store.refresh(pod("a", 3))
    assert len(store) == 0


def test_children_are_found_by_owner_and_by_index():
    store = Store(indexers={"first": lambda obj: [obj["metadata"]["name"][0]]})
    owned = pod("a1", 1)
    owned["metadata"]["ownerReferences"] = [{"uid": "root"}]
    store.upsert(owned)
    store.upsert(pod("a2", 2))
    assert store.owned_by("root") == [owned]
    assert [obj["metadata"]["name"] for obj in store.indexed("first", "a")] == ["a1", "a2"]
    store.upsert(pod("a1", 3))
    assert store.owned_by("root") == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "delete", "relist"]), st.sampled_from("abc"), st.booleans()),
        max_size=30,
    )
)
def test_whatever_arrives_twice_or_late_the_store_ends_like_the_server(steps):
    """The server changes; its events arrive in order, but old lists and old answers come in between."""
    server, history, store = {}, [], Store()
    for version, (step, name, replay) in enumerate(steps, start=1):
        if step == "put":
            uid = server[name]["metadata"]["uid"] if name in server else f"{name}-{version}"
            server[name] = pod(name, version, uid=uid)
            store.upsert(server[name])
            history.append(server[name])
        elif step == "delete" and name in server:
            gone = server.pop(name)
            store.remove(pod(name, version, uid=gone["metadata"]["uid"]))
        else:
            take_list(store, list(server.values()), namespace=None, resource_version=str(version))
        if replay:
            for answer in history[-3:]:
                store.refresh(answer)
        assert {name: store.get(namespace, name) for namespace, name in store.names()} == server
