"""The queue of one shape: tables for single decisions, and a random world in which every task has to be run."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.submission import (
    LINGER_SECONDS,
    RECLAIM_SECONDS,
    REQUESTS_MAX,
    Instruction,
    Push,
    Reclaim,
    RequestLease,
    ReturnLease,
    ShapeQueue,
    UpdateBacklog,
)


def tasks(count: int) -> list[bytes]:
    return [bytes([number]) for number in range(count)]


def submit_all(queue: ShapeQueue, items: list[bytes]) -> list[Instruction]:
    return [instruction for item in items for instruction in queue.submit(item, 0.0)]


def test_backlogs_add_up_to_what_waits() -> None:
    queue = ShapeQueue()
    told = {}
    for instruction in [*submit_all(queue, tasks(100)), *queue.tick(0.0)]:
        assert isinstance(instruction, RequestLease | UpdateBacklog)
        told[instruction.request] = instruction.backlog
    assert len(told) == REQUESTS_MAX
    assert sum(told.values()) == 100


def test_unknown_tasks_go_one_to_a_worker() -> None:
    queue = ShapeQueue()
    submit_all(queue, tasks(4))
    pushes = queue.lease_granted(1, "a", 0.0) + queue.lease_granted(2, "b", 0.0)
    assert [p for p in pushes if isinstance(p, Push)] == [Push("a", (b"\0",)), Push("b", (b"\1",))]


def test_short_tasks_are_pipelined_and_shared_fairly() -> None:
    queue = ShapeQueue()
    submit_all(queue, tasks(41))
    queue.lease_granted(1, "a", 0.0)
    queue.lease_granted(2, "b", 0.0)
    out = queue.finished("a", b"\0", 0.00001, 0.001)
    pushed = {p.lease_id: len(p.tasks) for p in out if isinstance(p, Push)}
    assert pushed == {"a": 20, "b": 19}


def test_long_tasks_are_not_pipelined() -> None:
    queue = ShapeQueue()
    submit_all(queue, tasks(5))
    queue.lease_granted(1, "a", 0.0)
    out = queue.finished("a", b"\0", 0.5, 0.5)
    assert [p.tasks for p in out if isinstance(p, Push)] == [(b"\1",)]


def test_what_waits_behind_a_long_task_comes_back() -> None:
    queue = ShapeQueue()
    submit_all(queue, tasks(4))
    queue.lease_granted(1, "a", 0.0)
    queue.finished("a", b"\0", 0.0, 0.0)  # short so far: the rest was pushed at once
    assert Reclaim("a") in queue.tick(RECLAIM_SECONDS)
    assert Reclaim("a") not in queue.tick(RECLAIM_SECONDS * 2)
    out = queue.given_back("a", [b"\2", b"\3"], RECLAIM_SECONDS * 2)
    assert list(queue.waiting) == [b"\2", b"\3"]
    assert [p for p in out if isinstance(p, Push)] == []


def test_an_idle_lease_lingers_and_goes_back() -> None:
    queue = ShapeQueue()
    queue.submit(b"t", 0.0)
    queue.lease_granted(1, "a", 0.0)
    queue.finished("a", b"t", 0.001, 1.0)
    assert queue.tick(1.0 + LINGER_SECONDS / 2) == []
    assert queue.tick(1.0 + LINGER_SECONDS) == [ReturnLease("a")]
    assert queue.idle


def test_surplus_requests_are_cancelled() -> None:
    queue = ShapeQueue()
    submit_all(queue, tasks(3))
    queue.lease_granted(1, "a", 0.0)
    queue.finished("a", b"\0", 0.00001, 0.0)
    cancelled = [i.request for i in queue.tick(0.001) if isinstance(i, UpdateBacklog) and i.backlog == 0]
    assert sorted(cancelled) == [2, 3]


def test_a_lost_worker_names_the_running_task_first() -> None:
    queue = ShapeQueue()
    submit_all(queue, tasks(4))
    queue.lease_granted(1, "a", 0.0)
    queue.finished("a", b"\0", 0.00001, 0.0)
    assert queue.lease_lost("a") == [b"\1", b"\2", b"\3"]
    assert queue.lease_lost("a") == []


class World:
    """Agents and workers played by hypothesis: grants, refusals, losses, finished and given back tasks."""

    def __init__(self) -> None:
        self.queue = ShapeQueue()
        self.now = 0.0
        self.requests: list[int] = []
        self.leases: dict[str, list[bytes]] = {}
        self.done: list[bytes] = []
        self.next_lease = 0

    def carry_out(self, instructions: list[Instruction]) -> None:
        for item in instructions:
            if isinstance(item, RequestLease):
                self.requests.append(item.request)
            elif isinstance(item, UpdateBacklog) and item.backlog == 0:
                self.requests.remove(item.request)
                self.carry_out(self.queue.request_ended(item.request, self.now))
            elif isinstance(item, Push):
                self.leases[item.lease_id].extend(item.tasks)
            elif isinstance(item, ReturnLease):
                assert self.leases.pop(item.lease_id) == []
            elif isinstance(item, Reclaim):
                kept, back = self.leases[item.lease_id][:1], self.leases[item.lease_id][1:]
                self.leases[item.lease_id] = kept
                self.carry_out(self.queue.given_back(item.lease_id, back, self.now))

    def grant(self) -> None:
        if self.requests:
            self.next_lease += 1
            lease = f"l{self.next_lease}"
            self.leases[lease] = []
            self.carry_out(self.queue.lease_granted(self.requests.pop(0), lease, self.now))

    def refuse(self) -> None:
        if self.requests:
            self.carry_out(self.queue.request_ended(self.requests.pop(), self.now))

    def finish(self, seconds: float) -> None:
        for lease, running in list(self.leases.items()):
            if running:
                task = running.pop(0)
                self.done.append(task)
                self.carry_out(self.queue.finished(lease, task, seconds, self.now))
                return

    def lose(self) -> None:
        for lease in list(self.leases)[:1]:
            del self.leases[lease]
            self.carry_out(self.queue.resubmit(self.queue.lease_lost(lease), self.now))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["submit", "grant", "refuse", "fast", "slow", "lose", "tick"]), max_size=120))
def test_every_task_runs_whatever_happens(script: list[str]) -> None:
    world = World()
    submitted = []
    for step in script:
        world.now += 0.01
        if step == "submit":
            submitted.append(len(submitted).to_bytes(2, "big"))
            world.carry_out(world.queue.submit(submitted[-1], world.now))
        elif step in ("fast", "slow"):
            world.finish(0.00001 if step == "fast" else 1.0)
        elif step == "tick":
            world.carry_out(world.queue.tick(world.now))
        else:
            getattr(world, step)()
        places = [*world.queue.waiting, *(task for running in world.leases.values() for task in running), *world.done]
        assert sorted(places) == submitted
    for _ in range(2000):
        world.now += 0.1
        world.grant()
        world.finish(0.001)
        world.carry_out(world.queue.tick(world.now))
        if world.queue.idle:
            break
    assert sorted(world.done) == submitted
    assert world.queue.idle
