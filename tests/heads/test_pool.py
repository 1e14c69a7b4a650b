import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest

from shoal.protocol import auth, head_pb2
from shoal_operator.domain.plan import Decision, SubmitJob
from shoal_operator.heads import commands
from shoal_operator.heads.link import HeadLink, LinkTimes
from shoal_operator.heads.pool import News

from .conftest import TOKEN, Head, address, wait_until

KEY = ("ml", "demo")
OTHER = ("ml", "other")
SUBMIT = SubmitJob("demo", "uid-1", "true", "", False, {}, {})


async def connected(pool, head):
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    assert not pool.pool.is_settled(KEY)
    await wait_until(lambda: pool.pool.view(KEY) is not None)
    assert pool.pool.is_settled(KEY)
    return pool.pool


async def test_nobody_is_called_before_the_pod_runs(pool, head):
    pool.pool.ensure(KEY, address(head), is_running=False, is_ready=False)
    assert len(pool.pool) == 0
    assert pool.pool.is_settled(KEY)


async def test_a_head_is_heard_before_its_pod_is_ready(pool, head):
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=False)
    assert pool.pool.is_settled(KEY), "nobody waits for one that starts"
    await wait_until(lambda: pool.pool.view(KEY) is not None)
    assert pool.news == [News.CLUSTER | News.JOBS]


async def test_the_silence_of_a_head_is_news_once_its_pod_is_ready(pool, head):
    await head.server.stop(0)
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=False)
    await wait_until(lambda: len(pool.asked_fresh) > 2)
    assert (pool.pool.problem(KEY), pool.news) == ("", [])
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    assert not pool.pool.is_settled(KEY), "what it did until now says nothing"
    await wait_until(lambda: pool.pool.is_settled(KEY))
    assert "nothing listens there" in pool.pool.problem(KEY)
    assert pool.news == [News.CLUSTER | News.JOBS]


async def test_what_the_head_says_is_news_and_a_heartbeat_is_not(pool, head):
    heads = await connected(pool, head)
    assert pool.news == [News.CLUSTER | News.JOBS]
    node = head_pb2.NodeSnapshot(node_id="n", alive=True, idle_seconds=1)
    head.snapshot.nodes.append(node)
    head.say()
    await wait_until(lambda: heads.view(KEY).nodes)
    head.snapshot.nodes[0].idle_seconds = 12
    head.say()
    await wait_until(lambda: heads.view(KEY).nodes[0].idle_seconds == 12)
    assert pool.news[1:] == [News.CLUSTER]
    head.snapshot.jobs.append(head_pb2.JobSnapshot(submission_id="j", state=head_pb2.JOB_STATE_RUNNING))
    head.say()
    await wait_until(lambda: heads.view(KEY).jobs)
    assert pool.news[2:] == [News.CLUSTER | News.JOBS], "the head is busy now"
    head.snapshot.jobs.append(head_pb2.JobSnapshot(submission_id="k", state=head_pb2.JOB_STATE_RUNNING))
    head.say()
    await wait_until(lambda: len(heads.view(KEY).jobs) == 2)
    assert pool.news[3:] == [News.JOBS]


async def test_a_broken_stream_is_data_and_heals(pool, head):
    heads = await connected(pool, head)
    await head.server.stop(0)
    await wait_until(lambda: not heads.view(KEY).reachable)
    view = heads.view(KEY)
    assert (view.incarnation, "cannot be reached" in view.unreachable_message) == ("first", True)
    head.snapshot.incarnation = "second"
    await head.serve()
    await wait_until(lambda: heads.view(KEY).reachable, seconds=10)
    assert heads.view(KEY).incarnation == "second"


async def test_a_head_that_never_answers_settles_without_a_view(pool, head):
    await head.server.stop(0)
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    await wait_until(lambda: pool.pool.is_settled(KEY))
    assert pool.pool.view(KEY) is None
    assert pool.news == [News.CLUSTER | News.JOBS]


async def test_a_refused_token_is_read_again(pool, head):
    pool.tokens = [b"an old token of the cluster", TOKEN]
    await connected(pool, head)
    assert pool.asked_fresh == [False, True]


async def test_another_cluster_of_the_same_name_starts_without_a_view(pool, head):
    heads = await connected(pool, head)
    heads.ensure(KEY, address(head, uid="another"), is_running=True, is_ready=True)
    assert heads.view(KEY) is None
    await wait_until(lambda: heads.view(KEY) is not None)


async def test_a_silent_head_is_taken_for_gone(head):
    told = []

    class Listener:
        def on_snapshot(self, snapshot):
            told.append("snapshot")
            head.silent = True

        def on_silence(self, message):
            told.append(message)

    import random

    async def open_channel(fresh):
        return auth.aio_channel(f"127.0.0.1:{head.port}", TOKEN)

    link = HeadLink(
        "here",
        open_channel,
        Listener(),
        rng=random.Random(0),
        times=LinkTimes(first_message_seconds=0.3, silence_seconds=0.3),
    )
    task = asyncio.create_task(link.run())
    await wait_until(lambda: len(told) > 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told[0] == "snapshot"
    assert told[1].startswith("the head at here says nothing; ")


async def test_a_head_of_another_release_is_said(pool, head):
    heads = await connected(pool, head)
    head.snapshot.protocol_version = 99
    head.say()
    await wait_until(lambda: not heads.view(KEY).reachable)
    assert "same release" in heads.view(KEY).unreachable_message


async def test_a_command_that_is_under_way_or_done_is_not_repeated(pool, head):
    heads = await connected(pool, head)
    head.slow = asyncio.Event()
    for _ in range(3):
        heads.submit(KEY, SUBMIT)
    await wait_until(lambda: "uid-1" in head.calls)
    heads.submit(KEY, SUBMIT)
    head.slow.set()
    before = len(pool.news)
    await wait_until(lambda: len(pool.news) > before)
    heads.submit(KEY, SUBMIT)
    heads.submit(KEY, replace(SUBMIT, submission_id="uid-2"))
    await wait_until(lambda: "uid-2" in head.calls)
    assert head.calls.count("uid-1") == 1


async def test_a_new_head_process_hears_the_command_at_once(pool, head):
    heads = await connected(pool, head)
    heads.submit(KEY, SUBMIT)
    await wait_until(lambda: "uid-1" in head.calls)
    head.snapshot.incarnation = "second"
    head.say()
    await wait_until(lambda: heads.view(KEY).incarnation == "second")
    heads.submit(KEY, SUBMIT)
    await wait_until(lambda: head.calls.count("uid-1") == 2)


async def test_a_refused_command_is_told_and_tried_again_after_a_pause(pool, head):
    heads = await connected(pool, head)
    head.refusal = grpc.StatusCode.INVALID_ARGUMENT
    heads.submit(KEY, SUBMIT)
    await wait_until(lambda: pool.failures)
    [failure] = pool.failures
    assert failure.is_final
    assert "by the test" in failure.message
    head.refusal = None
    before = len(pool.news)
    heads.submit(KEY, SUBMIT)  # too early: the pool asks for another look when the pause is over
    await wait_until(lambda: len(pool.news) > before)
    heads.submit(KEY, SUBMIT)
    await wait_until(lambda: head.calls.count("uid-1") == 2)
    assert len(pool.failures) == 1


async def test_tries_to_fetch_a_program_are_counted(pool, head):
    heads = await connected(pool, head)
    head.refusal = grpc.StatusCode.ABORTED

    async def tried(count):
        heads.submit(KEY, SUBMIT)
        await asyncio.sleep(0)
        return len(pool.failures) >= count

    for count in (1, 2, 3):
        deadline = asyncio.get_running_loop().time() + 10
        while not await tried(count):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
    assert [failure.fetches_failed for failure in pool.failures] == [1, 2, 3]
    assert not pool.failures[-1].is_final


async def test_a_dropped_head_gets_no_command_and_its_link_ends(pool, head):
    heads = await connected(pool, head)
    heads.drop(KEY)
    heads.submit(KEY, SUBMIT)
    heads.ensure(OTHER, address(head, "another"), is_running=True, is_ready=True)
    await wait_until(lambda: heads.view(OTHER) is not None)
    heads.submit(OTHER, replace(SUBMIT, submission_id="uid-2"))
    await wait_until(lambda: "uid-2" in head.calls)
    assert head.calls == ["watch", "watch", "uid-2"]
    assert heads.view(KEY) is None


async def test_closing_ends_a_command_that_hangs(pool, head):
    heads = await connected(pool, head)
    head.slow = asyncio.Event()
    heads.submit(KEY, SUBMIT)
    await wait_until(lambda: "uid-1" in head.calls)
    await asyncio.wait_for(heads.close(), 2)


async def test_commands_of_long_ago_take_no_memory(pool, head, monkeypatch):
    monkeypatch.setattr(commands, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(commands, "KEEP_SECONDS", 0.0)
    heads = await connected(pool, head)
    for number in range(20):
        before = len(pool.news)
        heads.submit(KEY, replace(SUBMIT, submission_id=f"uid-{number}"))
        await wait_until(lambda before=before: len(pool.news) > before)
    assert head.calls[-1] == "uid-19"
    assert len(heads._commands._progress) <= 2


async def test_heads_are_independent(pool, head):
    other = Head()
    await other.serve()
    heads = await connected(pool, head)
    heads.ensure(("ml", "other"), address(other), is_running=True, is_ready=True)
    await wait_until(lambda: heads.view(("ml", "other")) is not None)
    await head.server.stop(0)
    await wait_until(lambda: not heads.view(KEY).reachable)
    assert heads.view(("ml", "other")).reachable
    await other.server.stop(0)


async def stop(pool, head):
    await head.server.stop(0)


async def change_token(pool, head):
    pool.tokens = [b"another token altogether"] * 50


async def speak_another_protocol(pool, head):
    head.snapshot.protocol_version = 99


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (stop, "cannot be reached: connection refused"),
        (change_token, "does not take the cluster's token; if the Secret was changed, delete the head's pod"),
        (speak_another_protocol, "protocol"),
    ],
)
async def test_why_a_head_was_never_reached_is_known_and_told_once(pool, head, spoil, words):
    await spoil(pool, head)
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    await wait_until(lambda: words in pool.pool.problem(KEY))
    assert pool.pool.view(KEY) is None
    told, attempts = len(pool.news), len(pool.asked_fresh)
    await wait_until(lambda: len(pool.asked_fresh) >= attempts + 3)
    assert len(pool.news) == told


async def test_a_head_without_a_name_in_the_dns_says_so(pool, head):
    target = replace(address(head), target="no-such-head.invalid:7380")
    pool.pool.ensure(KEY, target, is_running=True, is_ready=True)
    await wait_until(lambda: "not known to the DNS" in pool.pool.problem(KEY), seconds=15)


async def test_a_problem_is_forgotten_when_the_head_answers(pool, head):
    await head.server.stop(0)
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    await wait_until(lambda: pool.pool.problem(KEY))
    await head.serve()
    await wait_until(lambda: pool.pool.view(KEY) is not None, seconds=10)
    assert pool.pool.problem(KEY) == ""


async def test_decisions_reach_the_log_and_wake_nobody_even_if_they_do_not(pool, head):
    when = datetime(2026, 1, 2, tzinfo=UTC)
    line = Decision("one", when, "add 3 workers", "Demand")
    pool.pool.record(KEY, [line])  # there is no head yet: lost, and nobody minds
    pool.pool.ensure(KEY, address(head), is_running=True, is_ready=True)
    await wait_until(lambda: pool.pool.view(KEY) is not None)
    told = len(pool.news)
    pool.pool.record(KEY, [line, replace(line, decision_id="two", what="drain a")])
    await wait_until(lambda: ["add 3 workers", "drain a"] in head.calls)
    head.refusal = grpc.StatusCode.UNIMPLEMENTED
    pool.pool.record(KEY, [replace(line, what="refused")])
    await wait_until(lambda: ["refused"] in head.calls)
    head.refusal = None
    pool.pool.record(KEY, [replace(line, what="taken")])
    await wait_until(lambda: ["taken"] in head.calls)
    assert (len(pool.news), pool.failures) == (told, [])
