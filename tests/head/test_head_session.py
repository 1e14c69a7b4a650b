"""The agent's gRPC link against a real head: it waits for the head, comes back after breaks, says goodbye."""

import queue
import threading

import pytest

from shoal.head.control import ControlPlane
from shoal.node.head_backlog import Backlog
from shoal.node.head_session import HeadSession
from shoal.protocol import PROTOCOL_VERSION, head_pb2, node_pb2
from shoal.protocol.link import HeadCallError, LinkEvents


class Agent:
    """The agent's side of a link, with a thread in the place of its reactor."""

    def __init__(self, target, token, node_id="n1", amounts=None):
        self.node_id, self.live = node_id, []
        self.heard: queue.Queue = queue.Queue()
        self.states: queue.Queue = queue.Queue()
        self.refused: queue.Queue = queue.Queue()
        self._calls: queue.Queue = queue.Queue()
        self._reactor = threading.Thread(target=self._run)
        self._reactor.start()
        events = LinkEvents(self.registration, self.heard.put, self.states.put, self.refused.put)
        self.link = HeadSession(target, token, events, self._calls.put)
        self.link.start()

    def _run(self):
        while (call := self._calls.get()) is not None:
            call()

    def registration(self):
        return node_pb2.RegisterNode(
            protocol_version=PROTOCOL_VERSION,
            address=node_pb2.NodeAddress(node_id=self.node_id, ip="127.0.0.1"),
            total=head_pb2.Resources(amounts={"CPU": 20000}),
            live_actor_ids=self.live,
        )

    def hear(self, kind, seconds=5.0):
        while True:
            message = self.heard.get(timeout=seconds)
            if message.HasField(kind):
                return getattr(message, kind)

    def close(self):
        self.link.close()
        self._calls.put(None)
        self._reactor.join(5)


@pytest.fixture
def agents():
    made = []

    def make(*args, **kwargs):
        made.append(Agent(*args, **kwargs))
        return made[-1]

    yield make
    for agent in made:
        agent.close()


def report(cpus):
    resources = head_pb2.Resources(amounts={"CPU": cpus * 10000})
    return node_pb2.NodeMessage(report=node_pb2.NodeReport(available=resources))


async def test_messages_go_both_ways_and_calls_are_answered(head, agents, wait_for):
    agent = agents(head.target, head.token)
    agent.hear("welcome")
    assert agent.states.get(timeout=5) is True
    agent.link.send(report(1))
    await wait_for(lambda s: s.nodes and s.nodes[0].available.amounts["CPU"] == 10000)
    agent.link.call("Kv", node_pb2.KvRequest(operation="put", key="k", value=b"v")).result(5)
    assert agent.link.call("Kv", node_pb2.KvRequest(operation="get", key="k")).result(5).value == b"v"
    with pytest.raises(HeadCallError) as caught:
        agent.link.call("FetchPackage", node_pb2.FetchPackageRequest(hash="0" * 32)).result(5)
    assert caught.value.kind == "NotFound"
    data = bytes(3 * 1024 * 1024)
    agent.link.call("PutPackage", node_pb2.PutPackageRequest(hash="a" * 32, data=data)).result(5)
    fetched = agent.link.call("FetchPackage", node_pb2.FetchPackageRequest(hash="a" * 32)).result(5)
    assert fetched.data == data


async def test_closing_is_a_goodbye(head, agents, wait_for):
    agent = agents(head.target, head.token)
    agent.hear("welcome")
    agent.close()
    await wait_for(lambda s: [n.activity for n in s.nodes if not n.alive] == ["it was stopped"], seconds=2)


def test_a_wrong_token_is_refused_with_words(head, agents):
    agent = agents(head.target, b"some other token")
    assert "another token" in agent.refused.get(timeout=20)


async def test_it_comes_back_to_a_head_whose_server_went_away(head, agents, wait_for):
    agent = agents(head.target, head.token)
    agent.hear("welcome")
    assert agent.states.get(timeout=5) is True
    port = head.control.port
    head.control.close()
    assert agent.states.get(timeout=5) is False
    agent.link.send(report(2))
    head.control = ControlPlane(head.service, "127.0.0.1", port, head.token)
    head.control.start()
    assert agent.states.get(timeout=10) is True
    await wait_for(lambda s: len(s.nodes) == 1 and s.nodes[0].alive)
    await wait_for(lambda s: s.nodes[0].available.amounts["CPU"] == 20000)


def test_it_waits_for_a_head_that_is_not_there_yet(head, agents):
    port = head.control.port
    head.control.close()
    agent = agents(head.target, head.token)
    call = agent.link.call("ListNodes", node_pb2.ListNodesRequest())
    head.control = ControlPlane(head.service, "127.0.0.1", port, head.token)
    head.control.start()
    agent.hear("welcome")
    assert [n.node_id for n in call.result(10).nodes] in ([], ["n1"])


def test_a_call_to_an_absent_head_ends_with_its_deadline(agents):
    agent = agents("127.0.0.1:9", b"a token that nobody asks for")
    call = agent.link.call("ListNodes", node_pb2.ListNodesRequest(), timeout_seconds=0.5)
    with pytest.raises(HeadCallError) as caught:
        call.result(5)
    assert caught.value.kind == "Unavailable"


@pytest.mark.parametrize(("there", "ended"), [(2, 1), (1, 1), (1, 0), (0, 0)])
def test_a_new_head_hears_of_drivers_as_many_as_there_are(there, ended):
    """What ended while no head was there is told as an end, of something that the new head must know to have been."""
    backlog = Backlog()
    for _ in range(there):
        backlog.put(node_pb2.NodeMessage(driver_started=node_pb2.DriverStarted(job_id="j")), connected=True)
    while backlog.take(0.0):
        pass
    for _ in range(ended):
        backlog.put(node_pb2.NodeMessage(driver_exited=node_pb2.DriverExited(job_id="j")), connected=False)
    backlog.put(node_pb2.NodeMessage(driver_started=node_pb2.DriverStarted(job_id="new")), connected=False)
    register = node_pb2.RegisterNode()
    backlog.complete(register, 1.0)
    assert dict(register.drivers.count_by_job_id) == ({"j": there} if there else {})
    backlog.new_head()  # one that does not look there
    said = []
    while (message := backlog.take(2.0)) is not None:
        kind = message.WhichOneof("body")
        said.append((kind, getattr(message, kind).job_id))
    assert said == [("driver_started", "j")] * there + [("driver_exited", "j")] * ended + [("driver_started", "new")]
