"""What a worker adds to its own output: the names of what prints.

Invariant: in each stream a name stands behind all that was printed before it was said and ahead of what is printed
later; nothing that a name holds can be taken for its end.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Final

BEGIN: Final = "\x1e"
END: Final = "\x1f"
NAME_LENGTH_MAX: Final = 100
"""At most 400 bytes, which is less than what the reader takes for a name (``node.logs.TITLE``)."""


def announce(name: str) -> None:
    """Say in both of the process's streams what prints from here on: leases, and so workers, serve many functions.

    Written to the descriptors: ``sys.stdout`` may be anything by now, which is only asked for what it holds back.
    """
    shown = "".join(char if char.isprintable() else " " for char in name[:NAME_LENGTH_MAX])
    data = f"{BEGIN}{shown}{END}".encode("utf-8", "backslashreplace")
    for fd, stream, original in ((1, sys.stdout, sys.__stdout__), (2, sys.stderr, sys.__stderr__)):
        _flush(stream)
        if original is not stream:
            _flush(original)
        with contextlib.suppress(OSError):  # closed: nothing can be printed there either
            os.write(fd, data)


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except Exception:  # noqa: BLE001 - whatever user code put there; that it cannot be flushed is no end of a worker
        return
