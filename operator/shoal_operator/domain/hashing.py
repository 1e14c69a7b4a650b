"""Stable hashes of JSON values.

Invariant: equal values hash equal in every process and version of Python; the order of keys does not matter.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

HASH_LENGTH = 10
_SAME_WHEN_EMPTY = frozenset({"matchLabels", "matchExpressions", "except", "ports", "from", "to", "ingress", "egress"})


def stable_hash(value: Any) -> str:
    """Ten hexadecimal digits for a JSON value; fit for labels and names.

    Example:
        >>> stable_hash({"a": 1, "b": 2}) == stable_hash({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def spec_hash(spec: Any) -> str:
    """A hash that a spec has both as it is applied and as the API server stores it.

    The server drops fields that mean the same empty and absent. An empty selector or rule is kept: it means everything.

    Example:
        >>> spec_hash({"podSelector": {}, "egress": []}) == spec_hash({"podSelector": {}})
        True
        >>> spec_hash({"ingress": [{}]}) == spec_hash({"ingress": []})
        False
    """
    return stable_hash(_stored(spec))


def _stored(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _stored(item) for key, item in value.items() if item is not None}
        return {key: item for key, item in kept.items() if item or key not in _SAME_WHEN_EMPTY}
    return [_stored(item) for item in value] if isinstance(value, list | tuple) else value
