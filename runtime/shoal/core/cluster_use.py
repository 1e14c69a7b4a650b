"""Whether anybody uses the cluster, and since when nobody does.

Invariant: idleness counts from the moment at which the last user went, and a new user ends it; a head that has just
started begins to count at its start, whatever there was before.
"""

from __future__ import annotations

from typing import NamedTuple


class Users(NamedTuple):
    """Who uses the cluster: connected programs, submitted jobs that have not ended, and detached actors."""

    drivers: int = 0
    jobs: int = 0
    detached_actors: int = 0


class ClusterUse:
    """See the module. Times are seconds of any clock that only goes forward.

    Args:
        now: when the head began.
    """

    def __init__(self, now: float) -> None:
        self.users = Users()
        self._idle_since: float | None = now

    def changed(self, users: Users, now: float) -> bool:
        """There are these users now; False when that is no news."""
        if users == self.users:
            return False
        self.users = users
        self._idle_since = None if any(users) else now
        return True

    def idle_seconds(self, now: float) -> float:
        """For how long nobody has used it; 0 while somebody does."""
        return 0.0 if self._idle_since is None else max(0.0, now - self._idle_since)
