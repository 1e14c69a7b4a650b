"""The embedded server answers as the real one did, but for the differences that are named.

Goldens are recordings of a real kube-apiserver (`e2e/fidelity`), so the comparison needs none here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from e2e.fidelity.compare import Expected, differences, unexpected, unused
from e2e.fidelity.play import play
from e2e.fidelity.record import connect
from e2e.fidelity.script import SCENARIOS
from shoal_operator.local.apiserver import ApiServer
from shoal_operator.local.loopback import LoopbackPool

HERE = Path(__file__).parent
MATRIX = HERE.parent.parent / "docs" / "api-server.md"


def golden(name: str) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = json.loads((HERE / "goldens" / f"{name}.json").read_text())["answers"]
    return answers


def expected() -> list[Expected]:
    return [Expected(**entry) for entry in json.loads((HERE / "expected.json").read_text())]


def of_scenario(name: str) -> list[Expected]:
    return [item for item in expected() if item.step.startswith(f"{name}/")]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_answers_as_the_real_server_does(name: str, tmp_path: Path) -> None:
    addresses = LoopbackPool(seed=7)
    server = ApiServer(addresses)
    try:
        await server.start(directory=tmp_path, token="a-token-of-the-tests-0123456789")
        async with connect(server.kubeconfig()) as session:
            answers = await play(session, SCENARIOS[name])
    finally:
        await server.stop()
        addresses.close()
    found = differences(name, golden(name), answers)
    meant = of_scenario(name)
    assert [str(item) for item in unexpected(found, meant)] == []
    assert [f"{item.step} {item.path}" for item in unused(found, meant)] == [], "no longer differs"


def test_every_expected_difference_is_explained_in_the_matrix() -> None:
    explained = set(re.findall(r"^\| `([a-z0-9-]+)` \|", MATRIX.read_text(), re.MULTILINE))
    used = {item.why for item in expected()}
    assert used - explained == set(), "not in docs/api-server.md"


def test_every_expectation_belongs_to_a_scenario() -> None:
    assert {item.step.partition("/")[0] for item in expected()} - SCENARIOS.keys() == set()


def test_there_is_a_golden_for_every_scenario() -> None:
    assert {path.stem for path in (HERE / "goldens").glob("*.json")} == SCENARIOS.keys()
