"""Label selectors of tasks and actors: which nodes they allow.

Invariant: an expression means the same to head, nodes and autoscaler, because all ask here: ``"v"`` equals, ``"!v"``
differs or is absent, ``"in(a,b)"`` one of, ``"!in(a,b)"`` none of. All keys of a selector must hold. What users give
goes through ``problem`` or ``checked`` first: an expression that is none of these would match nothing, for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

Selector = tuple[tuple[str, str], ...]
NODE_ID: Final = "ray.io/node-id"
"""A label that every node has by itself: its id. The key is Ray's."""

_NAME: Final = re.compile(r"(?=.{1,63}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SYNTAX: Final = "1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"


def checked(where: str, labels: Any) -> Selector:
    """The selector that a user gave, in the one order that makes equal ones compare equal.

    Args:
        where: what it was given as, for the message.
        labels: ``{"zone": "in(a,b)", "kind": "!spot"}``.

    Raises:
        ValueError: with the words of ``problem``.

    Example:
        >>> checked("label_selector", {"zone": "in(a,b"})
        Traceback (most recent call last):
        ValueError: label_selector: 'zone' has 'in(a,b', which is none of "v", "!v", "in(a,b)" and "!in(a,b)" ...
    """
    words = problem(labels)
    if words:
        raise ValueError(f"{where} {words}" if words.startswith("must") else f"{where}: {words}")
    return tuple(sorted(labels.items()))


def problem(labels: Any) -> str:
    """What is wrong with a selector that a user gave; empty when nothing is. The syntax is that of Kubernetes."""
    if not isinstance(labels, Mapping) or not all(isinstance(text, str) for pair in labels.items() for text in pair):
        return f'must be a dict of labels such as {{"zone": "a"}}, got {labels!r:.200}'
    for key, expression in labels.items():
        domain, slash, name = key.rpartition("/")
        if not _NAME.fullmatch(name) or (slash and not _DOMAIN.fullmatch(domain)):
            return f"{key!r:.100} is no name of a label: those are {_SYNTAX}, perhaps after a domain and `/`"
        if not all(_NAME.fullmatch(value) for value in _values(expression)):
            forms = '"v", "!v", "in(a,b)" and "!in(a,b)"'
            return f"{key!r:.100} has {expression!r:.100}, which is none of {forms} with values of {_SYNTAX}"
    return ""


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
    return (value in _values(expression)) is not expression.startswith("!")


def _values(expression: str) -> set[str]:
    """The values that an expression names."""
    body = expression.strip().removeprefix("!")
    if body.startswith("in(") and body.endswith(")"):
        return {part.strip() for part in body[3:-1].split(",")}
    return {body}
