"""A watch without I/O: what a client that replays it ends up with, and when it is told to list again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_operator.local.apiserver import reads
from shoal_operator.local.apiserver.negotiation import View
from shoal_operator.local.apiserver.tables import duration
from shoal_operator.local.apiserver.watch import Watch

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "poll"]), st.sampled_from("abc"), st.sampled_from("xyz")),
    max_size=30,
)


def start(api: Any, labels: str = "", version: str = "", view: View | None = None) -> Watch:
    resource = api.resource("v1", "ConfigMap")
    wanted = reads.read_filter(resource, labels, "")
    watch = Watch(api.context, resource, "default", wanted, view or View(), "Metadata")
    watch.start(version)
    return watch


def events(lines: bytes) -> list[Any]:
    return [json.loads(line) for line in lines.splitlines()]


def config(name: str, label: str) -> Any:
    meta = {"name": name, "namespace": "default", "labels": {"l": label}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


def play(api: Any, action: str, name: str, label: str) -> None:
    exists = api.exists("ConfigMap", name)
    if action == "put" and exists:
        api.update(config(name, label))
    elif action == "put":
        api.create(config(name, label))
    elif action == "delete" and exists:
        api.delete("ConfigMap", name)


@pytest.mark.parametrize("labels", ["", "l in (x,y)"])
def test_whoever_replays_a_watch_holds_what_a_list_shows(make_api: Any, labels: str) -> None:
    @given(STEPS)
    def replay(steps: list[tuple[str, str, str]]) -> None:
        api = make_api()
        watch = start(api, labels)
        held: dict[str, Any] = {}

        def follow() -> None:
            while lines := watch.poll():
                for event in events(lines):
                    name = event["object"]["metadata"]["name"]
                    assert (event["type"] == "ADDED") == (name not in held)
                    if event["type"] == "DELETED":
                        del held[name]
                    else:
                        held[name] = event["object"]

        for action, name, label in steps:
            if action == "poll":
                follow()
            else:
                play(api, action, name, label)
        follow()
        resource = api.resource("v1", "ConfigMap")
        wanted = reads.read_filter(resource, labels, "")
        listed = reads.list_objects(api.context, resource, "default", wanted).items
        assert sorted(held.values(), key=lambda d: d["metadata"]["name"]) == listed

    replay()


def test_a_watch_that_falls_too_far_behind_is_told_so(make_api: Any) -> None:
    api = make_api(history_limit=10)
    watch = start(api)
    for number in range(100):
        api.create(config(f"c{number}", "x"))
    # What it begins with is what stands when it first reads, then the log has moved on.
    seen = events(watch.poll())
    while not watch.ended:
        lines = watch.poll()
        assert lines, "neither up to date nor told"
        seen += events(lines)
    assert (seen[-1]["type"], seen[-1]["object"]["code"]) == ("ERROR", 410)


def test_a_bookmark_moves_past_changes_of_other_kinds(api: Any, new_pod: Any) -> None:
    watch = start(api)
    assert watch.poll() == b""
    api.create(new_pod())
    (mark,) = events(watch.bookmark())
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["resourceVersion"] == str(api.context.store.resource_version)
    again = start(api, version=mark["object"]["metadata"]["resourceVersion"])
    api.create(config("a", "x"))
    assert [event["type"] for event in events(again.poll())] == ["ADDED"]


def test_a_table_watch_sends_its_columns_once(api: Any) -> None:
    for name in "ab":
        api.create(config(name, "x"))
    rows = events(start(api, view=View("Table", "v1")).poll())
    assert [bool(event["object"]["columnDefinitions"]) for event in rows] == [True, False]
    assert [event["object"]["rows"][0]["cells"][0] for event in rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (450, "7m30s"),
        (600, "10m"),
        (10799, "179m"),
        (11100, "3h5m"),
        (36000, "10h"),
        (172800, "2d"),
        (180000, "2d2h"),
        (864000, "10d"),
        (63072000, "2y"),
    ],
)
def test_ages_read_as_kubectl_writes_them(seconds: int, text: str) -> None:
    assert duration(seconds) == text
