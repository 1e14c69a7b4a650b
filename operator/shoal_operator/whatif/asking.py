"""What the planner is asked at one moment, and what its answer says, in words.

Invariant: the question holds what the operator's would, of a world that is seen without delay; nothing is kept here
but what the planner gave to remember.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from shoal.core.gangs import MAX_GANGS
from shoal_operator.autoscaler.model import Cooldown, Demand, Gang, Removal, ScalingPlan, ScalingRequest
from shoal_operator.autoscaler.turns import turn_at
from shoal_operator.whatif.fleet import Fleet
from shoal_operator.whatif.ledger import Decision
from shoal_operator.whatif.world import World

ORIGINS_SHOWN: Final = 3


class Asking:
    """Makes requests, and remembers cool-downs and verdicts between them.

    Args:
        terms: what the cluster's spec means to the planner.
        world: what waits.
        fleet: the nodes.
    """

    def __init__(self, terms: ScalingRequest, world: World, fleet: Fleet) -> None:
        self._terms = terms
        self._world = world
        self._fleet = fleet
        self._cooldowns: tuple[float, tuple[Cooldown, ...]] = (0.0, ())
        self._verdicts: frozenset[tuple[str, str]] = frozenset()
        self.floors: tuple[Demand, ...] = ()

    def request(self, now: float) -> ScalingRequest:
        """The whole question."""
        since, cooldowns = self._cooldowns
        return replace(
            self._terms,
            demands=tuple(self._demands()),
            gangs=tuple(islice(self._gangs(), MAX_GANGS)),
            gangs_left_out=max(0, self._gang_count() - MAX_GANGS),
            turn=turn_at(now) if self._gang_count() else 0,
            floors=self.floors,
            nodes=tuple(self._fleet.nodes(now)),
            coming=tuple(self._fleet.coming(now)),
            cooldowns=tuple(
                replace(each, until_seconds_from_now=each.until_seconds_from_now - (now - since)) for each in cooldowns
            ),
        )

    def _demands(self) -> Iterator[Demand]:
        for need, queue in self._world.queues.items():
            if need.kind != "gang" and queue:
                names = tuple(dict.fromkeys(item.work.name for item in islice(queue, 3) if item.work.name))
                count = self._world.waiting[need]
                yield Demand(need.shape, count, need.label_selector, need.kind, names, recent_count=count)

    def _gang_count(self) -> int:
        return sum(count for need, count in self._world.waiting.items() if need.kind == "gang")

    def _gangs(self) -> Iterator[Gang]:
        waiting = [item for need, queue in self._world.queues.items() if need.kind == "gang" for item in queue]
        for item in sorted(waiting, key=lambda each: each.serial):
            strategy = item.work.need.strategy
            assert strategy is not None
            for number in range(item.count):
                name = item.work.name or f"line {item.work.line}"
                yield Gang(f"{item.serial}/{number}", name, strategy, item.work.need.bundles)

    def answered(self, plan: ScalingPlan, now: float) -> list[Decision]:
        """Note an answer; what is new in it, for people."""
        self._cooldowns = (now, plan.cooldowns)
        decisions = []
        for addition in plan.add:
            texts = list(dict.fromkeys(origin.text for origin in addition.origins))
            origins = texts[:ORIGINS_SHOWN]
            more = len(texts) - len(origins)
            text = ", ".join(origins) + (f" and {more} more" if more > 0 else "")
            decisions.append(Decision(now, addition.group, addition.count, addition.reason, text))
        decisions += _removals(plan.drain, "drained", now)
        decisions += _removals(plan.cancel, "given up", now)
        return decisions + list(self._new_verdicts(plan, now))

    def _new_verdicts(self, plan: ScalingPlan, now: float) -> Iterator[Decision]:
        """What is said for the first time, or again after it was not; equal gangs together."""
        units: Counter[tuple[str, str]] = Counter()
        for unmet in plan.unmet:
            units[str(unmet.verdict), unmet.message] += 1 if unmet.gang else unmet.count
        for (verdict, message), count in units.items():
            if (verdict, message) not in self._verdicts:
                yield Decision(now, "", 0, verdict, f"{count} wait: {message}")
        self._verdicts = frozenset(units)


def _removals(removals: tuple[Removal, ...], what: str, now: float) -> Iterator[Decision]:
    counts = Counter((each.group, each.reason) for each in removals)
    for (group, reason), count in counts.items():
        texts = [each.text for each in removals if (each.group, each.reason) == (group, reason) and each.text]
        text = f"{what}: {texts[0]}" if texts else what
        yield Decision(now, group, -count, reason, text)
