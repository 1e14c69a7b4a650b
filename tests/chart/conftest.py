"""helm, where there is one; the chart rendered by it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "shoal"
OLDEST, NEWEST = "1.30", "1.37"
"""The versions of Kubernetes between which objects are checked; Chart.yaml names the oldest."""


class HelmError(Exception):
    """helm refused; the text is what it said."""


Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> str:
    """Path of helm: $HELM, what `make helm` built, or the one on PATH."""
    for candidate in (os.environ.get("HELM"), str(ROOT / ".cache" / "bin" / "helm"), shutil.which("helm")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    pytest.skip("no helm: set HELM, install it, or run 'make helm' (needs Go)")


@pytest.fixture
def render(helm: str, tmp_path: Path) -> Render:
    """Render the chart with values: ``render({"replicas": 2}, namespace="shoal-system")``."""

    def run(values: dict[str, Any] | None = None, *, namespace: str = "shoal-system", name: str = "shoal") -> Any:
        path = tmp_path / "values.yaml"
        path.write_text(json.dumps(values or {}), encoding="utf-8")
        command = [helm, "template", name, str(CHART), "--namespace", namespace, "--values", str(path)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(
            [*command, "--kube-version", f"{OLDEST}.0"],
            capture_output=True,
            text=True,
            timeout=50,
            env=environment,
            check=False,
        )
        if done.returncode != 0:
            raise HelmError(done.stderr)
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return run
