"""Mappings of segments that live exactly as long as somebody uses them.

A mapping is made with ``mmap(2)`` itself, not with the ``mmap`` module: that one keeps a duplicate of the
descriptor for each mapping (until Python 3.13), and a process that reads thousands of objects would run out
of descriptors.

Invariant: every buffer handed out keeps its mapping alive, through any slice, array or memoryview made of it.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

_PROT_READ: Final = 1
_PROT_WRITE: Final = 2
_MAP_SHARED: Final = 1
_FAILED: Final = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
]  # fmt: skip
_libc.munmap.restype = ctypes.c_int
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Mapping:
    """A segment in this process's memory; unmapped when neither it nor any exported buffer is referenced.

    Args:
        fd: of the segment; not needed any more afterwards.
        size: of the segment in bytes.
        writable: whether this process may write it.

    Raises:
        OSError: the segment cannot be mapped.
    """

    __slots__ = ("_unmap", "address", "size", "writable")

    def __init__(self, fd: int, size: int, *, writable: bool) -> None:
        protection = _PROT_READ | (_PROT_WRITE if writable else 0)
        address = _libc.mmap(None, size, protection, _MAP_SHARED, fd, 0)
        if address is None or address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot map {size} bytes of shared memory: {os.strerror(code)}")
        self.address: int = address
        self.size = size
        self.writable = writable
        self._unmap = _libc.munmap  # kept here: module globals may be gone when the interpreter ends

    def export(self, offset: int, size: int) -> ctypes.Array[ctypes.c_ubyte]:
        """An object with the buffer interface over ``size`` bytes at ``offset``: take a memoryview of it.

        It can be weakly referenced: it dies when the last buffer made of it does.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"bytes {offset} to {offset + size} are outside of a segment of {self.size}")
        exported: Any = (ctypes.c_ubyte * max(size, 1)).from_address(self.address + offset)
        exported.mapping = self
        result: ctypes.Array[ctypes.c_ubyte] = exported
        return result

    def __del__(self) -> None:
        address = getattr(self, "address", None)
        if address is not None:
            self._unmap(address, self.size)


def view_of(exported: ctypes.Array[ctypes.c_ubyte], size: int, *, writable: bool) -> memoryview:
    """A flat view of bytes over an export."""
    view = memoryview(exported).cast("B")[:size]
    return view if writable else view.toreadonly()
