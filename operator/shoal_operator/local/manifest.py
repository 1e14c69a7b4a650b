"""Manifests for local mode: YAML with line numbers, so that an error says where it is.

Invariant: pure but for reading; a manifest is either understood as a whole or refused with every problem found,
each at its line and column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from shoal_operator.local.errors import UsageProblem

_MAX_DOCUMENTS: Final = 100
Path = tuple[str | int, ...]
Mark = tuple[int, int]


@dataclass(frozen=True)
class Document:
    """One object of a manifest; ``marks`` has the line and column (from 1) of every path in it."""

    body: dict[str, Any]
    marks: dict[str, Mark] = field(default_factory=dict)

    def where(self, path: str) -> Mark:
        """The place of ``path`` (``spec.groups[0].name``), or of the nearest part of it that is written."""
        while path not in self.marks:
            cut = max(path.rfind("."), path.rfind("["))
            if cut < 0:
                return self.marks.get("", (1, 1))
            path = path[:cut]
        return self.marks[path]


def parse_manifest(text: str, name: str) -> list[Document]:
    """The objects of a manifest.

    Raises:
        UsageProblem: not YAML, a key twice, not an object, nothing in it; ``file:line:column`` comes first.
    """
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise UsageProblem(f"{place}: not valid YAML: {error.problem}", _yaml_hint(text, mark)) from error
    except yaml.YAMLError as error:
        raise UsageProblem(f"{name}: not valid YAML: {error}") from error
    documents = [_document(node, name) for node in nodes if not _is_null(node)]
    if not documents:
        raise UsageProblem(f"{name}: there is no object in it", "a manifest has apiVersion, kind, metadata and spec")
    if len(documents) > _MAX_DOCUMENTS:
        raise UsageProblem(f"{name}: {len(documents)} objects are more than the {_MAX_DOCUMENTS} allowed")
    return documents


def _yaml_hint(text: str, mark: yaml.Mark | None) -> str:
    if mark is None:
        return ""
    lines = text.splitlines()
    if mark.line < len(lines) and "\t" in lines[mark.line]:
        return "indent with spaces, YAML allows no tabs"
    return "check the indentation and the quotes of that line and of the one before"


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")


def _document(node: yaml.Node, name: str) -> Document:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if not isinstance(node, yaml.MappingNode):
        raise UsageProblem(f"{name}:{line}:{column}: expected an object with apiVersion and kind")
    marks = dict(_marks(node, "", name))
    try:
        body = yaml.SafeLoader("").construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise UsageProblem(f"{place}: {error.problem}") from error
    document = Document(body, marks)
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key), str):
            raise UsageProblem(f"{name}:{line}:{column}: the object has no {key}", "write it as for kubectl")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise UsageProblem(f"{name}:{line}:{column}: the object has no metadata.name")
    return document


def _marks(node: yaml.Node, path: str, name: str) -> Iterator[tuple[str, Mark]]:
    """Places of everything below a node; a key that is there twice is an error."""
    yield path, (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, Mark] = {}
        for key, value in node.value:
            mark = (key.start_mark.line + 1, key.start_mark.column + 1)
            text = str(key.value)
            if text in seen and text != "<<":
                raise UsageProblem(
                    f"{name}:{mark[0]}:{mark[1]}: the key {text!r} is there twice, first in line {seen[text][0]}"
                )
            seen[text] = mark
            below = f"{path}.{text}" if path else text
            yield from _marks(value, below, name)
            yield below, mark
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _marks(value, f"{path}[{index}]", name)


def located(document: Document, name: str, problems: Sequence[tuple[str, str]]) -> list[str]:
    """Problems as ``file:line:column: path message``, in the order of the file.

    Args:
        document: where the paths point into.
        name: the file's name.
        problems: path and message.
    """
    placed = sorted((document.where(path), path, message) for path, message in problems)
    return [f"{name}:{line}:{column}: {path} {message}".rstrip() for (line, column), path, message in placed]
