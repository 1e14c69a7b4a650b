"""The pure machines of the head, in tables: members, actors, placement, demand, jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core import jobs as jobs_core
from shoal.core.actor_placement import Candidate, choose, explain
from shoal.core.actors import ActorSpec, ActorTable, Publish, Start, Stop
from shoal.core.demand import NodeDemand, aggregate
from shoal.core.jobs import JobSpec, JobTable, last_lines
from shoal.core.membership import DEAD_KEPT_SECONDS, Membership, MembershipError, NodeInfo, NodeStatus
from shoal.resources import ResourceSet

ONE = ResourceSet.from_units({"CPU": 1})
NOTHING = ResourceSet()


def cpus(count):
    return ResourceSet.from_units({"CPU": count})


def node(node_id, total=4.0, free=None, actors=0):
    return Candidate(node_id, cpus(total), cpus(total if free is None else free), actors)


class TestMembership:
    def test_grace_then_death_and_no_way_back(self):
        members = Membership(grace_seconds=10)
        first = members.register(NodeInfo("n", "ip", 1, ONE), 0)
        assert members.session_broke("n", first.session, 5)
        assert (first.takes_work, first.alive) == (False, True)
        assert members.next_deadline() == 15
        assert members.expire(14.9) == []
        assert members.expire(15) == ["n"]
        with pytest.raises(MembershipError, match="declared dead"):
            members.register(NodeInfo("n", "ip", 1, ONE), 16)

    def test_a_node_that_comes_back_in_time_stays(self):
        members = Membership(grace_seconds=10)
        session = members.register(NodeInfo("n", "ip", 1, ONE), 0).session
        members.session_broke("n", session, 5)
        members.register(NodeInfo("n", "ip", 1, ONE), 14)
        assert members.expire(100) == []

    def test_the_old_session_has_no_say(self):
        members = Membership()
        old = members.register(NodeInfo("n", "ip", 1, ONE), 0).session
        members.register(NodeInfo("n", "ip", 1, ONE), 1)
        assert not members.report("n", old, NodeStatus(ONE), 2)
        assert not members.session_broke("n", old, 2)
        assert not members.left("n", old, "bye", 2)
        assert members.alive()[0].takes_work

    def test_idle_time_grows_between_reports_and_stops_when_lost(self):
        members = Membership()
        member = members.register(NodeInfo("n", "ip", 1, ONE), 0)
        assert member.idle_seconds(5) == 0
        members.report("n", member.session, NodeStatus(ONE, idle_seconds=3), 10)
        assert member.idle_seconds(14) == 7
        members.session_broke("n", member.session, 15)
        assert member.idle_seconds(16) == 0

    def test_who_says_nothing_for_too_long_is_lost_like_a_broken_connection(self):
        members = Membership(grace_seconds=10, silence_seconds=30)
        first = members.register(NodeInfo("n", "ip", 1, ONE), 0)
        assert members.reports_every_seconds(first.info) == 5
        assert members.next_deadline() == 30
        assert members.heard("n", first.session, 25) is first
        assert members.fall_silent(30) == []
        assert members.next_deadline() == 55
        assert members.fall_silent(54.9) == []
        assert members.fall_silent(55.1) == [first]
        assert (first.takes_work, first.alive) == (False, True)
        assert not members.session_broke("n", first.session, 60)  # the session that the head ended: not once more
        assert members.fall_silent(60) == []
        assert members.next_deadline() == 65.1
        assert members.expire(65.1) == ["n"]
        assert first.reason == "it said nothing for 30 s and did not come back within 10 s"
        assert members.heard("n", first.session, 66) is None
        with pytest.raises(MembershipError, match="start it again"):
            members.register(NodeInfo("n", "ip", 1, ONE), 66)

    def test_a_silent_node_that_comes_back_in_time_stays(self):
        members = Membership(grace_seconds=10, silence_seconds=30)
        first = members.register(NodeInfo("n", "ip", 1, ONE), 0)
        old = first.session
        assert members.fall_silent(30) == [first]
        assert members.register(NodeInfo("n", "ip", 1, ONE), 39) is first
        assert first.takes_work
        assert members.heard("n", old, 40) is None
        assert (members.expire(60), members.fall_silent(68.9)) == ([], [])
        assert members.fall_silent(69) == [first]
        assert members.session_broke("n", first.session, 70) is None

    def test_a_head_that_stood_still_itself_calls_nobody_silent(self):
        members = Membership(silence_seconds=30)
        members.register(NodeInfo("n", "ip", 1, ONE), 0)
        assert members.next_deadline() == 30
        assert members.fall_silent(100) == []
        assert members.next_deadline() == 130
        assert [m.info.node_id for m in members.fall_silent(130)] == ["n"]

    def test_silence_says_nothing_about_the_heads_own_node_or_one_that_is_awaited(self):
        members = Membership(silence_seconds=30)
        head = members.register(NodeInfo("h", "ip", 1, ONE, is_head=True), 0)
        members.restore(NodeInfo("n", "ip", 1, ONE), 0)
        assert members.reports_every_seconds(head.info) == 0
        assert members.fall_silent(1000) == []

    def test_what_only_goes_on_is_no_news_however_late_reports_come(self):
        members = Membership()
        member = members.register(NodeInfo("n", "ip", 1, ONE), 0)
        members.report("n", member.session, NodeStatus(ONE, idle_seconds=20), 10)
        assert member.goes_on(NodeStatus(ONE, idle_seconds=25), 18)
        assert member.goes_on(NodeStatus(ONE, idle_seconds=8), 18)
        assert not member.goes_on(NodeStatus(ONE, idle_seconds=7), 18)  # it was busy meanwhile
        assert not member.goes_on(NodeStatus(ONE), 18)
        assert not member.goes_on(NodeStatus(NOTHING, idle_seconds=28), 18)
        members.report("n", member.session, NodeStatus(NOTHING), 20)
        assert member.goes_on(NodeStatus(NOTHING), 25)
        assert not member.goes_on(NodeStatus(NOTHING, idle_seconds=0.1), 25)

    @pytest.mark.parametrize("first_breaks", [True, False], ids=["broken, then joined", "joined, then broken"])
    def test_a_node_whose_pod_runs_a_newer_one_has_no_grace(self, first_breaks):
        members = Membership(grace_seconds=10)
        old, new = (NodeInfo(node_id, "ip", 1, ONE, pod_name="demo-small-0") for node_id in ("old", "new"))
        other = members.register(NodeInfo("other", "ip", 1, ONE, pod_name="demo-small-1"), 0)
        session = members.register(old, 0).session
        steps = [lambda: members.session_broke("old", session, 5), lambda: members.register(new, 5)]
        steps[not first_breaks]()
        assert members.expire(5) == []
        steps[first_breaks]()
        members.session_broke("other", other.session, 5)
        assert members.next_deadline() == 5
        assert members.expire(5) == ["old"]
        assert members.get("old").reason == "its connection broke and its pod runs node new now"
        members.session_broke("new", members.get("new").session, 6)
        assert members.expire(14.9) == []
        assert sorted(members.expire(16)) == ["new", "other"]

    def test_nodes_without_a_pod_have_their_grace(self):
        members = Membership(grace_seconds=10)
        session = members.register(NodeInfo("old", "ip", 1, ONE), 0).session
        members.session_broke("old", session, 5)
        members.register(NodeInfo("new", "ip", 1, ONE), 6)
        assert members.expire(14.9) == []

    def test_the_pod_of_an_awaited_node_may_run_another_one_since(self):
        members = Membership(grace_seconds=10)
        members.restore(NodeInfo("old", "ip", 1, ONE, pod_name="demo-small-0"), 0)
        assert members.expire(1) == []
        members.register(NodeInfo("new", "ip", 1, ONE, pod_name="demo-small-0"), 2)
        assert members.expire(2) == ["old"]
        assert not members.awaiting()

    def test_limits(self):
        members = Membership(max_sessions=1)
        session = members.register(NodeInfo("a", "ip", 1, ONE), 0).session
        with pytest.raises(MembershipError, match="1 nodes already"):
            members.register(NodeInfo("b", "ip", 1, ONE), 0)
        members.left("a", session, "bye", 1)
        members.register(NodeInfo("b", "ip", 1, ONE), 2)
        members.expire(1 + DEAD_KEPT_SECONDS)
        assert [m.info.node_id for m in members] == ["b"]


class TestPlacement:
    def test_the_owners_node_wins_a_tie(self):
        assert choose(ONE, [node("a"), node("b")], prefer="b") == "b"

    def test_packs_up_to_half_then_takes_the_emptier(self):
        assert choose(ONE, [node("a", 4, 3), node("b", 4, 4)]) == "a"
        assert choose(ONE, [node("a", 4, 2), node("b", 4, 4)]) == "b"

    def test_full_or_small_nodes_are_never_chosen(self):
        assert choose(cpus(2), [node("a", 4, 1), node("b", 1)]) is None
        assert "busy" in explain(cpus(2), [node("a", 4, 1), node("b", 1)])
        assert "large enough" in explain(cpus(9), [node("a")])
        assert "no node" in explain(ONE, [])

    def test_an_actor_that_needs_nothing_goes_where_few_are(self):
        assert choose(NOTHING, [node("a", 0, actors=2), node("b", 1, actors=1)]) == "b"


def spec(actor_id="a", **fields):
    return ActorSpec(actor_id, "job", placement=fields.pop("placement", ONE), **fields)


def placed(table, *nodes, now=0.0):
    return [(i.node_id, i.spec.actor_id) for i in table.place(list(nodes), now) if isinstance(i, Start)]


class TestActors:
    def test_pending_until_a_node_fits_then_alive(self):
        table = ActorTable()
        assert table.create(spec(class_name="Counter")) == ""
        assert placed(table, node("n", 4, 0)) == []
        assert table.demands() == [NodeDemand(ONE, 1, "actor", (), ("Counter",))]
        assert placed(table, node("n")) == [("n", "a")]
        assert table.demands() == []
        assert table.started("n", "a", b"address") == [Publish("a")]
        assert (table.get("a").state, table.get("a").worker) == ("ALIVE", b"address")

    def test_names_are_unique_until_death(self):
        table = ActorTable()
        table.create(spec("a", name="x", namespace="ns"))
        assert "'x' is taken in namespace 'ns'" in table.create(spec("b", name="x", namespace="ns"))
        assert table.create(spec("c", name="x", namespace="other")) == ""
        assert table.create(spec("a", name="x", namespace="ns")) == ""
        table.kill("a", no_restart=True)
        assert table.find("x", "ns") is None
        assert table.create(spec("b", name="x", namespace="ns")) == ""

    @pytest.mark.parametrize(
        ("max_restarts", "reason", "state"),
        [
            (0, "WorkerDied", "DEAD"),
            (1, "WorkerDied", "RESTARTING"),
            (-1, "NodeDied", "RESTARTING"),
            (5, "CreationTaskFailed", "DEAD"),
            (5, "Exited", "DEAD"),
            (5, "Killed", "DEAD"),
        ],
    )
    def test_what_brings_an_actor_back(self, max_restarts, reason, state):
        table = ActorTable()
        table.create(spec(max_restarts=max_restarts))
        placed(table, node("n"))
        table.started("n", "a", b"address")
        assert table.failed("n", "a", reason, "words", b"error", 1) == [Publish("a")]
        actor = table.get("a")
        assert (actor.state, actor.worker, actor.reason) == (state, b"", reason)
        assert placed(table, node("m")) == ([("m", "a")] if state == "RESTARTING" else [])

    def test_restarts_run_out(self):
        table = ActorTable()
        table.create(spec(max_restarts=2))
        for restarts in (1, 2):
            placed(table, node("n"))
            table.started("n", "a", b"")
            table.failed("n", "a", "WorkerDied", "", b"", 0)
            assert (table.get("a").state, table.get("a").restarts) == ("RESTARTING", restarts)
        placed(table, node("n"))
        table.failed("n", "a", "WorkerDied", "", b"", 0)
        assert table.get("a").state == "DEAD"

    def test_a_node_without_room_costs_no_restart(self):
        table = ActorTable()
        table.create(spec())
        placed(table, node("n"))
        assert table.failed("n", "a", "NoResources", "", b"", 1.0) == []
        assert placed(table, node("n"), now=1.1) == []
        assert table.next_deadline(1.1) == pytest.approx(1.2)
        assert placed(table, node("n"), now=1.3) == [("n", "a")]

    def test_a_bundle_that_had_no_room_a_moment_ago_goes_to_who_waited_first(self):
        table = ActorTable()

        def find(_spec, held, _refusals):
            return None if held else (0, "n")

        def started(now):
            return [instruction.spec.actor_id for instruction in table.place_in_bundles(find, now)]

        table.create(spec("first", group_id="g"))
        assert started(0.0) == ["first"]
        table.failed("n", "first", "NoResources", "", b"", 0.1)
        table.create(spec("second", group_id="g"))
        table.create(spec("other", group_id="h"))
        assert started(0.2) == ["other"]
        assert started(0.4) == ["first"]

    def test_scope_and_owner(self):
        table = ActorTable()
        table.create(spec("plain"))
        table.create(spec("kept", detached=True))
        placed(table, node("n"))
        assert table.scope_ended("plain", "OutOfScope") == [Stop("n", "plain", "OutOfScope", False), Publish("plain")]
        assert table.scope_ended("kept", "OwnerDied") == []
        assert table.job_ended("job") == []
        assert table.kill("kept", no_restart=True) == [Stop("n", "kept", "Killed", True), Publish("kept")]

    def test_kill_with_restart_waits_for_the_node_to_say_so(self):
        table = ActorTable()
        table.create(spec(max_restarts=1))
        placed(table, node("n"))
        table.started("n", "a", b"x")
        assert table.kill("a", no_restart=False) == [Stop("n", "a", "Killed", True)]
        table.failed("n", "a", "Killed", "", b"", 0)
        assert table.get("a").state == "RESTARTING"

    def test_a_node_dies_with_its_actors_and_its_owners(self):
        table = ActorTable()
        table.create(spec("there", max_restarts=-1))
        table.create(spec("elsewhere", owner_node_id="n"))
        table.create(spec("detached", owner_node_id="n", detached=True))
        placed(table, node("n", 1), node("m", 4, 0))
        placed(table, node("m"))
        instructions = table.node_died("n", "words", 0)
        assert table.get("there").state == "RESTARTING"
        assert table.get("elsewhere").reason == "OwnerDied"
        assert Stop("m", "elsewhere", "OwnerDied", True) in instructions
        assert table.get("detached").state == "PENDING"

    def test_a_reconnect_makes_up_for_what_was_lost(self):
        table = ActorTable()
        for name in ("alive", "gone", "unstarted"):
            table.create(spec(name))
        placed(table, node("n"))
        table.started("n", "alive", b"1")
        table.started("n", "gone", b"2")
        instructions = table.node_registered("n", ["alive", "stray"], 0)
        assert Stop("n", "stray", "Killed", True) in instructions
        assert table.get("alive").state == "ALIVE"
        assert table.get("gone").state == "DEAD"
        assert [a.spec.actor_id for a in table.waiting()] == ["unstarted"]

    def test_what_is_promised_until_the_nodes_report_shows_it(self):
        table = ActorTable()
        table.create(spec("a", resources=cpus(2), placement=cpus(3)))
        placed(table, node("n"), now=10)
        assert table.promised("n", 10.1) == cpus(3)
        assert table.promised("n", 11) == ONE
        table.started("n", "a", b"")
        assert table.promised("n", 11) == NOTHING

    def test_the_dead_are_bounded(self):
        table = ActorTable(max_dead=2)
        for i in range(4):
            table.create(spec(str(i)))
            table.kill(str(i), no_restart=True)
        assert [table.get(str(i)) is not None for i in range(4)] == [False, False, True, True]

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["create", "place", "start", "fail", "lose", "back", "kill", "scope"]),
                st.sampled_from("ab"),
            )
        )
    )
    def test_dead_is_final_and_one_node_at_a_time(self, events):
        table, dead = ActorTable(), set()
        for event, name in events:
            actor = table.get(name)
            where = actor.node_id if actor else ""
            if event == "create":
                table.create(spec(name, max_restarts=1, name=name))
            elif event == "place":
                table.place([node("n"), node("m")], 0)
            elif event == "start":
                table.started(where, name, b"x")
            elif event == "fail":
                table.failed(where, name, "WorkerDied", "", b"", 0)
            elif event == "lose":
                table.node_died("n", "", 0)
            elif event == "back":
                table.node_registered("n", [name], 0)
            elif event == "kill":
                table.kill(name, no_restart=False)
            else:
                table.scope_ended(name, "OutOfScope")
            for each in "ab":
                actor = table.get(each)
                if actor is None:
                    continue
                if each in dead:
                    assert actor.state == "DEAD"
                dead |= {each} if actor.state == "DEAD" else set()
                assert actor.waits == (actor in table.waiting())
                assert (actor in table.on_node(actor.node_id)) == bool(actor.node_id)
                assert actor.state != "ALIVE" or actor.node_id


class TestDemand:
    def test_sums_by_shape_kind_and_selector(self):
        demands = [
            NodeDemand(ONE, 2, examples=("f",)),
            NodeDemand(ONE, 3, examples=("g", "f")),
            NodeDemand(ONE, 1, kind="actor"),
            NodeDemand(ONE, 1, label_selector=(("zone", "a"),)),
            NodeDemand(cpus(2), 0),
        ]
        summed = aggregate(demands)
        assert [(d.count, d.kind) for d in summed] == [(5, "task"), (1, "actor"), (1, "task")]
        assert summed[0].examples == ("f", "g")

    def test_bounded_with_the_rest_in_one_entry(self):
        summed = aggregate([NodeDemand(cpus(i + 1), i + 1) for i in range(1500)])
        assert len(summed) == 1001
        assert (summed[-1].kind, summed[-1].count) == ("other", sum(range(1, 501)))
        assert summed[-1].examples == ("shapes beyond the first 1000",)
        again = aggregate([*summed, NodeDemand(cpus(2000), 1)])
        assert len(again) == 1001
        assert (again[-1].kind, again[-1].count) == ("other", summed[-1].count + 1)


class TestJobs:
    def test_submitted_twice_is_one_job(self):
        """Whatever checked before: two submissions may come at once, and the table is what decides."""
        table = JobTable()
        first, created = table.submit(JobSpec("uid-1", "id", "true"))
        again, created_again = table.submit(JobSpec("uid-1", "another id", "true"))
        assert (created, created_again) == (True, False)
        assert again is first
        assert table.by_job_id("another id") is None

    def test_terminal_is_final_and_bounded(self):
        table = JobTable(max_terminal=2)
        for i in range(3):
            table.submit(JobSpec(str(i), f"id{i}", "true"))
            table.started(str(i), 1.0)
            table.exited(str(i), i, 2.0)
        assert [job.spec.submission_id for job in table] == ["1", "2"]
        assert table.by_job_id("id0") is None
        assert not table.exited("2", 0, 3.0)
        assert table.get("2").state == "FAILED"

    def test_counts_are_summed_over_nodes(self):
        table = JobTable()
        table.submit(JobSpec("s", "id", "true"))
        assert table.counted("id", "n1", (3, 2, 1))
        assert not table.counted("id", "n1", (3, 2, 1))
        table.counted("id", "n2", (10, 10, 0))
        assert table.get("s").totals() == (13, 12, 1)

    def test_a_persons_reason_becomes_a_condition(self):
        table = JobTable()
        table.submit(JobSpec("s", "id", "true"))
        table.started("s", 1)
        table.stop_requested("s", "because I can")
        table.exited("s", 143, 2)
        assert (table.get("s").state, table.get("s").reason) == ("STOPPED", "StoppedByRequest")

    def test_last_lines(self):
        assert last_lines(b"one\ntwo\nthree\n", 9) == "three\n"
        assert last_lines(b"x" * 20, 5) == "xxxxx"
        assert last_lines("é".encode() * 10, 5) == "éé"
        assert last_lines(b"\xff\x00ok") == "\ufffd\ufffdok"

    @given(st.binary(max_size=300), st.integers(4, 50))
    def test_a_tail_is_short_valid_text(self, data, limit):
        assert len(last_lines(data, limit).encode()) <= limit

    @given(st.lists(st.binary(max_size=6000), max_size=10))
    def test_a_jobs_tail_is_the_end_of_what_it_wrote(self, parts):
        table = JobTable()
        job, _ = table.submit(JobSpec("s", "id", "true"))
        for part in parts:
            table.wrote("s", part)
        tail = job.output_tail()
        assert len(tail.encode()) <= jobs_core.TAIL_BYTES
        assert b"".join(parts).decode("utf-8", "replace").replace("\0", "\ufffd").endswith(tail.lstrip("\ufffd"))
