"""Reference counting and the life of objects, as the owner and as a borrower see it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.objects import FAILED, INLINE, RELEASED, STORED, Free, ObjectTable, StopBorrowing

NODE_A = ("a", "127.0.0.2", 1)
NODE_B = ("b", "127.0.0.3", 1)
OWNER = ("p", "n", "", 0, "/sock")


def test_freed_when_the_last_need_ends() -> None:
    table = ObjectTable()
    entry = table.own(b"x")
    entry.local += 1
    entry.pins += 1
    table.resolve_stored(entry, 10, (NODE_A, NODE_B))
    assert table.add_borrower(b"x", "other")
    assert table.drop_local(b"x") is None
    assert table.unpin(b"x") is None
    assert table.drop_borrower(b"x", "other") == Free(b"x", (NODE_A, NODE_B))
    assert table.entries == {}
    assert not table.add_borrower(b"x", "late")


def test_a_dead_borrower_needs_nothing() -> None:
    table = ObjectTable()
    table.own(b"x")
    table.own(b"y")
    for object_id, process_id in ((b"x", "dead"), (b"y", "dead"), (b"y", "alive")):
        assert table.add_borrower(object_id, process_id)
    assert table.needed_elsewhere() == 2
    assert table.process_gone("dead") == [Free(b"x", ())]
    assert list(table.entries) == [b"y"]
    assert table.needed_elsewhere() == 1
    assert table.process_gone("alive") == [Free(b"y", ())]
    assert table.needed_elsewhere() == 0


def test_a_borrower_tells_the_owner_once() -> None:
    table = ObjectTable()
    entry, new = table.borrow(b"x", OWNER)
    assert new
    assert table.borrow(b"x", OWNER) == (entry, False)
    entry.local += 2
    assert table.drop_local(b"x") is None
    assert table.drop_local(b"x") == StopBorrowing(b"x", OWNER)
    assert table.drop_local(b"x") is None


def test_waiters_run_once_and_errors_resolve() -> None:
    table = ObjectTable()
    entry = table.own(b"x")
    calls: list[int] = []
    entry.waiters = [lambda: calls.append(1)]
    for waiter in table.resolve_failed(entry, b"error"):
        waiter()
    assert calls == [1]
    assert entry.state == FAILED
    assert table.resolve_inline(entry, b"again") == []


def test_losing_nodes_names_what_has_no_copy_left() -> None:
    table = ObjectTable()
    both, one, inline = table.own(b"both"), table.own(b"one"), table.own(b"inline")
    table.resolve_stored(both, 1, (NODE_A, NODE_B))
    table.resolve_stored(one, 1, (NODE_A,))
    table.resolve_inline(inline, b"")
    assert table.lose_node("a") == [one]
    assert list(both.nodes) == ["b"]
    assert inline.state == INLINE


def test_lineage_keeps_the_entry_and_gives_up_the_copies() -> None:
    table = ObjectTable()
    task = object()
    entry = table.own(b"x", task)
    entry.local += 1
    entry.lineage += 1
    table.resolve_stored(entry, 1, (NODE_A,))
    assert table.drop_local(b"x") == Free(b"x", (NODE_A,), None)
    assert entry.state == RELEASED
    assert table.drop_lineage(b"x") == Free(b"x", (), task)
    assert table.entries == {}


def test_put_objects_are_not_released_for_lineage() -> None:
    table = ObjectTable()
    entry = table.own(b"x")
    entry.local += 1
    entry.lineage += 1
    table.resolve_stored(entry, 1, (NODE_A,))
    assert table.drop_local(b"x") is None
    assert entry.state == STORED


EVENTS = st.lists(st.tuples(st.sampled_from(["local", "pin", "borrow"]), st.booleans()), max_size=60)


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_never_freed_early_and_never_kept(events: list[tuple[str, bool]]) -> None:
    table = ObjectTable()
    entry = table.own(b"x")
    entry.local = 1
    counts = {"local": 1, "pin": 0, "borrow": 0}
    freed = 0
    for kind, up in events:
        if not up and counts[kind] == 0:
            continue
        if up and b"x" not in table.entries:
            break
        counts[kind] += 1 if up else -1
        if up:
            if kind == "local":
                entry.local += 1
            elif kind == "pin":
                entry.pins += 1
            else:
                counts["borrow"] = 1
                table.add_borrower(b"x", "b")
        else:
            drop = {"local": lambda: table.drop_local(b"x"), "pin": lambda: table.unpin(b"x")}
            effect = drop[kind]() if kind in drop else table.drop_borrower(b"x", "b")
            freed += isinstance(effect, Free)
        assert (b"x" in table.entries) == any(counts.values())
    assert freed == (0 if any(counts.values()) else 1)
