"""Fixtures of the scenarios: one provider a test session, one namespace a scenario, and the times at the end."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from e2e.api import Proxy
from e2e.eventually import eventually
from e2e.kubectl import Kubectl
from e2e.providers import ClusterProvider, LocalProvider, Provider
from e2e.world import World

LOCAL_IMAGE: Final = "shoal/runtime:local"
NAMESPACE_PREFIX: Final = "shoal-e2e-"
NAMESPACES_GONE_SECONDS: Final = 30.0
SCENARIOS: Final = Path(__file__).parent / "scenarios"
LOCAL_SECONDS: Final = 90
CLUSTER_SECONDS: Final = 300
LONG_SECONDS: Final = 900

_times: list[tuple[str, str, float]] = []
_tables: list[tuple[str, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the scenarios run."""
    group = parser.getgroup("scenarios")
    group.addoption("--provider", default="local", help="local (default), or any other name with --kubeconfig")
    group.addoption("--kubeconfig", type=Path, help="of a Kubernetes that has Shoal installed")
    group.addoption("--long", action="store_true", help="50 jobs per fault, and faults of a minute")
    group.addoption("--runtime-image", default=LOCAL_IMAGE, help="image of head and workers, present on the nodes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A scenario's own deadlines come first: they say what was the case."""
    seconds = LOCAL_SECONDS if config.option.provider == "local" else CLUSTER_SECONDS
    seconds = LONG_SECONDS if config.option.long else seconds
    for item in items:
        if item.path.is_relative_to(SCENARIOS):
            item.add_marker(pytest.mark.timeout(seconds))


@pytest.fixture(scope="session")
def private_directory() -> Iterator[Path]:
    """Only for this user, and with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="shoal-e2e-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def provider(request: pytest.FixtureRequest, private_directory: Path) -> Iterator[Provider]:
    """The place that the command line names."""
    options = request.config.option
    if shutil.which("kubectl") is None:
        if options.provider == "local":
            pytest.skip("kubectl is not installed here")
        pytest.fail("kubectl is not on PATH", pytrace=False)
    found: Provider
    if options.provider == "local":
        found = LocalProvider(private_directory, options.runtime_image)
    elif options.kubeconfig is None:
        pytest.fail(f"--provider={options.provider} needs --kubeconfig FILE", pytrace=False)
    else:
        found = ClusterProvider(options.kubeconfig, options.runtime_image, private_directory)
    yield found
    found.close()


@pytest.fixture(scope="session")
def kubectl(provider: Provider, private_directory: Path) -> Kubectl:
    """The command line, in no namespace."""
    return Kubectl(provider.kubeconfig, private_directory)


@pytest.fixture(scope="session")
def proxy(kubectl: Kubectl, provider: Provider, private_directory: Path) -> Iterator[Proxy]:
    """The way to look. When it goes, every scenario's namespace must have gone: no finalizer holds one."""
    found = Proxy(kubectl, private_directory)
    yield found
    try:

        def left() -> list[str]:
            names = [item["metadata"]["name"] for item in found.api.list("/api/v1/namespaces")]
            return [name for name in names if name.startswith(NAMESPACE_PREFIX)]

        seconds = NAMESPACES_GONE_SECONDS * provider.patience
        eventually(lambda: not left(), "every scenario's namespace is gone", seconds, instead=lambda: str(left()))
    finally:
        found.close()


@pytest.fixture
def world(request: pytest.FixtureRequest, kubectl: Kubectl, proxy: Proxy, provider: Provider) -> Iterator[World]:
    """A namespace of the scenario's own, watched from its first moment."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:34].strip("-")
    opened = World.open(f"{NAMESPACE_PREFIX}{words}-{uuid4().hex[:5]}", kubectl, proxy.api, provider)
    try:
        yield opened
    finally:
        for name in opened.applied_at:
            seconds = opened.seconds_to_complete(name)
            if seconds is not None:
                _times.append((request.node.name, name, seconds))
        opened.close()


@pytest.fixture
def print_at_end(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Texts that are put into it are printed after the test session."""
    texts: list[str] = []
    yield texts
    _tables.extend((request.node.name, text) for text in texts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each job took, and tables of scenarios."""
    if _times:
        terminalreporter.section("from kubectl apply to Complete")
        for scenario, job, seconds in _times:
            terminalreporter.write_line(f"{seconds:6.2f} s  {scenario} ({job})")
    for scenario, text in _tables:
        terminalreporter.section(scenario)
        terminalreporter.write_line(text)
