"""The log of a whole run, with every logger at its loudest: lines for machines, and no secret in any of them."""

import asyncio
import base64
import contextlib
import io
import json
import logging
import re

from shoal_operator.control import passes
from shoal_operator.telemetry.logging import LINE_MAX, JsonFormatter

from .conftest import a_cluster, a_job, at_rest, is_true, until
from .test_clusters import CLUSTER, node
from .test_metrics import a_whole_run


@contextlib.contextmanager
def listening():
    """What a collector would get, whatever level is set."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    before, handlers = root.level, root.handlers[:]
    root.handlers[:] = [handler]  # pytest's own would keep what arguments of lines hold on to
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.setLevel(before)
        root.handlers[:] = handlers


def entries(written):
    return [json.loads(line) for line in written.getvalue().splitlines()]


async def secrets_of(world):
    """Every value of every Secret, as it is and in base64, and the operator's own token."""
    found = {world.recorder.token}
    for secret in (await world.api.call("GET", "/api/v1/namespaces/default/secrets"))["items"]:
        for value in (secret.get("data") or {}).values():
            found |= {value, base64.b64decode(value).decode("utf-8", "replace")}
    return {value for value in found if len(value) > 7}


async def test_no_line_of_a_whole_run_shows_a_secret(world):
    """Writes that fail, heads that refuse, a token that is wrong: errors quote what they have."""
    with listening() as written:
        async with world.operator(with_kopf=True):
            world.recorder.spoil = lambda method, path: 500 if method == "POST" and "secrets" in path else None
            await world.api.create("computeclusters", a_cluster("spoiled"))
            await until(lambda: asyncio.sleep(0, "spoiled by the test" in written.getvalue()))
            world.recorder.spoil = lambda method, path: None
            await a_whole_run(world, None)
            known = await secrets_of(world)
            wrong = base64.b64encode(b"another-token-than-before").decode()
            await world.api.patch("/api/v1/namespaces/default/secrets/demo-token", {"data": {"token": wrong}})
            known |= {wrong, "another-token-than-before"}
            await world.api.delete(CLUSTER)
            await until(world.api.cluster, lambda cluster: cluster is None)
    assert len(known) > 4
    text = written.getvalue()
    assert [value for value in known if value in text] == []
    assert "Bearer " not in text
    assert "PRIVATE KEY" not in text
    lines = entries(written)
    assert len(lines) > 20
    for entry in lines:
        assert {"time", "level", "logger", "message"} <= entry.keys()
        assert len(entry["message"]) <= LINE_MAX


async def test_lines_of_a_pass_say_whose_it_is(world):
    with listening() as written:
        async with world.operator():
            await world.api.create("computeclusters", a_cluster())
            await until(world.api.pod_names, lambda names: len(names) == 4)
            await world.api.patch(CLUSTER, {"spec": {"suspend": True}})
            await until(lambda: asyncio.sleep(0, "deleted pod" in written.getvalue()))
            uid = (await world.api.cluster())["metadata"]["uid"]
    entry = next(entry for entry in entries(written) if entry["message"].startswith("deleted pod"))
    assert entry["controller"] == "computecluster"
    assert (entry["namespace"], entry["name"], entry["uid"]) == ("default", "demo", uid)
    assert entry["reason"] == "Suspended"
    assert isinstance(entry["pass"], int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["time"])


async def test_an_error_keeps_its_pass_and_its_stack_in_one_line(world):
    with listening() as written:
        async with world.operator():
            world.recorder.spoil = lambda method, path: 418 if method == "POST" and path.endswith("/pods") else None
            await world.api.create("computeclusters", a_cluster())
            await until(lambda: asyncio.sleep(0, "failed; trying again" in written.getvalue()))
    entry = next(entry for entry in entries(written) if "failed; trying again" in entry["message"])
    assert (entry["level"], entry["namespace"], entry["name"]) == ("error", "default", "demo")
    assert "Traceback" in entry["error"]


async def test_what_a_pass_started_does_not_speak_for_it_afterwards():
    go = asyncio.Event()

    async def later():
        inside = passes.current()
        await go.wait()
        return inside, passes.current()

    with passes.under_way("computecluster", ("default", "demo")) as begun:
        passes.note_uid("u")
        task = asyncio.create_task(later())
        await asyncio.sleep(0)
    assert passes.current() is None
    go.set()
    assert await task == (begun, None)
    assert begun.uid == "u"


async def test_a_run_without_news_tells_nothing_twice(world):
    """Events are for transitions: looking again at a world that stands still records none."""
    async with world.operator() as operator:
        await world.api.create("computeclusters", a_cluster())
        head = await world.serve_head()
        names = ("demo-small-0", "demo-small-1", "demo-small-2")
        head.change(nodes=[node("demo-head", "head", cpus=0), *map(node, names)])
        await world.api.create("computejobs", a_job("done"))
        job_head = await world.serve_head("done")
        await until(lambda: world.api.job("done"), is_true("Running"))
        job_head.finish_jobs()
        await until(lambda: world.api.job("done"), is_true("Complete"))
        await until(world.api.cluster, is_true("Ready"))
        await at_rest(world, operator)
        events = sorted(await world.api.events())
        before = len(world.recorder.writes())
        for turn in range(3):
            await world.api.patch(CLUSTER, {"metadata": {"annotations": {"turn": str(turn)}}})
            path = CLUSTER.replace("computeclusters/demo", "computejobs/done")
            await world.api.patch(path, {"metadata": {"annotations": {"turn": str(turn)}}})
            await at_rest(world, operator)
        assert sorted(await world.api.events()) == events
        assert len(set(events)) == len(events)
        assert world.recorder.writes()[before:] == []
