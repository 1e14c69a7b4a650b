"""What the script is made of: named requests, grouped into scenarios.

Invariant: a step is data. What it needs from an earlier answer it names as `${step.field.path}`; nothing else
connects steps, so the same table runs against any server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PLACE = re.compile(r"\$\{([^}]+)\}")

JSON = "application/json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Step:
    """One request.

    Args:
        path: with its query; `{ns}` stands for the scenario's namespace.
        body: sent as JSON, or as it is when it is text; `{step}` stands for the step's name.
        content_type: of the body; None sends no such header.
        keep: names of the answer's fields that are recorded ("" is all of the body, "-" none of it).
        until: repeat, for some seconds, until the answer has this status: for what a controller does later.
    """

    name: str
    method: str
    path: str
    body: Any = None
    content_type: str | None = JSON
    accept: str = JSON
    keep: str = ""
    until: int | None = None
    until_field: tuple[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps in order, in a namespace of their own. `definitions` are CRDs that stand before the first step."""

    name: str
    steps: tuple[Step, ...]
    definitions: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def namespace(self) -> str:
        return f"fidelity-{self.name}"


def fill(value: Any, answers: Mapping[str, Any]) -> Any:
    """Put earlier answers in place of `${step.path}`, at any depth; KeyError for a step that gave no such field."""
    if isinstance(value, str):
        return _PLACE.sub(lambda found: str(pick(answers, found[1])), value)
    if isinstance(value, dict):
        return {key: fill(item, answers) for key, item in value.items()}
    return [fill(item, answers) for item in value] if isinstance(value, list) else value


def pick(answers: Any, path: str) -> Any:
    """The value at a dotted path; a number is a list index."""
    for name in path.split("."):
        answers = answers[int(name)] if isinstance(answers, list) else answers[name]
    return answers


def get(name: str, path: str, **options: Any) -> Step:
    """A GET; options are fields of `Step`."""
    return Step(name, "GET", path, content_type=None, **options)


def post(name: str, path: str, body: Any, **options: Any) -> Step:
    """A POST of a new object."""
    return Step(name, "POST", path, body, **options)


def put(name: str, path: str, body: Any, **options: Any) -> Step:
    """A PUT."""
    return Step(name, "PUT", path, body, **options)


def delete(name: str, path: str, body: Any = None, **options: Any) -> Step:
    """A DELETE, with DeleteOptions or none."""
    return Step(name, "DELETE", path, body, **options)


def patch(name: str, path: str, kind: str, body: Any, **options: Any) -> Step:
    """A PATCH; `kind` is its media type."""
    return Step(name, "PATCH", path, body, content_type=kind, **options)
