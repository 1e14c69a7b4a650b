"""Which seeds: ``--seed N`` (or SHOAL_SIMULATION_SEED=N) for one, SHOAL_SIMULATION_SEEDS=N for more."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="simulate this one seed and show its history")
