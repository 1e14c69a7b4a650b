"""The operator installed as in its image: from a wheel, with what the wheel asks for and nothing else.

Invariant: what is measured has no part of the development environment. kopf, for one, imports a Kubernetes client
where it finds one, which makes the process larger by 12 MiB.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from e2e.cluster import commands
from e2e.cluster.product import CHECKOUT

INSTALL_SECONDS = 600


def install_operator(folder: Path) -> Path:
    """Make a virtual environment in ``folder`` and return its ``shoal-operator``.

    Raises:
        CommandError: pip could not install it.
    """
    commands.run([sys.executable, "-m", "venv", "--without-pip", folder])
    python = folder / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python]
    commands.run([*pip, "install", "--quiet", f"{CHECKOUT}[operator]"], timeout_seconds=INSTALL_SECONDS)
    return folder / "bin" / "shoal-operator"


def environment() -> dict[str, str]:
    """This process's, but for Python the image's: no path into the checkout, bytecode as installed."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return others | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
