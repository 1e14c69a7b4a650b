"""Values to bytes and back: cloudpickle with pickle protocol 5, large buffers out of band and uncopied.

Layout of a stored value: ``MAGIC, pickle length, buffer count, (offset, length) of each buffer, pickle, buffers``, each
buffer 64-byte aligned, so that arrays read from shared memory are views of it.

Invariant: reading never copies a buffer and never lets anybody write through it; only data of authenticated peers comes
here (connections pass the challenge before frames flow).
"""

from __future__ import annotations

import io
import pickle
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

MAGIC: Final = b"SHV1"
_HEADER: Final = struct.Struct("<4sIQ")
_BUFFER: Final = struct.Struct("<QQ")
ALIGNMENT: Final = 64
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})

_scope = threading.local()


class Serialized:
    """A value ready to be written: its pickle, its buffers, and the references inside it."""

    __slots__ = ("buffers", "contained", "pickled", "total_bytes")

    def __init__(self, pickled: bytes, buffers: list[memoryview], contained: list[Any]) -> None:
        self.pickled = pickled
        self.buffers = buffers
        self.contained = contained
        end = _HEADER.size + _BUFFER.size * len(buffers) + len(pickled)
        for buffer in buffers:
            end = _align(end) + buffer.nbytes
        self.total_bytes = end

    def to_bytes(self) -> bytes:
        """The whole as one bytes object."""
        if not self.buffers:
            return _HEADER.pack(MAGIC, 0, len(self.pickled)) + self.pickled
        out = bytearray(self.total_bytes)
        self.write_into(memoryview(out))
        return bytes(out)

    def write_into(self, target: memoryview) -> None:
        """Write into ``target``, which has exactly ``total_bytes``."""
        count = len(self.buffers)
        start = _HEADER.size + _BUFFER.size * count
        _HEADER.pack_into(target, 0, MAGIC, count, len(self.pickled))
        end = start + len(self.pickled)
        target[start:end] = self.pickled
        for index, buffer in enumerate(self.buffers):
            begin = _align(end)
            _BUFFER.pack_into(target, _HEADER.size + _BUFFER.size * index, begin, buffer.nbytes)
            end = begin + buffer.nbytes
            target[begin:end] = buffer


def _align(offset: int) -> int:
    return (offset + ALIGNMENT - 1) & ~(ALIGNMENT - 1)


def serialize(value: Any) -> Serialized:
    """Serialize ``value``; object references inside it are listed in ``.contained``.

    Raises:
        TypeError, pickle.PicklingError, ...: what the pickling of the value raises.
    """
    if type(value) in _PLAIN:
        return Serialized(pickle.dumps(value, protocol=5), [], [])
    import cloudpickle  # only here: ``import shoal`` must not pay for it

    buffers: list[memoryview] = []
    with collecting() as contained:
        sink = io.BytesIO()
        cloudpickle.CloudPickler(sink, protocol=5, buffer_callback=_collector(buffers)).dump(value)
    return Serialized(sink.getvalue(), buffers, contained)


def _collector(buffers: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    def collect(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # not contiguous: pickled in band
        buffers.append(raw)
        return False

    return collect


def deserialize(data: bytes | memoryview) -> Any:
    """Read a value; its buffers are read-only views of ``data``, which they keep alive.

    Raises:
        ValueError: the bytes are no serialized value.
        Exception: what unpickling raises.
    """
    view = memoryview(data).toreadonly()
    if view.nbytes < _HEADER.size:
        raise ValueError(f"a serialized value has at least {_HEADER.size} bytes, got {view.nbytes}")
    magic, count, length = _HEADER.unpack_from(view, 0)
    if magic != MAGIC:
        raise ValueError("not a serialized value of this version of Shoal")
    start = _HEADER.size + _BUFFER.size * count
    pickled = view[start : start + length]
    if not count:
        return pickle.loads(pickled)
    buffers = []
    for index in range(count):
        offset, size = _BUFFER.unpack_from(view, _HEADER.size + _BUFFER.size * index)
        buffers.append(view[offset : offset + size])
    return pickle.loads(pickled, buffers=buffers)


# References inside values


@contextmanager
def collecting() -> Iterator[list[Any]]:
    """While the block runs, references that are pickled in this thread are listed in the result."""
    outer = getattr(_scope, "found", None)
    found: list[Any] = []
    _scope.found = found
    try:
        yield found
    finally:
        _scope.found = outer


def note_reference(reference: Any) -> bool:
    """Called by a reference that is being pickled; False outside of Shoal's own serialization."""
    found = getattr(_scope, "found", None)
    if found is None:
        return False
    found.append(reference)
    return True
