"""What a list or a watch may ask for together; the rest of its query is read where it is used.

Invariant: pure; a combination that the real server refuses is refused here, with its words.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.errors import FieldError

_MATCH, _INITIAL = "resourceVersionMatch", "sendInitialEvents"


def check_list(query: Mapping[str, str]) -> None:
    """StatusError 422 for a list that makes no sense."""
    problems = []
    match, version = query.get(_MATCH, ""), query.get("resourceVersion", "")
    if match and not version:
        problems.append(errors.forbidden_field(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided"))
    if match and query.get("continue"):
        problems.append(_no_continue())
    if match not in ("", "Exact", "NotOlderThan"):
        problems.append(errors.not_supported(_MATCH, match, ("Exact", "NotOlderThan", "")))
    if match == "Exact" and version == "0":
        words = f'{_MATCH} "exact" is forbidden for resourceVersion "0"'
        problems.append(errors.forbidden_field(_MATCH, words))
    if _INITIAL in query:
        problems.append(errors.forbidden_field(_INITIAL, f"{_INITIAL} is forbidden for list"))
    _refuse(problems)


def check_watch(query: Mapping[str, str]) -> None:
    """StatusError 422 for a watch that makes no sense."""
    problems = []
    match = query.get(_MATCH, "")
    if _INITIAL in query and match != "NotOlderThan":
        words = f"{_INITIAL} requires setting {_MATCH} to NotOlderThan"
        problems.append(errors.forbidden_field(_MATCH, words))
    if match and _INITIAL not in query:
        words = f"{_MATCH} is forbidden for watch unless {_INITIAL} is provided"
        problems.append(errors.forbidden_field(_MATCH, words))
    if match not in ("", "NotOlderThan"):
        problems.append(errors.not_supported(_MATCH, match, ("NotOlderThan",)))
    if match and query.get("continue"):
        problems.append(_no_continue())
    _refuse(problems)


def _no_continue() -> FieldError:
    return errors.forbidden_field(_MATCH, f"{_MATCH} is forbidden when continue is provided")


def _refuse(problems: list[FieldError]) -> None:
    if problems:
        raise errors.invalid("ListOptions.meta.k8s.io", "", problems)
