"""Why a job ended or cannot be heard: the head's words in ``JobSnapshot.reason``, some of which the operator acts on.

Invariant: a word never changes: operators and heads of different versions agree on it.
"""

from __future__ import annotations

from typing import Final

ENTRYPOINT_SUCCEEDED: Final = "EntrypointSucceeded"
ENTRYPOINT_FAILED: Final = "EntrypointFailed"
ENTRYPOINT_NOT_FOUND: Final = "EntrypointNotFound"
DRIVER_NOT_STARTED: Final = "DriverNotStarted"
STOPPED_BY_REQUEST: Final = "StoppedByRequest"
HEAD_STOPPED: Final = "HeadStopped"
"""The head ended in order, and took the driver along."""
HEAD_LOST: Final = "HeadLost"
"""The head that ran the driver is gone, and nobody knows how the program ended."""
NODE_LOST: Final = "NodeLost"
"""The same of the node that ran it."""
NODE_OUT_OF_TOUCH: Final = "NodeOutOfTouch"
"""The program may still run; its node cannot be heard."""
