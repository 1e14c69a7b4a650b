"""Faults in what people wrote: where, what is wrong, and what to do.

Invariant: a ``Problem`` is complete in itself; whoever shows it (command line, condition, test) adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)
PROBLEMS_MAX = 20


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
