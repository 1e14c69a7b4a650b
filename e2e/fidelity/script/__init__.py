"""The script: every scenario, by name."""

from __future__ import annotations

from e2e.fidelity.script import custom, kinds, patching, reading, writing
from e2e.fidelity.steps import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for module in (writing, patching, reading, kinds, custom) for scenario in module.SCENARIOS
}
