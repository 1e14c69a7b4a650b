"""What a request's path asks for.

Invariant: pure text in, `Target` out; it does not know which resources exist.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A resource path, taken apart. `name` and `subresource` are "" where absent; `namespace` None likewise."""

    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str = ""
    subresource: str = ""


def parse(path: str) -> Target | None:
    """Read `/api/v1/...` or `/apis/GROUP/VERSION/...`; None where the path names no resource.

    Example: `parse("/api/v1/namespaces/default/pods/a/log")` is
    `Target("", "v1", "pods", "default", "a", "log")`.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if "" in rest:
        return None
    namespace: str | None = None
    # "namespaces/x" is the Namespace itself, "namespaces/x/pods" is what stands in it; a Namespace's own
    # subresources are the exception that the real server makes too.
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    padded = [*rest, "", ""]
    return Target(group, version, padded[0], namespace, padded[1], padded[2])


def is_below_group(path: str, groups: Collection[str]) -> bool:
    """Whether a path lies below a version of the core group or of one of `groups`, whatever it names there."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        return len(parts) >= 3
    return parts[0] == "apis" and len(parts) >= 4 and parts[1] in groups
