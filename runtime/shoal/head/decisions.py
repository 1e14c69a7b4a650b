"""The last decisions of the operator about this cluster's workers, for people who look.

Invariant: bounded in number and length, whatever is sent; nothing depends on what is in here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from shoal.protocol import head_pb2

DECISIONS_MAX: Final = 200
TEXT_MAX: Final = 500
ID_MAX: Final = 100


class DecisionLog:
    """A ring of decisions, one of each id."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, head_pb2.Decision] = OrderedDict()

    def record(self, decisions: Iterable[head_pb2.Decision]) -> None:
        """Keep those that are new; the oldest make room."""
        for decision in decisions:
            key = decision.decision_id[:ID_MAX]
            if not key or key in self._kept:
                continue
            self._kept[key] = head_pb2.Decision(
                decision_id=key,
                time_seconds=decision.time_seconds if math.isfinite(decision.time_seconds) else 0.0,
                what=decision.what[:TEXT_MAX],
                why=decision.why[:TEXT_MAX],
            )
            if len(self._kept) > DECISIONS_MAX:
                self._kept.popitem(last=False)

    def listed(self) -> list[head_pb2.Decision]:
        """All that are kept, in the order in which they came."""
        return list(self._kept.values())
