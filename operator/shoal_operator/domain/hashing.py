"""Stable hashes of JSON values.

Invariant: equal values hash equal in every process and version of Python; the order of keys does not matter.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

HASH_LENGTH = 10


def stable_hash(value: Any) -> str:
    """Ten hexadecimal digits for a JSON value; fit for labels and names.

    Example:
        >>> stable_hash({"a": 1, "b": 2}) == stable_hash({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
