"""The cluster's key-value pairs, by namespace: small facts that processes share.

Invariant: no value is larger than ``MAX_VALUE_BYTES`` and all together never exceed ``MAX_TOTAL_BYTES``
and ``MAX_KEYS``.
"""

from __future__ import annotations

from typing import Final

MAX_VALUE_BYTES: Final = 16 * 1024 * 1024
MAX_TOTAL_BYTES: Final = 1024 * 1024 * 1024
MAX_KEYS: Final = 1_000_000
MAX_KEY_LENGTH: Final = 4096


class KvError(ValueError):
    """A pair cannot be kept. ``kind``: TooLarge or InvalidArgument."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class KvStore:
    """Not thread-safe: its owner holds a lock."""

    def __init__(self, max_total_bytes: int = MAX_TOTAL_BYTES, max_keys: int = MAX_KEYS) -> None:
        self._values: dict[str, dict[str, bytes]] = {}
        self._bytes = self._count = 0
        self._max_bytes, self._max_keys = max_total_bytes, max_keys

    def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or None."""
        return self._values.get(namespace, {}).get(key)

    def put(self, namespace: str, key: str, value: bytes, overwrite: bool) -> bool:
        """Keep a value; True when the key was there before (and is unchanged unless ``overwrite``).

        Raises:
            KvError: the key or value is too large, or the store is full.
        """
        if len(value) > MAX_VALUE_BYTES:
            raise KvError(
                "TooLarge",
                f"value of key {key[:200]!r} has {len(value)} bytes, at most {MAX_VALUE_BYTES} are taken",
            )
        if not key or len(key) + len(namespace) > MAX_KEY_LENGTH:
            raise KvError("InvalidArgument", f"a key has 1 to {MAX_KEY_LENGTH} characters with its namespace")
        old = self.get(namespace, key)
        if old is not None and not overwrite:
            return True
        grown = len(value) - len(old or b"")
        if self._bytes + grown > self._max_bytes or (old is None and self._count >= self._max_keys):
            raise KvError("TooLarge", f"the store is full: {self._count} keys, {self._bytes} bytes; delete some first")
        self._values.setdefault(namespace, {})[key] = value
        self._bytes += grown
        self._count += old is None
        return old is not None

    def delete(self, namespace: str, key: str) -> bool:
        """Forget a key; True when it was there."""
        held = self._values.get(namespace, {})
        value = held.pop(key, None)
        if not held:
            self._values.pop(namespace, None)
        if value is None:
            return False
        self._bytes -= len(value)
        self._count -= 1
        return True

    def keys(self, namespace: str, prefix: str) -> list[str]:
        """The keys that begin with ``prefix``, sorted."""
        return sorted(key for key in self._values.get(namespace, {}) if key.startswith(prefix))
