"""Checking a manifest before anything is started.

Invariant: every problem of every document is reported in one go, each with its place; nothing has been started
when a manifest is refused here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shoal_operator.api.meta import GROUP
from shoal_operator.domain.validation import check_document
from shoal_operator.local.errors import UsageProblem
from shoal_operator.local.manifest import Document, located, parse_manifest

_MAX_BYTES: Final = 4 * 1024 * 1024


def load_manifest(path: Path) -> list[Document]:
    """Read and check a manifest.

    Raises:
        UsageProblem: it cannot be read, is not YAML, or does not fit its kind.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise UsageProblem(f"{path} has {len(data)} bytes, more than the {_MAX_BYTES} of a manifest")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{path} is not UTF-8: {error}") from error
    documents = parse_manifest(text, str(path))
    problems = [line for one in documents for line in located(one, str(path), problems_of(one))]
    if problems:
        raise UsageProblem("\n".join(problems), "the fields of a kind: kubectl explain computejob.spec")
    return documents


def problems_of(document: Document) -> list[tuple[str, str]]:
    """Path and message of everything wrong with a document of one of Shoal's kinds."""
    if not str(document.body["apiVersion"]).startswith(f"{GROUP}/"):
        return []
    return [
        (problem.path, f"{problem.message}{f' ({problem.hint})' if problem.hint else ''}")
        for problem in check_document(document.body)
    ]
