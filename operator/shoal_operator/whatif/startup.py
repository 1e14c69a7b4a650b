"""How long pods take to join: scheduling, the image where a machine does not have it yet, the start of the process.

Invariant: the same seed gives the same times, pod by pod: the n-th pod of a group takes as long in every cluster file
that is compared, whatever else happens there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final, Literal

SECONDS_MAX: Final = 86_400.0
SIGMA_MAX: Final = 5.0
_FORMS: Final = "write 5, uniform:2:8 or lognormal:5:0.4 (median and sigma)"


@dataclass(frozen=True, slots=True)
class Duration:
    """A time that differs from pod to pod.

    ``fixed``: always ``first``; ``uniform``: between ``first`` and ``second``; ``lognormal``: ``first`` is the median
    and ``second`` the sigma of the logarithm.
    """

    form: Literal["fixed", "uniform", "lognormal"]
    first: float
    second: float = 0.0

    def at(self, chance: float) -> float:
        """The time that is not exceeded with probability ``chance`` (above 0, below 1)."""
        if self.form == "uniform":
            return self.first + (self.second - self.first) * chance
        if self.form == "lognormal" and self.first > 0:
            return min(SECONDS_MAX, self.first * math.exp(self.second * NormalDist().inv_cdf(chance)))
        return self.first

    def __str__(self) -> str:
        """For people: ``2 to 8 s``."""
        if self.form == "uniform":
            return f"{self.first:g} to {self.second:g} s"
        return f"about {self.first:g} s (sigma {self.second:g})" if self.form == "lognormal" else f"{self.first:g} s"


def parse_duration(text: str) -> Duration:
    """Read ``5``, ``uniform:2:8`` or ``lognormal:5:0.4``.

    Raises:
        ValueError: saying what to write.

    Example:
        >>> str(parse_duration("uniform:2:8"))
        '2 to 8 s'
    """
    form, *numbers = text.split(":") if ":" in text else ("fixed", text)
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise ValueError(f"{text!r} is not a time; {_FORMS}") from None
    wanted = {"fixed": 1, "uniform": 2, "lognormal": 2}.get(form)
    if wanted != len(values):
        raise ValueError(f"{text!r} is not a time; {_FORMS}")
    if not all(0 <= value <= SECONDS_MAX for value in values):
        raise ValueError(f"{text!r} must have numbers from 0 to {SECONDS_MAX:.0f}")
    if form == "uniform" and values[0] > values[1]:
        raise ValueError(f"{text!r} must have the shorter time first")
    if form == "lognormal":
        if values[1] > SIGMA_MAX:
            raise ValueError(f"{text!r} must have a sigma of at most {SIGMA_MAX:g}")
        return Duration("lognormal", *values)
    return Duration("uniform", *values) if form == "uniform" else Duration("fixed", *values)


@dataclass(frozen=True, slots=True)
class StartModel:
    """How pods of one group start."""

    scheduling: Duration = Duration("fixed", 1.0)
    """Until the pod has a machine."""
    image_pull: Duration = Duration("fixed", 10.0)
    """Where a machine runs a pod of the group for the first time; the start of a new machine belongs here, too."""
    process: Duration = Duration("fixed", 2.0)
    """From the container's start until the node takes work."""
    pods_per_machine: int = 1
    machine_keep_seconds: float = 600.0
    """How long an empty machine stays, and its image with it."""
    pods_max: int | None = None
    """Pods for which there are machines; others stay Unschedulable. None: there are always machines."""

    def __str__(self) -> str:
        """For people, in the order of a start."""
        parts = [f"scheduled after {self.scheduling}", f"image {self.image_pull}", f"process {self.process}"]
        if self.pods_per_machine > 1:
            parts.append(f"{self.pods_per_machine} pods a machine")
        if self.pods_max is not None:
            parts.append(f"machines for {self.pods_max} pods")
        return ", ".join(parts)


@dataclass(frozen=True)
class StartModels:
    """Those of all groups."""

    default: StartModel = StartModel()
    of_group: Mapping[str, StartModel] = field(default_factory=dict)
    seed: int = 0

    def model(self, group: str) -> StartModel:
        """How pods of the group start."""
        return self.of_group.get(group, self.default)

    def draw(self, duration: Duration, group: str, serial: int, part: str) -> float:
        """One time of the ``serial``-th pod of a group."""
        if duration.form == "fixed":
            return duration.first
        digest = hashlib.blake2b(f"{self.seed}/{group}/{serial}/{part}".encode(), digest_size=8).digest()
        return duration.at(((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52)


@dataclass(slots=True)
class Machine:
    """A machine of one group, as far as it matters when pods start on it."""

    image_at: float
    """When its image is there."""
    pods: int = 1
    empty_since: float = 0.0


class Machines:
    """The machines under the pods of one group."""

    def __init__(self, group: str, models: StartModels) -> None:
        self._group = group
        self._models = models
        self._model = models.model(group)
        self._machines: list[Machine] = []
        self._serial = 0
        self.made = 0
        """How many machines there have been."""

    def start(self, now: float) -> tuple[float, Machine]:
        """A pod is asked for: when it will have joined, and its machine."""
        self._serial += 1
        model, serial = self._model, self._serial
        bound = now + self._models.draw(model.scheduling, self._group, serial, "scheduling")
        machine = self._with_room(bound)
        if machine is None:
            pull = self._models.draw(model.image_pull, self._group, serial, "image")
            machine = Machine(image_at=bound + pull)
            self._machines.append(machine)
            self.made += 1
        else:
            machine.pods += 1
        process = self._models.draw(model.process, self._group, serial, "process")
        return max(bound, machine.image_at) + process, machine

    def stop(self, machine: Machine, now: float) -> None:
        """A pod has gone."""
        machine.pods -= 1
        machine.empty_since = now

    def _with_room(self, now: float) -> Machine | None:
        """One with room for another pod: the fullest, so that few machines are held, and of these the oldest image."""
        keep = self._model.machine_keep_seconds
        self._machines = [m for m in self._machines if m.pods or now - m.empty_since <= keep]
        able = [machine for machine in self._machines if machine.pods < self._model.pods_per_machine]
        return min(able, key=lambda machine: (-machine.pods, machine.image_at), default=None)
