"""Checking manifests for people: every problem of every file, each at its line, with what was probably meant.

Invariant: nothing is applied, started or read but the text that is given; the same checks as the operator's, and hints
on top. One file that cannot be read keeps nobody from hearing about the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shoal_operator.api.meta import GROUP
from shoal_operator.api.problems import Problem
from shoal_operator.domain.hints import Name, misgivings
from shoal_operator.domain.sound_part import sound_part
from shoal_operator.domain.validation import check_document
from shoal_operator.local.errors import UsageProblem
from shoal_operator.local.manifest import Document, parse_manifest

_PLACE = re.compile(r":(\d+)(?::(\d+))?: ")


@dataclass(frozen=True, order=True)
class Finding:
    """One problem.

    Example:
        >>> str(
        ...     Finding(
        ...         "job.yaml", 4, 3, "spec.entrypont", "is not a field of ComputeJob", "did you mean `entrypoint`?"
        ...     )
        ... )
        'job.yaml:4: spec.entrypont: is not a field of ComputeJob: did you mean `entrypoint`?'
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}", self.path, self.message, self.hint) if part)


@dataclass(frozen=True)
class Report:
    """What came of it: how many objects of ours were looked at, and what is wrong with them."""

    objects: int
    findings: tuple[Finding, ...]
    passed_over: int = 0
    """Objects of other kinds, of which nothing is said."""


def lint(texts: Mapping[str, str]) -> Report:
    """Check manifests together.

    Args:
        texts: the name of each file to its text; several documents each. Objects of other kinds are passed over.
    """
    found: list[Finding] = []
    documents: list[tuple[str, Document]] = []
    for name, text in texts.items():
        try:
            documents += [(name, document) for document in parse_manifest(text, name)]
        except UsageProblem as problem:
            found.append(_unreadable(name, problem))
    clusters = [_name(each.body) for _, each in documents if each.body.get("kind") == "ComputeCluster"]
    first: dict[tuple[object, ...], str] = {}
    count = 0
    for name, document in documents:
        ours = _is_ours(document.body)
        count += ours
        problems = check_document(document.body) if ours else []
        rest = sound_part(document.body, problems) if problems else document.body
        if rest is not None:
            problems += [*misgivings(rest, clusters), *(_templates(rest) if ours else ())]
        if ours:
            problems += _again(name, document, first)
        found += [_placed(name, document, problem) for problem in problems]
    return Report(count, tuple(sorted(found)), passed_over=len(documents) - count)


def _templates(body: Mapping[str, Any]) -> list[Problem]:
    # Late: most manifests have no template, and the table of Kubernetes' fields is large.
    from shoal_operator.local.template_lint import template_problems

    return list(template_problems(body))


def _again(file: str, document: Document, first: dict[tuple[object, ...], str]) -> list[Problem]:
    identity = (document.body["kind"], *_name(document.body))
    line, _ = document.where("metadata.name")
    before = first.setdefault(identity, f"{file}:{line}")
    if before == f"{file}:{line}":
        return []
    return [Problem("metadata.name", f"is the name of another {identity[0]}, at {before}", "rename one of them")]


def _is_ours(body: Mapping[str, Any]) -> bool:
    return str(body.get("apiVersion")).startswith(f"{GROUP}/")


def _name(body: Mapping[str, Any]) -> Name:
    metadata = body["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])


def _placed(file: str, document: Document, problem: Problem) -> Finding:
    line, column = document.where(problem.path)
    return Finding(file, line, column, problem.path, problem.message, problem.hint)


def _unreadable(file: str, problem: UsageProblem) -> Finding:
    """A text that is no manifest: the place stands at the start of the message."""
    rest = problem.message.removeprefix(file)
    place = _PLACE.match(rest)
    if place is None:
        return Finding(file, 1, 1, "", rest.removeprefix(": "), problem.hint)
    return Finding(file, int(place[1]), int(place[2] or 1), "", rest[place.end() :], problem.hint)
