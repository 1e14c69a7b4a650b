"""One local session for the tests of a module: starting a node for each would only test the start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import shoal


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    shoal.init(num_cpus=2, resources={"widget": 4})
    yield
    shoal.shutdown()
