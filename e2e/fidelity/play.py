"""Play scenarios against a server and record what it answers.

Invariant: a recording holds nothing of the run (no address, id, version or time), so two recordings of the same
server are equal. Every request has a deadline.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from e2e.fidelity.masks import Masker
from e2e.fidelity.steps import Scenario, Step, fill, pick

REQUEST_SECONDS = 20.0
PATIENCE_SECONDS = 15.0
"""How long a step with `until` is repeated."""
POLL_SECONDS = 0.1
AGENT = "fidelity/1.0"
_HEADERS = ("Warning", "Retry-After", "Allow")

Record = dict[str, Any]


async def play(session: aiohttp.ClientSession, scenario: Scenario) -> list[Record]:
    """Run one scenario; returns a record a step. The session has the server's address and credentials."""
    await _prepare(session, scenario)
    masker = Masker()
    answers: dict[str, Any] = {}
    records = []
    for step in scenario.steps:
        path = fill(step.path, answers).replace("{ns}", scenario.namespace)
        body = _named(fill(step.body, answers), scenario.namespace, step.name)
        record, answer = await _patiently(session, step, path, body)
        answers[step.name] = answer
        shown = step.path.replace("{ns}", "NS")
        request = {"step": step.name, "request": f"{step.method} {shown}"}
        records.append(request | _recorded(record, answer, step, masker))
    return records


async def _prepare(session: aiohttp.ClientSession, scenario: Scenario) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scenario.namespace}}
    await _expect(session, "/api/v1/namespaces", body)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await _expect(session, f"/api/v1/namespaces/{scenario.namespace}/serviceaccounts", account)
    for definition in scenario.definitions:
        await _expect(session, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        spec = definition["spec"]
        for version in spec["versions"]:
            path = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
            await _patiently(session, Step("ready", "GET", path, content_type=None, until=200), path, None)


async def _expect(session: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> None:
    async with session.post(path, json=body, timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)) as response:
        if response.status not in (201, 409):
            raise RuntimeError(f"cannot prepare the scenario: POST {path}: {await response.text()}")


def _named(body: Any, namespace: str, step: str) -> Any:
    text = json.dumps(body).replace("{ns}", namespace).replace("{step}", step)
    return json.loads(text)


async def _patiently(session: aiohttp.ClientSession, step: Step, path: str, body: Any) -> tuple[Record, Any]:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        record, answer = await _request(session, step, path, body)
        if _arrived(step, record, answer):
            return record, answer
        if asyncio.get_running_loop().time() > deadline:
            wanted = step.until_field or step.until
            raise TimeoutError(f"{step.method} {path}: waited {PATIENCE_SECONDS} s for {wanted}, last {record}")
        await asyncio.sleep(POLL_SECONDS)


def _arrived(step: Step, record: Record, answer: Any) -> bool:
    if step.until is not None and record["status"] != step.until:
        return False
    if step.until_field is None:
        return True
    path, wanted = step.until_field
    try:
        return bool(pick(answer, path) == wanted)
    except (KeyError, IndexError, TypeError):
        return False


async def _request(session: aiohttp.ClientSession, step: Step, path: str, body: Any) -> tuple[Record, Any]:
    data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    headers = {"Accept": step.accept, "User-Agent": AGENT}
    if step.content_type and data is not None:
        headers["Content-Type"] = step.content_type
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    sent = None if data is None else io.BytesIO(data)
    skip = ("Content-Type",) if "Content-Type" not in headers else ()
    async with session.request(
        step.method, path, data=sent, headers=headers, timeout=timeout, skip_auto_headers=skip
    ) as response:
        text = await response.text()
        record: Record = {"status": response.status, "type": response.content_type}
        for name in _HEADERS:
            if name in response.headers:
                record[name] = sorted(response.headers.getall(name))
    return record, _decoded(text, streamed="watch=true" in path and record["status"] == 200)


def _decoded(text: str, *, streamed: bool) -> Any:
    try:
        return [json.loads(line) for line in text.splitlines()] if streamed else json.loads(text)
    except ValueError:
        return text


def _recorded(record: Record, answer: Any, step: Step, masker: Masker) -> Record:
    """The record with what is kept of the body."""
    masked = masker.mask(answer)
    if step.keep == "-":
        return record
    if step.keep and isinstance(masked, dict) and masked.get("status") != "Failure":
        masked = {name: pick(masked, name) for name in step.keep.split(",") if _has(masked, name)}
    return record | {"body": masked}


def _has(value: Any, path: str) -> bool:
    try:
        pick(value, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True
