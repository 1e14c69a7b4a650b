"""Label selectors of tasks and actors: which nodes they allow.

Invariant: an expression means the same here and in the head: ``"v"`` equals, ``"!v"`` differs or is absent,
``"in(a,b)"`` one of, ``"!in(a,b)"`` none of. All keys of a selector must hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Selector = tuple[tuple[str, str], ...]
NODE_ID: Final = "ray.io/node-id"
"""A label that every node has by itself: its id. The key is Ray's."""


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels may be used.

    Example:
        >>> matches((("zone", "in(a,b)"), ("kind", "!spot")), {"zone": "a"})
        True
    """
    return all(_holds(expression.strip(), labels.get(key)) for key, expression in selector)


def pinned(selector: Selector) -> str:
    """The only node that a selector allows, by its id; empty when it names none.

    Example:
        >>> pinned(((NODE_ID, "1f2e"), ("zone", "a")))
        '1f2e'
    """
    return next((text for key, text in selector if key == NODE_ID and text[:1] != "!" and text[:3] != "in("), "")


def unpinned(selector: Selector) -> Selector:
    """The same without a word on the node's id."""
    return tuple(pair for pair in selector if pair[0] != NODE_ID)


def _holds(expression: str, value: str | None) -> bool:
    negated = expression.startswith("!")
    body = expression[1:] if negated else expression
    if body.startswith("in(") and body.endswith(")"):
        allowed = {part.strip() for part in body[3:-1].split(",")}
    else:
        allowed = {body}
    return (value in allowed) is not negated
