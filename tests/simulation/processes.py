"""Operator processes: started, killed at any await, stalled, started again, two at a time."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from typing import TYPE_CHECKING, Any

from tests.simulation.model_heads import Channel, ModelHeads
from tests.simulation.network import ORIGIN, Faults, SimulatedClient, Wire
from tests.simulation.virtual_time import SimulatedClock

from shoal_operator.composition import Operator, Surroundings
from shoal_operator.kube.access import ApiAccess
from shoal_operator.settings import Settings

if TYPE_CHECKING:
    from tests.simulation.api_server import ModelServer
    from tests.simulation.history import History
    from tests.simulation.invariants import Invariants


def surroundings_of(wire: Wire, model_heads: ModelHeads, clock: SimulatedClock) -> Surroundings:
    """Of one operator process: it has everything, but for what carries its words."""
    loop = asyncio.get_running_loop()

    def open_channel(target: str, *_: object) -> Any:
        return Channel(model_heads, target, lambda: wire.dead or wire.stalled_until > loop.time())

    return Surroundings(clock, functools.partial(SimulatedClient, wire), open_channel)


class Process:
    """One operator process."""

    def __init__(self, name: str, wire: Wire, operator: Operator, clock: SimulatedClock) -> None:
        self.name = name
        self.wire = wire
        self.clock = clock
        self.operator = operator
        self.stop = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(operator.run(self.stop), name=name)

    async def kill(self) -> None:
        """As by SIGKILL: nothing of it is heard any more."""
        self.wire.dead = True
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.operator._heads.close()


class Processes:
    """The replicas of the operator's Deployment."""

    def __init__(
        self,
        server: ModelServer,
        heads: ModelHeads,
        faults: Faults,
        history: History,
        invariants: Invariants,
        rng: random.Random,
        *,
        leader_election: bool,
    ) -> None:
        self._server = server
        self._heads = heads
        self._faults = faults
        self._history = history
        self._invariants = invariants
        self._rng = rng
        self._leader_election = leader_election
        self._numbers = itertools.count(1)
        self._ending: set[asyncio.Task[None]] = set()
        self.alive: list[Process] = []
        self._wires: list[Wire] = []

    @property
    def writes(self) -> int:
        """Of all processes that there ever were, without leases."""
        return sum(wire.writes for wire in self._wires)

    def start(self) -> Process:
        number = next(self._numbers)
        name, loop = f"operator-{number}", asyncio.get_running_loop()
        rng = random.Random(self._rng.random())
        wire = Wire(name, self._server, self._faults, random.Random(self._rng.random()), self._history)
        clock = SimulatedClock(loop.time, self._rng.uniform(-0.5, 0.5))
        wire.on_write = self._invariants.on_write
        wire.before_deletion = lambda wire, path: self._invariants.before_deletion(wire, path, clock.now())
        settings = Settings(leader_election=self._leader_election, workers=4)
        tokens = itertools.count(1)
        operator = Operator(
            settings,
            ApiAccess(server=ORIGIN),
            identity=name,
            rng=rng,
            new_token=lambda: f"token-{number}-{next(tokens)}",
            die=lambda reason: self._die(name, reason),
            surroundings=surroundings_of(wire, self._heads, clock),
        )
        process = Process(name, wire, operator, clock)
        process.task.add_done_callback(functools.partial(self._ended, process))
        self._history.note(name, "starts")
        self.alive.append(process)
        self._wires.append(wire)
        return process

    async def kill(self, process: Process) -> None:
        if process in self.alive:
            self.alive.remove(process)
            self._history.note(process.name, "is killed")
            await process.kill()

    async def stop(self, process: Process) -> None:
        """As by SIGTERM: it ends in order."""
        self.alive.remove(process)
        self._history.note(process.name, "is told to end")
        process.stop.set()
        await asyncio.wait({process.task}, timeout=20.0)
        await process.kill()

    async def close(self) -> None:
        for process in list(self.alive):
            await self.kill(process)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _die(self, name: str, reason: str) -> None:
        """The process ends itself; its Deployment starts another one."""
        self._history.note(name, f"dies: {reason}")
        for process in [one for one in self.alive if one.name == name]:
            process.wire.dead = True
            task = asyncio.get_running_loop().create_task(self._replace(process))
            self._ending.add(task)

    async def _replace(self, process: Process) -> None:
        await self.kill(process)
        await asyncio.sleep(self._rng.uniform(0.5, 3.0))
        self.start()

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (task.exception() is None and process not in self.alive):
            return
        self._invariants.broken(f"{process.name} ended by itself: {task.exception()!r}")
