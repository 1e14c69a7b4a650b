"""Words for groups and limits that several parts of the planner say.

Invariant: one thing is said in one way, numbers of one in the singular.
"""

from __future__ import annotations

from shoal.resources import describe
from shoal_operator.autoscaler.model import Group


def count_of_replicas(count: int) -> str:
    """For people.

    Example:
        >>> count_of_replicas(1), count_of_replicas(2)
        ('1 replica', '2 replicas')
    """
    return f"{count} replica{'' if count == 1 else 's'}"


def maximum(group: Group) -> int:
    """Most replicas of a group."""
    return group.max_nodes // max(1, group.hosts)


def worker_bound(most: int) -> str:
    """For people: the limit of workers over all groups."""
    return f"the cluster may have no more than {most} worker{'' if most == 1 else 's'} (limits.maxWorkers)"


def resource_bound(name: str, most: int) -> str:
    """For people: the limit of one resource over all groups, in ten-thousandths."""
    return f"the cluster may have no more than {describe({name: most})} (limits.resources)"


def with_article(noun: str) -> str:
    """For people.

    Example:
        >>> with_article("task"), with_article("actor")
        ('a task', 'an actor')
    """
    return f"{'an' if noun[:1] in 'aeiou' and noun else 'a'} {noun}"
