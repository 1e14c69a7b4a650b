"""What is left of a manifest without its faulty fields, so that one round of checks finds the faults of the rest, too.

Invariant: the document that is given stays as it is; items of lists keep their places, so that paths into what is
left are paths into the manifest.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.api.job import ComputeJob
from shoal_operator.api.problems import InvalidObjectError, Problem


def sound_part(document: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any] | None:
    """The manifest without the fields that have problems.

    Args:
        document: a manifest.
        problems: what is wrong with it.

    Returns:
        What can still be read as its kind; None where nothing can.

    Example:
        >>> job = {"kind": "ComputeJob", "metadata": {"name": "x"}, "spec": {"entrypoint": "true", "backoffLimit": -1}}
        >>> sound_part(job, [Problem("spec.backoffLimit", "must not be negative")])["spec"]
        {'entrypoint': 'true'}
    """
    kind = document.get("kind")
    if kind not in ("ComputeCluster", "ComputeJob"):
        return None
    if any(problem.path.endswith("]") for problem in problems):
        return None  # a whole item of a list: those after it would move
    rest = copy.deepcopy(dict(document))
    for problem in problems:
        if not problem.path.startswith("metadata."):
            _remove(rest, problem.path)
    try:
        (ComputeCluster if kind == "ComputeCluster" else ComputeJob).parse(rest)
    except InvalidObjectError:
        return None
    return rest


def _remove(value: Any, path: str) -> None:
    """Take one field out, wherever below ``value`` it is; names of fields may have dots in them."""
    if isinstance(value, dict):
        if value.pop(path, None) is not None:
            return
        for key, child in value.items():
            if path.startswith((f"{key}.", f"{key}[")):
                _remove(child, path[len(str(key)) :].removeprefix("."))
    elif isinstance(value, list) and path.startswith("["):
        index, _, below = path[1:].partition("]")
        if below and index.isdecimal() and int(index) < len(value):
            _remove(value[int(index)], below.removeprefix("."))
