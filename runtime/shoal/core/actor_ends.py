"""Words for why an actor has ended, or could not begin: owners, workers, nodes and the head say and act on the same.

Invariant: a word never changes: heads keep it in their state, and nodes of other versions send it.
"""

from __future__ import annotations

from typing import Final

CREATION_FAILED: Final = "CreationTaskFailed"
"""Its ``__init__`` raised."""
ARGUMENTS_LOST: Final = "ArgumentsLost"
WORKER_DIED: Final = "WorkerDied"
NODE_DIED: Final = "NodeDied"
"""Also of an orderly end of the node: restarts apply alike."""
NO_RESOURCES: Final = "NoResources"
"""It had not begun, and is placed again."""
UNSCHEDULABLE: Final = "Unschedulable"
GROUP_REMOVED: Final = "PlacementGroupRemoved"
OWNER_DIED: Final = "OwnerDied"
OUT_OF_SCOPE: Final = "OutOfScope"
KILLED: Final = "Killed"
EXITED: Final = "Exited"
"""It asked for its end."""
RESTARTABLE: Final = frozenset({WORKER_DIED, NODE_DIED})
