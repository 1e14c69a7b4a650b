"""When the probes fail: a watch that went silent, a worker or a loop that hangs, a lease that is over."""

import asyncio
import contextlib
import random
import threading

import aiohttp
import pytest

from shoal_operator.control.clock import ManualClock
from shoal_operator.control.workqueue import WorkQueue
from shoal_operator.exposure import health_pages
from shoal_operator.kube.informer import Informer, Selection
from shoal_operator.kube.resources import PODS, SERVICES
from shoal_operator.kube.store import Store
from shoal_operator.telemetry.health import HANGING_SECONDS_MAX, LEASE_OVER_SECONDS_MAX, SILENCE_SECONDS_MAX, Health
from shoal_operator.telemetry.metrics import Metrics
from shoal_operator.telemetry.server import MetricsTokenError, Page, read_token, serve_pages

from .conftest import bookmark, pod, pod_list, status, wait_until, watch


def informer(client, metrics, clock, resource=PODS):
    return Informer(client, Selection(resource), Store(), clock=clock, rng=random.Random(0), metrics=metrics)


@contextlib.asynccontextmanager
async def following(*informers):
    tasks = [asyncio.create_task(each.run()) for each in informers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def health(*informers, hanging=None, lease_over=lambda: None):
    return Health(informers, hanging or {}, lease_over)


async def test_a_stalled_watch_fails_the_probe_and_a_word_mends_it(api, client, metrics):
    """The connection is open, and nothing comes: no event, no bookmark."""
    clock, speak = ManualClock(), asyncio.Event()

    async def stalled(request):
        response = await watch(("ADDED", pod("a", 2)), then="close")(request)
        await speak.wait()
        return response

    api.on("GET", "/api/v1/pods", pod_list(1))
    api.on("WATCH", "/api/v1/pods", stalled, watch(bookmark(9), then="silence"))
    pods = informer(client, metrics, clock)
    verdict = health(pods)
    async with following(pods):
        await wait_until(lambda: api.seen("WATCH", "/api/v1/pods"))
        clock.advance(SILENCE_SECONDS_MAX)
        await asyncio.sleep(0.05)
        assert verdict.problem() is None
        clock.advance(1)
        assert verdict.problem() == f"no word about pods for {SILENCE_SECONDS_MAX + 1:.0f} s"
        assert verdict.unready() == verdict.problem()
        speak.set()
        await wait_until(lambda: verdict.problem() is None)


async def test_ready_is_who_has_listed_everything(api, client, metrics):
    clock, answer = ManualClock(), asyncio.Event()

    async def later(request):
        await answer.wait()
        return aiohttp.web.json_response(pod_list(1)[1])

    api.on("GET", "/api/v1/pods", pod_list(1))
    api.on("GET", "/api/v1/services", later)
    for path in ("/api/v1/pods", "/api/v1/services"):
        api.on("WATCH", path, watch(then="silence"))
    informers = (informer(client, metrics, clock), informer(client, metrics, clock, SERVICES))
    verdict = health(*informers)
    assert verdict.unready() == "not listed yet: pods, services"
    async with following(*informers):
        await wait_until(lambda: informers[0].is_synced)
        assert verdict.unready() == "not listed yet: services"
        assert verdict.problem() is None
        answer.set()
        await wait_until(lambda: verdict.unready() is None)


@pytest.mark.parametrize("code", [403, 404])
async def test_a_missing_right_or_definition_is_not_cured_by_another_start(api, client, metrics, code):
    clock = ManualClock()
    api.on("GET", "/api/v1/pods", status(code, "No"))
    pods = informer(client, metrics, clock)
    verdict = health(pods)
    async with following(pods):
        for _ in range(2):
            seen = len(api.requests)
            clock.advance(SILENCE_SECONDS_MAX / 2 + 10)
            await wait_until(lambda seen=seen: len(api.requests) >= seen + 2)
        assert verdict.problem() is None
        assert verdict.unready() is not None


async def test_a_worker_that_hangs_fails_the_probe(monkeypatch):
    queue, now = WorkQueue(), [100.0]
    monkeypatch.setattr(WorkQueue, "_now", lambda self: now[0])
    queue.add("key")
    await queue.get()
    verdict = health(hanging={"computecluster": queue.longest_running_seconds})
    now[0] += HANGING_SECONDS_MAX
    assert verdict.problem() is None
    now[0] += 1
    assert verdict.problem() == "a worker of computecluster hangs for 301 s"
    queue.done("key")
    assert verdict.problem() is None


def test_a_leader_that_stays_after_its_lease_fails_the_probe():
    over = [-3.0]
    verdict = health(lease_over=lambda: over[0])
    assert verdict.problem() is None
    over[0] = LEASE_OVER_SECONDS_MAX + 1
    assert "the lease is over for 6 s" in verdict.problem()


@pytest.mark.leaks("sockets", reason="the loop that hangs is closed with a probe that gave up")
def test_a_loop_that_hangs_answers_no_probe(unused_tcp_port):
    import urllib.request

    started, hang, hangs, stop = (threading.Event() for _ in range(4))

    async def run():
        pages = {"/healthz": lambda: Page("200 OK", b"ok\n")}
        async with await serve_pages("127.0.0.1", unused_tcp_port, pages):
            started.set()
            while not stop.is_set():
                await asyncio.sleep(0.005)
                if hang.is_set():
                    hangs.set()
                    stop.wait(5)

    def probe(seconds):
        with urllib.request.urlopen(f"http://127.0.0.1:{unused_tcp_port}/healthz", timeout=seconds) as answer:
            return answer.status

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert started.wait(5)
        assert probe(5) == 200
        hang.set()
        assert hangs.wait(5)
        with pytest.raises(OSError, match="timed out"):
            probe(0.3)
    finally:
        stop.set()
        thread.join()


async def test_only_the_numbers_ask_for_the_token(unused_tcp_port):
    pages = health_pages(Metrics(), health())
    token = "a-token-of-some-length"
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with await serve_pages("127.0.0.1", unused_tcp_port, pages, token=token), aiohttp.ClientSession() as session:

        async def get(path, authorization=None):
            headers = {"Authorization": authorization} if authorization else {}
            async with session.get(url + path, headers=headers) as answer:
                return answer.status, answer.headers.get("WWW-Authenticate"), await answer.text()

        assert (await get("/healthz"))[0] == (await get("/readyz"))[0] == 200
        for wrong in (None, "Bearer", "Bearer wrong-token-of-length", f"Basic {token}", f"Bearer {token}x"):
            code, challenge, text = await get("/metrics", wrong)
            assert (code, challenge) == (401, "Bearer"), wrong
            assert "shoal_operator" not in text
        code, _, text = await get("/metrics", f"Bearer {token}")
        assert code == 200
        assert "shoal_operator_build_info" in text


@pytest.mark.parametrize("held", [None, "", "short", "two words of a token"])
def test_a_token_file_that_cannot_be_used_is_named(tmp_path, held):
    path = tmp_path / "token"
    if held is not None:
        path.write_text(held)
    with pytest.raises(MetricsTokenError, match=str(path)):
        read_token(path)


def test_a_token_may_end_with_a_line_break(tmp_path):
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    assert read_token(path) == "0123456789abcdef"
    assert read_token(None) is None
