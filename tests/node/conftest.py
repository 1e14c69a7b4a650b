"""Fixtures of the node tests."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Driver, Node, NodeProcess, make_config, make_head


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory with a short path: Unix sockets need one."""
    path = Path(tempfile.mkdtemp(prefix="sh", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def stub_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates find the stub worker."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def make_node(short_dir: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes of one cluster; stopped at the end."""
    head = make_head(short_dir)
    nodes: list[Node] = []

    def make(**changes: Any) -> Node:
        directory = short_dir / f"n{len(nodes)}"
        directory.mkdir(mode=0o700)
        nodes.append(Node(head, make_config(directory, is_head=not nodes, **changes)))
        return nodes[-1]

    yield make
    for node in nodes:
        node.stop()
    head.close()


@pytest.fixture
def drive() -> Iterator[Callable[..., Driver]]:
    """Connects drivers; closed at the end (before the nodes are)."""
    drivers: list[Driver] = []

    def make(node: Node | NodeProcess | None = None, *, made: Driver | None = None, **options: Any) -> Driver:
        if made is None:
            assert node is not None
            path = node.path if isinstance(node, NodeProcess) else node.agent.socket_path
            made = Driver(path, **options)
        drivers.append(made)
        return made

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def node_process(short_dir: Path) -> Iterator[NodeProcess]:
    directory = short_dir / "s"
    directory.mkdir(mode=0o700)
    process = NodeProcess(directory)
    yield process
    process.close()


@pytest.fixture
def object_id() -> Callable[[], bytes]:
    return lambda: os.urandom(28)
