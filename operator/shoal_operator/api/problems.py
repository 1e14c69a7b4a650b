"""Faults in what people wrote: where, what is wrong, and what to do.

Invariant: a ``Problem`` is complete in itself; whoever shows it (command line, condition, test) adds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

ModelT = TypeVar("ModelT", bound=BaseModel)
PROBLEMS_MAX = 20
_TYPES: Final = {"int_type": "a whole number", "bool_type": "true or false"}
_SHOWN_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a document.

    Example:
        >>> str(Problem("spec.entrypoint", "must not be empty", "write the command that starts the program"))
        'spec.entrypoint must not be empty (hint: write the command that starts the program)'
    """

    path: str
    """Where: ``spec.workerGroups[0].minReplicas``; empty for the whole document."""
    message: str
    """What is wrong, without the path: "must be less than or equal to maxReplicas (4)"."""
    hint: str = ""
    """What to do; may be empty."""

    def __str__(self) -> str:
        hint = f" (hint: {self.hint})" if self.hint else ""
        return f"{self.path} {self.message}{hint}".strip()


class InvalidObjectError(ValueError):
    """A document is not a valid object of its kind.

    Attributes:
        problems: at least one, in the order of the document.
    """

    def __init__(self, kind: str, name: str, problems: Sequence[Problem]) -> None:
        self.kind = kind
        self.name = name
        self.problems = tuple(problems)
        super().__init__(f"{kind} {name!r} is invalid: " + "; ".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[InvalidObjectError], tuple[str, str, tuple[Problem, ...]]]:
        return InvalidObjectError, (self.kind, self.name, self.problems)


def parse_as(model: type[ModelT], document: dict[str, Any]) -> ModelT:
    """Read ``document`` as ``model``.

    Raises:
        InvalidObjectError: with one Problem per fault.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = [
            Problem(path_text(fault["loc"]), _sentence(fault["msg"])) for fault in error.errors()[:PROBLEMS_MAX]
        ]
        metadata = document.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise InvalidObjectError(model.__name__, str(name), problems) from None


def type_problems(model: type[BaseModel], document: Mapping[str, Any]) -> list[Problem]:
    """What the API server would say to the types in a manifest: it takes no ``"3"`` for 3, no ``"true"`` for true.

    Args:
        model: what it is to be.
        document: as it was written, so that numbers and texts are still told apart.

    Example:
        >>> from shoal_operator.api.cluster import WorkerGroup
        >>> print(*type_problems(WorkerGroup, {"name": "a", "maxReplicas": "3"}))
        maxReplicas must be a whole number, is the string "3" (hint: write it without quotes)
    """
    try:
        model.model_validate_json(json.dumps(document, default=str, skipkeys=True), strict=True)
    except ValidationError as error:
        faults = [fault for fault in error.errors() if not _is_whole(fault)]
        return [_problem(fault) for fault in faults[:PROBLEMS_MAX]]
    return []


def _is_whole(fault: ErrorDetails) -> bool:
    """Whether the fault is none: 3.0 is a whole number to Kubernetes."""
    given = fault["input"]
    return fault["type"] == "int_type" and isinstance(given, float) and given.is_integer()


def _problem(fault: ErrorDetails) -> Problem:
    path, given = path_text(fault["loc"]), fault["input"]
    wanted = _TYPES.get(fault["type"])
    if wanted is None:
        return Problem(path, _sentence(fault["msg"]))
    if not isinstance(given, str):
        return Problem(path, f"must be {wanted}, is {json.dumps(given)[:_SHOWN_MAX]}")
    hint = "write it without quotes" if given.isdecimal() else ""
    if fault["type"] == "bool_type":
        hint = "write `true` or `false`, without quotes"
    return Problem(path, f"must be {wanted}, is the string {json.dumps(given[:_SHOWN_MAX])}", hint)


def path_text(location: Sequence[str | int]) -> str:
    """``("spec", "workerGroups", 0, "name")`` as ``spec.workerGroups[0].name``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _sentence(message: str) -> str:
    replaced = message.removeprefix("Value error, ").replace("Input should be", "must be")
    replaced = replaced.replace("Field required", "is required")
    return replaced[:1].lower() + replaced[1:]
