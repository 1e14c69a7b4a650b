"""Fixtures of the scenarios: one provider a test session, one namespace a scenario, and the times at the end.

Scenarios of several workers (pytest -n) run side by side, each worker with a local session of its own or all on the one
Kubernetes. There a scenario marked ``alone`` runs while no other does; on a local session it is alone anyway.
"""

from __future__ import annotations

import fcntl
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

TIME: Final = "from apply to Complete"
TABLE: Final = "table"

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
    """A scenario's own deadlines come first: they say what was the case. Those that are alone come last, one by one."""
    seconds = LOCAL_SECONDS if config.option.provider == "local" else CLUSTER_SECONDS
    seconds = LONG_SECONDS if config.option.long else seconds
    for item in items:
        if item.path.is_relative_to(SCENARIOS):
            item.add_marker(pytest.mark.timeout(seconds))
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


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
def namespaces() -> list[str]:
    """Names of those that this worker's scenarios have made."""
    return []


@pytest.fixture(scope="session")
def proxy(kubectl: Kubectl, provider: Provider, private_directory: Path, namespaces: list[str]) -> Iterator[Proxy]:
    """The way to look. When it goes, the namespace of every scenario must have gone: no finalizer holds one."""
    found = Proxy(kubectl, private_directory)
    yield found
    try:

        def left() -> list[str]:
            names = [item["metadata"]["name"] for item in found.api.list("/api/v1/namespaces")]
            return [name for name in names if name in namespaces]

        seconds = NAMESPACES_GONE_SECONDS * provider.patience
        eventually(lambda: not left(), "every scenario's namespace is gone", seconds, instead=lambda: str(left()))
    finally:
        found.close()


@pytest.fixture
def turn(
    request: pytest.FixtureRequest, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The right to use the provider now; for a scenario that is ``alone`` it waits for the other workers' to end."""
    if isinstance(provider, LocalProvider) or not hasattr(request.config, "workerinput"):
        yield
        return
    shared_by_workers = tmp_path_factory.getbasetemp().parent
    with (shared_by_workers / "turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH)
        yield


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    turn: None,  # noqa: ARG001 - held until the scenario is over
    kubectl: Kubectl,
    proxy: Proxy,
    provider: Provider,
    namespaces: list[str],
) -> Iterator[World]:
    """A namespace of the scenario's own, watched from its first moment."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:34].strip("-")
    namespaces.append(f"{NAMESPACE_PREFIX}{words}-{uuid4().hex[:5]}")
    opened = World.open(namespaces[-1], kubectl, proxy.api, provider)
    try:
        yield opened
    finally:
        for name in opened.applied_at:
            seconds = opened.seconds_to_complete(name)
            if seconds is not None:
                request.node.user_properties.append((TIME, (name, seconds)))
        opened.close()


@pytest.fixture
def print_at_end(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Texts that are put into it are printed after the test session."""
    texts: list[str] = []
    yield texts
    request.node.user_properties.extend((TABLE, text) for text in texts)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what scenarios told, from whichever worker."""
    if report.when != "teardown":
        return
    scenario = report.location[2]
    for kind, told in report.user_properties:
        if kind == TIME and isinstance(told, tuple):
            job, seconds = told
            _times.append((scenario, job, seconds))
        elif kind == TABLE:
            _tables.append((scenario, str(told)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each job took, and tables of scenarios."""
    if _times:
        terminalreporter.section("from kubectl apply to Complete")
        for scenario, job, seconds in _times:
            terminalreporter.write_line(f"{seconds:6.2f} s  {scenario} ({job})")
    for scenario, text in _tables:
        terminalreporter.section(scenario)
        terminalreporter.write_line(text)
