"""What the API server does not let in, and why: a quota, a policy, a template that makes no sense.

Invariant: pure. The server's own words are kept; only the reason and what to do are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shoal_operator.domain.labels import HEAD_GROUP
from shoal_operator.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """Pods of one worker group (or the head) that the server refuses.

    It counts for as long as it stands among a cluster's observed refusals; then the pods are tried again.
    """

    group: str
    """The worker group; ``head`` for the head."""
    pod_name: str
    """The pod that was tried."""
    reason: Reason
    words: str
    """The server's."""
    hint: str = ""
    """What to do; may be empty."""

    @property
    def message(self) -> str:
        """All of it in one line, for people."""
        if self.reason is Reason.INVALID_TEMPLATE:
            whose = "the head" if self.group == HEAD_GROUP else f"group `{self.group}`"
            return f"the pod template of {whose} is not valid: {self.words}"
        text = f"pod {self.pod_name} cannot be created: {self.words}"
        return f"{text}; {self.hint}" if self.hint else text


_AGAIN: Final = "it is tried again by itself"
KINDS_ARE_NEW: Final = (
    "right after their installation an API server may not know the kinds of shoal.dev for up to half a minute; "
    f"{_AGAIN}"
)
_BY_WORDS: Final[Sequence[tuple[re.Pattern[str], Reason, str]]] = (
    (
        re.compile(r"cannot find RESTMapping"),
        Reason.ADMISSION_UNAVAILABLE,
        KINDS_ARE_NEW,
    ),
    (
        re.compile(r'User ".*" cannot '),
        Reason.WRITE_REFUSED,
        "give the operator's service account the rights of its chart",
    ),
    (
        re.compile(r"exceeded quota:|status unknown for quota:"),
        Reason.QUOTA_EXCEEDED,
        f"ask for less, delete what is not needed or raise the ResourceQuota; {_AGAIN}",
    ),
    (
        re.compile(r"failed quota:"),
        Reason.ADMISSION_DENIED,
        "set what the namespace's ResourceQuota counts in the template's resources",
    ),
    (
        re.compile(r"violates PodSecurity"),
        Reason.ADMISSION_DENIED,
        "correct the securityContext in the pod template, or the Pod Security level of the namespace",
    ),
    (
        re.compile(r"failed calling webhook|failed to call webhook"),
        Reason.ADMISSION_UNAVAILABLE,
        f"bring the webhook back, or remove its configuration; {_AGAIN}",
    ),
    (
        re.compile(r"denied (the )?request"),
        Reason.ADMISSION_DENIED,
        f"correct the pod template, or the policy; {_AGAIN}",
    ),
    (
        re.compile(r"service ?account", re.IGNORECASE),
        Reason.SERVICE_ACCOUNT_MISSING,
        f"create the ServiceAccount that serviceAccountName of the pod template names; {_AGAIN}",
    ),
    (
        re.compile(r"no PriorityClass"),
        Reason.PRIORITY_CLASS_MISSING,
        f"create the PriorityClass that the pod template names; {_AGAIN}",
    ),
    (
        re.compile(r"being terminated"),
        Reason.WRITE_REFUSED,
        "the namespace is being deleted",
    ),
)
"""The first that matches counts."""
_FORBIDDEN: Final = 403


def explain_refusal(group: str, pod_name: str, code: int, words: str) -> Refusal:
    """The refusal of a pod, made from the server's answer.

    Args:
        group: the pod's worker group, or ``head``.
        pod_name: the pod's name.
        code: the HTTP status of the answer.
        words: its message.
    """
    for pattern, reason, hint in _BY_WORDS:
        if pattern.search(words):
            return Refusal(group, pod_name, reason, words, hint)
    if code == _FORBIDDEN:
        hint = f"correct the pod template, or what forbids it; {_AGAIN}"
        return Refusal(group, pod_name, Reason.ADMISSION_DENIED, words, hint)
    return Refusal(group, pod_name, Reason.INVALID_TEMPLATE, words)


def passes_soon(refusal: Refusal) -> bool:
    """Whether it is known to pass by itself within a minute."""
    return refusal.hint == KINDS_ARE_NEW


def is_about_template(refusal: Refusal) -> bool:
    """Whether trying again changes nothing until the template does."""
    return refusal.reason is Reason.INVALID_TEMPLATE
