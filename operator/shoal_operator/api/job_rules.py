"""The rules of a ComputeJob that the API server itself enforces (CEL), as pairs of rule and message.

Invariant: each rule names its fields in the message, so that the refusal says what to change; the same faults are
found by ``domain.validation`` where no API server is asked.
"""

from __future__ import annotations

from typing import Final

_STAGES: Final = (
    "(a.action == 'DeleteWorkers' && b.action in ['DeleteCluster', 'DeleteJob'])"
    " || (a.action == 'DeleteCluster' && b.action == 'DeleteJob')"
)
_TOUCHES_CLUSTER: Final = "rule.action in ['DeleteWorkers', 'DeleteCluster']"

CLEANUP_RULES: Final = (
    (
        f"self.all(a, self.all(b, a.outcome != b.outcome || !({_STAGES}) || a.afterSeconds <= b.afterSeconds))",
        "spec.cleanupPolicy[].afterSeconds must not decrease from DeleteWorkers to DeleteCluster to DeleteJob",
    ),
    (
        "self.all(a, self.exists_one(b, a.outcome == b.outcome && a.action == b.action))",
        "spec.cleanupPolicy must not have two rules of the same outcome and action",
    ),
    (
        (
            "!self.exists(a, a.action == 'KeepCluster' && "
            "self.exists(b, b.action == 'DeleteCluster' && b.outcome == a.outcome))"
        ),
        "spec.cleanupPolicy must not have both KeepCluster and DeleteCluster for one outcome",
    ),
)
"""Rules of ``spec.cleanupPolicy`` alone."""

JOB_RULES: Final = (
    ("!(has(self.clusterSpec) && has(self.clusterRef))", "spec must not have both `clusterSpec` and `clusterRef`"),
    (
        "self.entrypoint == oldSelf.entrypoint",
        "spec.entrypoint must not change; delete the job and create it again",
    ),
    ("self.mode == oldSelf.mode", "spec.mode must not change; delete the job and create it again"),
    (
        (
            "has(self.clusterRef) == has(oldSelf.clusterRef)"
            " && (!has(self.clusterRef) || self.clusterRef.name == oldSelf.clusterRef.name)"
        ),
        "spec.clusterRef must not change; delete the job and create it again",
    ),
    (
        "self.mode == 'Interactive' || self.entrypoint.matches('[^ \\\\t\\\\n\\\\r]')",
        "spec.entrypoint is required, but with spec.mode Interactive",
    ),
    (
        "self.mode != 'Interactive' || size(self.entrypoint) == 0",
        "spec.entrypoint must be absent with spec.mode Interactive: you submit the program yourself",
    ),
    (
        "self.mode == 'Interactive' || !has(self.submissionId)",
        "spec.submissionId is for spec.mode Interactive only",
    ),
    (
        (
            "oldSelf.suspend || !has(oldSelf.submissionId)"
            " || (has(self.submissionId) && self.submissionId == oldSelf.submissionId)"
        ),
        "spec.submissionId must not change once it is given, but while spec.suspend is true",
    ),
    (
        "self.mode != 'Interactive' || self.backoffLimit == 0",
        "spec.backoffLimit must be 0 with spec.mode Interactive: only you can submit your program again",
    ),
    (
        "!has(self.clusterRef) || self.retryPolicy.cluster == 'Same'",
        "spec.retryPolicy.cluster New cannot be used with `clusterRef`: that cluster is not this job's",
    ),
    (
        f"!has(self.clusterRef) || !has(self.cleanupPolicy) || !self.cleanupPolicy.exists(rule, {_TOUCHES_CLUSTER})",
        "spec.cleanupPolicy must not have DeleteWorkers or DeleteCluster with `clusterRef`: that cluster stays",
    ),
    (
        (
            "!has(self.ttlSecondsAfterFinished) || !has(self.cleanupPolicy)"
            " || self.cleanupPolicy.all(rule, rule.action != 'DeleteJob')"
        ),
        "spec must not have both `ttlSecondsAfterFinished` and a cleanupPolicy rule DeleteJob; they say the same",
    ),
    (
        (
            "!has(self.ttlSecondsAfterFinished) || !has(self.cleanupPolicy)"
            " || self.cleanupPolicy.all(rule, rule.afterSeconds <= self.ttlSecondsAfterFinished)"
        ),
        "spec.cleanupPolicy[].afterSeconds must not be more than `ttlSecondsAfterFinished`",
    ),
)
"""Rules of ``spec``."""
