"""What a node asks a head after a break, with a link whose answers come when the test says so."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
from harness import make_config

from shoal.node.agent import NodeAgent
from shoal.node.clients import Client
from shoal.node.inquiries import IN_FLIGHT_MAX
from shoal.protocol import node_pb2
from shoal.protocol.link import HeadCallError, HeadLink, LinkEvents
from shoal.wire.reactor import Reactor


class SlowLink:
    """Takes every call, and answers it when it is told to."""

    connected = True

    def __init__(self) -> None:
        self.open: list[tuple[str, Any, Future[Any]]] = []
        self.asked: Counter[str] = Counter()
        self.most = 0

    def call(self, method: str, request: Any, timeout_seconds: float = 30.0) -> Future[Any]:
        future: Future[Any] = Future()
        self.asked[request.group_id if method == "ListPlacementGroups" else request.actor_id] += 1
        self.open.append((method, request, future))
        self.most = max(self.most, len(self.open))
        return future

    def send(self, message: node_pb2.NodeMessage) -> None:
        raise AssertionError("nothing is to be told here")


@pytest.fixture
def link() -> SlowLink:
    return SlowLink()


@pytest.fixture
def agent(short_dir: Path, link: SlowLink) -> Iterator[NodeAgent]:
    """An agent that is not started: nothing but its own state and the link."""
    reactor = Reactor()

    def make_link(_events: LinkEvents) -> HeadLink:
        return cast(HeadLink, link)

    yield NodeAgent(reactor, make_config(short_dir), make_link, lambda _reason: None)
    reactor.close()


def settle(agent: NodeAgent) -> None:
    """Let the agent hear what has come for it."""
    heard: list[None] = []
    agent.reactor.call_soon(lambda: heard.append(None))
    assert agent.reactor.run_until(lambda: bool(heard), time.monotonic() + 10)


def answer_all(agent: NodeAgent, link: SlowLink, answer: Callable[[str, Any, Future[Any]], None]) -> None:
    """Answer one question after the other until there are none."""
    while link.open:
        answer(*link.open.pop(0))
        settle(agent)


def told(group_id: str, state: str = "CREATED") -> node_pb2.PlacementGroup:
    return node_pb2.PlacementGroup(group_id=group_id, state=state, version=1)


def found(method: str, request: Any, future: Future[Any]) -> None:
    if method == "GetActor":
        future.set_result(node_pb2.GetActorReply(found=False))
    else:
        future.set_result(node_pb2.ListPlacementGroupsReply(groups=[told(request.group_id)]))


def test_after_a_break_few_questions_are_on_their_way_and_all_are_asked(agent: NodeAgent, link: SlowLink) -> None:
    names = [f"g{number}" for number in range(1_000)]
    for name in names:
        agent.groups.update(told(name))
        agent.actors.subscribe(cast(Client, None), f"of-{name}")
    agent.groups.subscribe_again(is_new_head=False)
    agent.actors._subscribers = {actor_id: set() for actor_id in agent.actors._subscribers}
    agent.actors.subscribe_again()
    assert len(link.open) == IN_FLIGHT_MAX
    answer_all(agent, link, found)
    assert link.asked == Counter([*names, *(f"of-{name}" for name in names)])
    assert link.most == IN_FLIGHT_MAX


def test_what_somebody_waits_for_is_asked_before_the_rest(agent: NodeAgent, link: SlowLink) -> None:
    for number in range(100):
        agent.groups.update(told(f"g{number}"))
    agent.groups.subscribe_again(is_new_head=False)
    agent.groups.wait(cast(Client, None), 1, ("wanted",))
    found(*link.open.pop(0))
    settle(agent)
    assert link.asked["wanted"] == 1
    assert link.asked.total() == IN_FLIGHT_MAX + 1


def test_a_second_break_asks_again_but_twice_about_nothing_that_still_waits(agent: NodeAgent, link: SlowLink) -> None:
    names = [f"g{number}" for number in range(100)]
    for name in names:
        agent.groups.update(told(name))
    agent.groups.subscribe_again(is_new_head=False)
    sent = set(link.asked)
    agent.groups.subscribe_again(is_new_head=False)
    answer_all(agent, link, found)
    assert link.asked == Counter({name: 2 if name in sent else 1 for name in names}), "the first answers may be old"


def test_a_head_that_refuses_holds_up_no_other_question(agent: NodeAgent, link: SlowLink) -> None:
    names = [f"g{number}" for number in range(3 * IN_FLIGHT_MAX)]
    for name in names:
        agent.groups.update(told(name))
    agent.groups.subscribe_again(is_new_head=False)

    def refuse(method: str, _request: Any, future: Future[Any]) -> None:
        future.set_exception(HeadCallError(method, "Unavailable", "no head"))

    answer_all(agent, link, refuse)
    assert set(link.asked) == set(names)
