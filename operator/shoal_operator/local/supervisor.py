"""The supervisor of a local session: starts it, follows it, and ends it, whatever happens.

Invariant: when ``run_manifest`` or ``keep_up`` returns, no process and no file of the session is left. The first
Ctrl-C ends it in order and within a bound, a second one at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from shoal_operator.local.client import Access, ApiClient, ApiError
from shoal_operator.local.errors import LocalError
from shoal_operator.local.following import Follower
from shoal_operator.local.interrupts import Interrupts
from shoal_operator.local.manifest import Document
from shoal_operator.local.operations import apply_crds, apply_document, localize_all
from shoal_operator.local.output import ReadOutput
from shoal_operator.local.processes import NodeProcess, OperatorProcess
from shoal_operator.local.session import Session, create_session
from shoal_operator.local.spawn import adopt_orphans
from shoal_operator.local.sweep import SESSION_MARK, kill_marked

NAMESPACE: Final = "default"
EXIT_TIMEOUT: Final = 124
EXIT_INTERRUPTED: Final = 130
_STOP_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Options:
    """What the command line asks for. ``operator`` is a module and its arguments, for tests."""

    root: Path
    port: int = 0
    timeout_seconds: float | None = None
    keep: bool = False
    namespace: str = NAMESPACE
    operator: tuple[str, ...] = ("shoal_operator.main",)
    node_options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Terminal:
    """Where words go: ``say`` prints a line of progress, ``emit`` what programs write.

    ``read_output`` streams a job's output; the command line brings it, because the operator's half knows no
    client of the runtime.
    """

    say: Callable[[str], None]
    emit: Callable[[bytes], None]
    read_output: ReadOutput | None = None


class LocalSession:
    """A running session: node and operator are up, Shoal's kinds are served. Made by ``open_session``."""

    def __init__(self, session: Session, node: NodeProcess, operator: OperatorProcess, client: ApiClient) -> None:
        self.session = session
        self.node = node
        self.operator = operator
        self.client = client
        self.operator_started_at = time.monotonic()

    async def lost(self) -> LocalError:
        """Wait until the session can no longer work; says why."""
        node = self.node.run.child.exited
        ends: list[asyncio.Future[Any]] = [node, self.operator.failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self.operator.failed.done():
            return self.operator.failed.result()
        status = node.result()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return LocalError(f"the node process {how}; its pods and objects are gone with it", "start the run again")


@asynccontextmanager
async def open_session(options: Options, say: Callable[[str], None]) -> AsyncIterator[LocalSession]:
    """Start a session, and end it on the way out.

    Raises:
        LocalError: it could not be started.
    """
    adopt_orphans()
    session = create_session(options.root)
    node: NodeProcess | None = None
    operator: OperatorProcess | None = None
    try:
        session.describe()
        node = await NodeProcess.start(session, options.port, options.node_options)
        async with ApiClient(Access.from_kubeconfig(session.kubeconfig)) as client:
            await apply_crds(client, _crds())
            command = [*options.operator, "--kubeconfig", str(session.kubeconfig), "--all-namespaces"]
            # There is one operator, and a restarted one must not wait for the lease of the one that was killed.
            command.append("--no-leader-election")
            operator = OperatorProcess(session, command, say)
            local = LocalSession(session, node, operator, client)
            operator.start()
            session.describe(url=node.url, kubeconfig=str(session.kubeconfig))
            yield local
    finally:
        await _end(session, node, operator)


def _crds() -> list[dict[str, object]]:
    from shoal_operator.api.crdgen import generate_crds

    return list(generate_crds().values())


async def _end(session: Session, node: NodeProcess | None, operator: OperatorProcess | None) -> None:
    """In order and bounded; what is left is killed by its mark."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            if operator is not None:
                await operator.stop()
            if node is not None:
                await node.stop()
    except TimeoutError:
        if operator is not None:
            operator.kill()
        if node is not None:
            node.kill()
    finally:
        kill_marked(SESSION_MARK, session.session_id)
        session.close()


Work = Callable[[LocalSession], Coroutine[None, None, int]]
"""What is done in a session; its result is the exit code."""


async def run_manifest(documents: list[Document], manifest: Path, options: Options, terminal: Terminal) -> int:
    """Run the jobs of a manifest to their end; the exit code.

    Raises:
        LocalError: the manifest is refused, or the session cannot work.
    """
    name, say = str(manifest), terminal.say
    bodies = localize_all(documents, manifest, options.namespace)
    ended = asyncio.Event()

    async def work(local: LocalSession) -> int:
        follower = Follower(local.client, options.namespace, say, terminal.emit, terminal.read_output)
        async with follower.following():
            for document, body in zip(documents, bodies, strict=True):
                await apply_document(local.client, document, body, name)
            jobs = list(dict.fromkeys(body["metadata"]["name"] for body in bodies if body["kind"] == "ComputeJob"))
            if not jobs:
                say("the manifest has no ComputeJob: this runs until Ctrl-C")
                await asyncio.Event().wait()
            code = await follower.finish(jobs, ended.set)
        took = time.monotonic() - local.operator_started_at
        say(f"{took:.1f} s from the operator's start to the end")
        if options.keep:
            say(f"kept: export KUBECONFIG={local.session.kubeconfig} (Ctrl-C ends it)")
            await asyncio.Event().wait()
        return code

    return await _guarded(options, say, work, ended)


async def keep_up(options: Options, terminal: Terminal) -> int:
    """Keep an empty session up until Ctrl-C; the exit code.

    Raises:
        LocalError: the session cannot work.
    """
    say = terminal.say

    async def work(local: LocalSession) -> int:
        say(f"ready at {local.node.url} (Ctrl-C ends it)")
        say(f"export KUBECONFIG={local.session.kubeconfig}")
        follower = Follower(local.client, options.namespace, say, terminal.emit, terminal.read_output)
        async with follower.following():
            await asyncio.Event().wait()
        return 0

    code = await _guarded(options, say, work, asyncio.Event())
    return 0 if code == EXIT_INTERRUPTED else code


async def _guarded(options: Options, say: Callable[[str], None], work: Work, ended: asyncio.Event) -> int:
    """Do the work in a session; end early on Ctrl-C, when the session is lost, or on time-out before ``ended``."""
    interrupts = Interrupts(say)
    interrupts.install()
    asked = asyncio.ensure_future(interrupts.asked.wait())
    main = asyncio.ensure_future(_in_session(options, say, work, interrupts))
    await wait_for_end({asked, main}, ended, options.timeout_seconds)
    asked.cancel()
    if main.done():
        return main.result()
    main.cancel()
    await asyncio.wait({main})
    if not main.cancelled() and main.exception() is not None:
        raise cast(BaseException, main.exception())
    if interrupts.asked.is_set():
        return interrupts.exit_code
    say(f"error: not done after {options.timeout_seconds:g} s")
    return EXIT_TIMEOUT


async def wait_for_end(tasks: set[asyncio.Future[Any]], ended: asyncio.Event, timeout_seconds: float | None) -> None:
    """Wait until one of the tasks is done, or the time is over before ``ended`` is set.

    After that there is no limit: what is left is bounded by itself, or was asked for with ``--keep``.
    """
    ending = asyncio.ensure_future(ended.wait())
    await asyncio.wait({*tasks, ending}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if ended.is_set():
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _in_session(options: Options, say: Callable[[str], None], work: Work, interrupts: Interrupts) -> int:
    async with open_session(options, say) as local:
        interrupts.guard(local.session)
        lost = asyncio.ensure_future(local.lost())
        working = asyncio.ensure_future(work(local))
        try:
            await asyncio.wait({lost, working}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                raise lost.result()
            return await working
        except ApiError as error:
            # The server goes away a moment before its end is noticed: that end is the better explanation.
            await asyncio.wait({lost}, timeout=1.0)
            if lost.done():
                raise lost.result() from error
            raise LocalError(f"the API server refused: {error.message}") from error
        finally:
            for task in (lost, working):
                task.cancel()
            await asyncio.wait({lost, working})
