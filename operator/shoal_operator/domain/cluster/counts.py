"""Which changes of a status can wait a moment: numbers that change with every pod while a cluster grows.

Invariant: a condition that gets another status or reason, and everything else that somebody may wait for, is told at
once; only counts, and messages beside them, are told together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

COUNTS: Final = frozenset({"desired", "ready", "pending", "draining", "outdated"})


def only_counts_differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two statuses, as JSON, say the same but for counts of workers and messages of conditions.

    Example:
        >>> only_counts_differ({"workers": {"ready": 1}}, {"workers": {"ready": 2}})
        True
        >>> only_counts_differ({"workers": {"ready": 1}}, {"workers": {"ready": 1}, "reason": "Unschedulable"})
        False
    """
    return _steady(before) == _steady(after)


def _steady(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in status.items() if key != "workers"}
    kept["conditions"] = [{**item, "message": ""} for item in status.get("conditions") or ()]
    kept["workerGroups"] = [
        {key: value for key, value in group.items() if key not in COUNTS} for group in status.get("workerGroups") or ()
    ]
    return kept
