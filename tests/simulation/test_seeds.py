"""Seeded worlds with faults: what must never happen does not, and when faults stop the world settles.

A failing seed is replayed by ``python -m pytest tests/simulation --seed N`` (or SHOAL_SIMULATION_SEED=N).
SHOAL_SIMULATION_SEEDS=100000 is the long mode.
"""

from __future__ import annotations

import gc
import os

import pytest
from tests.simulation.world import simulate

SEEDS = int(os.environ.get("SHOAL_SIMULATION_SEEDS", "1000"))
BATCH = 50


@pytest.fixture
def one(request: pytest.FixtureRequest) -> int | None:
    """The seed to replay."""
    chosen = request.config.getoption("--seed", default=None)
    named = os.environ.get("SHOAL_SIMULATION_SEED")
    return chosen if chosen is not None or not named else int(named)


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_seeds(first: int, one: int | None) -> None:
    if one is not None:
        if first == 0:
            print(simulate(one).text())
        return
    gc.disable()  # a seed leaves cycles behind, and looking for them all the time takes a quarter of the time
    try:
        for seed in range(first, min(first + BATCH, SEEDS)):
            simulate(seed)
    finally:
        gc.enable()
        gc.collect()


def test_a_seed_is_always_the_same_world() -> None:
    assert simulate(5).text() == simulate(5).text()
