"""A node starts as it does in a pod: no HOME, nothing writable but the scratch directory, and a bare environment."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def scratch() -> Iterator[Path]:
    """What is /tmp in a pod: short, because sockets lie below it."""
    path = Path(tempfile.mkdtemp(prefix="sh", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_a_head_starts_without_a_home_and_leaves_nothing(scratch: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(secrets.token_urlsafe(32), encoding="utf-8")
    token.chmod(0o440)
    elsewhere = tmp_path / "directory"
    elsewhere.mkdir()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "SHOAL_TEST_MARK")}
    command = [sys.executable, "-P", "-m", "shoal.cli.main", "start", "--head", "--node-ip", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--control-port", "0", "--frames-port", "0", "--num-cpus", "1", "--token-file", str(token)],
        env={**kept, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
        cwd=elsewhere,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("shoal head: listening on 127.0.0.1:"), (line, process.stderr)
        assert [path.name for path in scratch.iterdir()] == [f"shoal-{os.getuid()}"]
        assert all(len(str(path)) < 108 for path in scratch.rglob("*.sock"))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    assert list((scratch / f"shoal-{os.getuid()}").iterdir()) == []
    assert list(elsewhere.iterdir()) == []
