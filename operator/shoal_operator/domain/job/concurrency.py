"""How many jobs may run at once on a cluster that several share: those that run first, then the oldest.

Invariant: with the same jobs every one of them comes to the same order, so that no two take the last place; the
order is that of creation, then of names, and nobody who runs is pushed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from shoal_operator.domain.job.observed import JobObservation, Rival

NAMES_MAX: Final = 5
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def who_goes_first(observed: JobObservation) -> str:
    """Names of the jobs that keep this one waiting, for people; empty when it may run."""
    limit = observed.cluster.spec.job_concurrency if observed.cluster else None
    if limit is None or observed.job.spec.cluster_ref is None:
        return ""
    me = Rival(observed.job.metadata.name, observed.job.metadata.creation_timestamp, holds_place=False)
    ahead = jobs_ahead(me, observed.rivals, limit)
    shown = [f"`{rival.name}`{'' if rival.holds_place else ' (waits)'}" for rival in ahead[:NAMES_MAX]]
    more = len(ahead) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def jobs_ahead(me: Rival, others: Sequence[Rival], limit: int) -> tuple[Rival, ...]:
    """The jobs before ``me`` when all places are taken by them; empty when one is left.

    Args:
        me: a job that wants a place.
        others: the other jobs of the cluster that run or want to.
        limit: number of places.

    Example:
        >>> jobs_ahead(Rival("b"), [Rival("a", holds_place=True)], 1)[0].name
        'a'
        >>> jobs_ahead(Rival("b"), [Rival("c")], 1)
        ()
    """
    ahead = sorted((other for other in others if _order(other) < _order(me)), key=_order)
    return tuple(ahead) if len(ahead) >= limit else ()


def _order(rival: Rival) -> tuple[bool, datetime, str]:
    return not rival.holds_place, rival.created or _LONG_AGO, rival.name
