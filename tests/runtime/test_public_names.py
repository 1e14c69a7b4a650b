"""The public names: each exported once, with the module that it comes from."""

from __future__ import annotations

import subprocess
import sys

import pytest

import shoal


@pytest.mark.parametrize("name", shoal.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(shoal, name) is getattr(shoal, name)
    assert name in dir(shoal)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = shoal.nothing  # type: ignore[attr-defined]


def test_import_loads_nothing_else() -> None:
    code = "import shoal, sys; print(sorted(m for m in sys.modules if m.startswith('shoal')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['shoal']"
