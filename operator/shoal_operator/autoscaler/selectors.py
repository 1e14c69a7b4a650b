"""Label selectors: which nodes a task, an actor or a bundle may go to.

Invariant: an expression means here what it means to the scheduler in a node (``shoal.core.labels``; a test compares
the two): ``v`` equals, ``!v`` differs or is absent, ``in(a,b)`` one of, ``!in(a,b)`` none of. All have to hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal_operator.autoscaler.model import Labels


def matches(selector: Labels, labels: Mapping[str, str]) -> bool:
    """Whether a node with ``labels`` satisfies ``selector``.

    Example:
        >>> matches((("zone", "in(a,b)"), ("kind", "!spot")), {"zone": "a"})
        True
    """
    return all(holds(expression, labels.get(key)) for key, expression in selector)


def holds(expression: str, value: str | None) -> bool:
    """Whether a label with that value (None: absent) satisfies one expression."""
    text = expression.strip()
    negated = text.startswith("!")
    body = text[1:] if negated else text
    if body.startswith("in(") and body.endswith(")"):
        return (value in {part.strip() for part in body[3:-1].split(",")}) is not negated
    return (value == body) is not negated


def failing(selector: Labels, labels: Mapping[str, str]) -> list[str]:
    """The parts of the selector that such a node does not satisfy, as ``key=expression``."""
    return [f"{key}={expression}" for key, expression in selector if not holds(expression, labels.get(key))]
