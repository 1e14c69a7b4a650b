"""Segments of shared memory as descriptors: how large they are and how they are made.

Invariant: a segment has no name anywhere, so it is gone when the last process that has it open or mapped
ends. Imports no ctypes: an agent needs no more than this.
"""

from __future__ import annotations

import os
from typing import Final

SLAB_BYTES: Final = 4 << 20
OWN_SEGMENT_BYTES: Final = 1 << 20
"""Objects of this size and more have a segment of their own."""
_PAGE: Final = 4096


def segment_size(size: int) -> int:
    """The size of a segment for one object, rounded up by at most 1/16: similar objects can follow in it."""
    step = max(_PAGE, 1 << max(0, size.bit_length() - 5))
    return -(-size // step) * step


def create_segment(size: int) -> int:
    """A new memfd of ``size`` bytes; the caller closes it.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    fd = os.memfd_create("shoal-segment", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd
