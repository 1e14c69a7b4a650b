"""One seed: a world, its faults, its calm afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator

from tests.simulation.api_server import ModelServer
from tests.simulation.history import History
from tests.simulation.invariants import BrokenError, Invariants, wall_time
from tests.simulation.machines import FOR_EVER_SECONDS, Machines
from tests.simulation.model_heads import ModelHeads
from tests.simulation.network import Faults
from tests.simulation.people import People
from tests.simulation.processes import Processes
from tests.simulation.virtual_time import VirtualLoop

COLLECT_SECONDS = 0.5
CALM_SECONDS_MAX = 700.0
QUIET_SECONDS = 15.0
CHECK_SECONDS = 35.0
"""Longer than a request may hang, an idle worker stays, and an outdated one is waited for."""


class SeedFailedError(AssertionError):
    """A seed that breaks an invariant; the text replays it."""


class _Errors(logging.Handler):
    """A reconcile that fails in a way nobody thought of is a defect."""

    def __init__(self, invariants: Invariants) -> None:
        super().__init__(logging.ERROR)
        self._invariants = invariants

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.endswith("control.controller"):
            error = record.exc_info[1] if record.exc_info else None
            self._invariants.broken(f"{record.getMessage()}: {error!r}")


class World:
    """Everything that one seed needs."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.rng = random.Random(seed)
        self._loop = loop
        self.history = History(loop.time)
        draw = self.rng.random
        self._overlap = draw() < 0.2
        self._loses_machine = draw() < 0.25
        self._election = not self._overlap and draw() < 0.1
        self.faults = self._draw_faults()
        self.server = ModelServer(
            lambda: wall_time(loop.time(), 0.0), history_limit=self.rng.choice((10, 40, 1000, 1000))
        )
        self.heads = ModelHeads(self.server, random.Random(draw()))
        self.invariants = Invariants(self.server, self.heads, self.history, loop.time)
        self.machines = Machines(self.server, self.heads, random.Random(draw()))
        self.machines.trouble = self.rng.choice((0.0, 0.0, 0.3, 1.0))
        self.invariants.machines = self.machines
        self.people = People(self.server, self.history, random.Random(draw()))
        self.processes = Processes(
            self.server,
            self.heads,
            self.faults,
            self.history,
            self.invariants,
            random.Random(draw()),
            leader_election=self._election,
        )
        self.heads.on_program = self.invariants.program_starts
        self._background: list[asyncio.Task[None]] = []
        loop.set_exception_handler(lambda _, context: self.invariants.broken(f"in a task: {context}"))

    def _draw_faults(self) -> Faults:
        rng = self.rng
        level = rng.choice((0.0, 0.3, 1.0, 1.0, 2.0))
        faults = Faults(lag_seconds=rng.choice((0.0, 0.3, 2.0, 8.0)))
        kinds = ("conflict", "gone", "too_many", "internal", "lost_before", "lost_after", "drop_watch", "duplicate")
        for kind in rng.sample(kinds, rng.randint(1, 5)):
            setattr(faults, kind, 0.05 * level)
        faults.hang = 0.004 * level
        return faults

    async def run(self) -> None:
        handler = _Errors(self.invariants)
        with _logging_to(handler):
            try:
                self._background.append(asyncio.create_task(self._collect()))
                await self._faulty_days()
                await self._calm()
            finally:
                for task in self._background:
                    task.cancel()
                await asyncio.gather(*self._background, return_exceptions=True)
                await self.processes.close()
                self.machines.close()

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_SECONDS)
            self.server.collect()

    # -- trouble --------------------------------------------------------------------------------------------

    async def _faulty_days(self) -> None:
        rng, end = self.rng, self._loop.time() + self.rng.uniform(8.0, 36.0)
        self.people.begin()
        for _ in range(2 if self._election else 1):
            self.processes.start()
        busy = rng.choice((3.0, 6.0, 15.0))
        while self._loop.time() < end:
            await asyncio.sleep(rng.expovariate(1.0 / busy))
            self.invariants.check()
            if self._loop.time() < end:
                await self._one_trouble()
        if self._loses_machine:
            self._background.append(asyncio.create_task(self.machines.break_one(FOR_EVER_SECONDS)))
        self.faults.stop()
        self.machines.trouble = 0.0
        self.history.note("world", "faults have stopped")

    async def _one_trouble(self) -> None:
        rng = self.rng
        kind = rng.choices(
            ("people", "kill", "stall", "machine", "silence", "clock"), weights=(8, 3, 1, 1, 2, 1)
        )[0]  # fmt: skip
        if self._overlap and rng.random() < 0.3:
            kind = "overlap"
        match kind:
            case "people":
                self.people.change_something()
            case "kill" if self.processes.alive:
                await self._restart()
            case "overlap" if self.processes.alive:
                await self._overlap_for_a_moment()
            case "stall" if self.processes.alive:
                process = rng.choice(self.processes.alive)
                process.wire.stalled_until = self._loop.time() + rng.uniform(1.0, 25.0)
                self.history.note(process.name, f"is cut off until {process.wire.stalled_until:.1f}")
            case "machine":
                self._background.append(asyncio.create_task(self.machines.break_one(rng.uniform(2.0, 60.0))))
            case "silence" if self.heads.by_cluster:
                self._background.append(asyncio.create_task(self._silence(rng.choice([*self.heads.by_cluster]))))
            case "clock" if self.processes.alive:
                process = rng.choice(self.processes.alive)
                process.clock.wall_offset_seconds += rng.choice((-30.0, -3.0, 3.0, 30.0))
                self.invariants.wall_jumps = True
                self.history.note(process.name, f"its clock is {process.clock.wall_offset_seconds:+.1f} s wrong")

    async def _overlap_for_a_moment(self) -> None:
        """A leader that does not know yet that it is none, and the next one."""
        before = self.processes.alive[0]
        self.processes.start()
        await asyncio.sleep(self.rng.uniform(1.0, 15.0))
        await self.processes.kill(before)

    async def _restart(self) -> None:
        process = self.rng.choice(self.processes.alive)
        if self.rng.random() < 0.2:
            await self.processes.stop(process)
        else:
            await self.processes.kill(process)
        await asyncio.sleep(self.rng.choice((0.0, 0.5, 5.0)))
        self.processes.start()

    async def _silence(self, cluster: str) -> None:
        head = self.heads.by_cluster[cluster]
        mode = self.rng.choice(("hangs", "refuses"))
        self.history.note("world", f"the head of {cluster} {mode}")
        head.set_silence(mode)
        await asyncio.sleep(self.rng.uniform(1.0, 45.0))
        head.set_silence("")

    # -- calm -----------------------------------------------------------------------------------------------

    async def _calm(self) -> None:
        """The world settles, stays as it is, and a new operator finds nothing to do."""
        await self._settle()
        await self._stay_quiet("a settled world")
        while self.processes.alive:
            await self.processes.kill(self.processes.alive[-1])
        self.processes.start()
        await self._stay_quiet("a restart")

    async def _settle(self) -> None:
        end = self._loop.time() + CALM_SECONDS_MAX
        while True:
            before = self._writes()
            await asyncio.sleep(CHECK_SECONDS)
            self.invariants.check()
            open_points = self.invariants.unsettled()
            if not open_points and before == self._writes():
                self.history.note("world", "has settled")
                return
            if self._loop.time() > end:
                raise BrokenError(f"not settled after {CALM_SECONDS_MAX:.0f} s: {open_points or 'writes go on'}")

    async def _stay_quiet(self, when: str) -> None:
        before = self._writes()
        await asyncio.sleep(QUIET_SECONDS)
        self.invariants.check()
        written = self._writes() - before
        if written:
            raise BrokenError(f"{written} writes in {when}")
        open_points = self.invariants.unsettled()
        if open_points:
            raise BrokenError(f"after {when}: {open_points}")

    def _writes(self) -> int:
        return self.processes.writes


@contextlib.contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("shoal_operator")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def simulate(seed: int) -> History:
    """Live through one seed.

    Raises:
        SeedFailedError: with the seed, what broke, and the end of the history.
    """
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_live(seed, loop))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


async def _live(seed: int, loop: VirtualLoop) -> History:
    world = World(seed, loop)
    try:
        await world.run()
    except BrokenError as error:
        text = f"seed {seed}: {error}\n{world.history.text()}\nseed {seed}: {error}"
        raise SeedFailedError(text) from None
    return world.history
