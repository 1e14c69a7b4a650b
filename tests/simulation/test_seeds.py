"""Seeded worlds with faults: what must never happen does not, and when faults stop the world settles.

A failing seed is replayed by ``python -m pytest tests/simulation --seed N``.
"""

from __future__ import annotations

import os

import pytest
from tests.simulation.world import simulate

SEEDS = int(os.environ.get("SHOAL_SIMULATION_SEEDS", "1000"))
BATCH = 50
ONE = os.environ.get("SHOAL_SIMULATION_SEED")


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_seeds(first: int, request: pytest.FixtureRequest) -> None:
    chosen = request.config.getoption("--seed", default=None)
    if chosen is None and ONE:
        chosen = int(ONE)
    if chosen is None:
        for seed in range(first, min(first + BATCH, SEEDS)):
            simulate(seed)
    elif first == 0:
        print(simulate(chosen).text())
