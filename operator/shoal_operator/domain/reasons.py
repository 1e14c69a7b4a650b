"""Every reason that reaches people through conditions and events, each said once.

Invariant: a reason is one CamelCase word and never changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Names of conditions. All are good when True but Failed, Suspended, Progressing and InvalidSpec."""

    READY = "Ready"
    HEAD_READY = "HeadReady"
    HEAD_REACHABLE = "HeadReachable"
    DEMAND_SATISFIED = "DemandSatisfied"
    PROGRESSING = "Progressing"
    INVALID_SPEC = "InvalidSpec"
    SUSPENDED = "Suspended"
    RUNNING = "Running"
    COMPLETE = "Complete"
    FAILED = "Failed"


class Reason(StrEnum):
    """Why."""

    # Clusters
    ALL_READY = "AllReady"
    HEAD_RUNNING = "HeadRunning"
    HEAD_MISSING = "HeadMissing"
    HEAD_STARTING = "HeadStarting"
    HEAD_STOPPED = "HeadStopped"
    HEAD_ANSWERS = "HeadAnswers"
    HEAD_UNREACHABLE = "HeadUnreachable"
    HEAD_NOT_YET_REACHED = "HeadNotYetReached"
    NO_DEMAND_KNOWN = "NoDemandKnown"
    NOTHING_WAITS = "NothingWaits"
    WAITING_FOR_WORKERS = "WaitingForWorkers"
    INFEASIBLE = "Infeasible"
    LIMIT_REACHED = "LimitReached"
    WORKERS_BLOCKED = "WorkersBlocked"
    SETTLED = "Settled"
    SCALING_UP = "ScalingUp"
    SCALING_DOWN = "ScalingDown"
    STARTING = "Starting"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    SUSPENDING = "Suspending"
    INVALID_SPEC = "InvalidSpec"
    VALID = "Valid"
    WRITE_REFUSED = "WriteRefused"
    # Jobs
    WAITING_FOR_CLUSTER = "WaitingForCluster"
    WAITING_FOR_HEAD = "WaitingForHead"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    CLUSTER_NAME_TAKEN = "ClusterNameTaken"
    CLUSTER_SUSPENDED = "ClusterSuspended"
    SUBMITTING = "Submitting"
    SUBMISSION_REFUSED = "SubmissionRefused"
    JOB_RUNNING = "JobRunning"
    RETRYING = "Retrying"
    SUCCEEDED = "Succeeded"
    NOT_FINISHED = "NotFinished"
    FINISHED = "Finished"
    ENTRYPOINT_FAILED = "EntrypointFailed"
    STOPPED = "Stopped"
    HEAD_LOST = "HeadLost"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    # Why pods go
    FAILED_POD = "PodEnded"
    OUTDATED_POD = "PodOutdated"
    IDLE = "Idle"
    DRAINED = "Drained"
    DRAIN_TIMED_OUT = "DrainTimedOut"
    NODE_GONE = "NodeGone"
    OVER_LIMIT = "OverLimit"
    NOT_NEEDED = "NotNeeded"
    TTL_EXPIRED = "TtlExpired"
    CLEANUP = "Cleanup"
    # Events
    CREATED_WORKERS = "CreatedWorkers"
    DRAINING_WORKERS = "DrainingWorkers"
    RECREATING_HEAD = "RecreatingHead"
    INFEASIBLE_DEMAND = "InfeasibleDemand"
    JOB_SUBMITTED = "JobSubmitted"
    HEAD_COMMAND_REFUSED = "HeadCommandRefused"


class Action(StrEnum):
    """What the operator was doing when it recorded an event."""

    SCALE_UP = "ScaleUp"
    SCALE_DOWN = "ScaleDown"
    REPLACE_HEAD = "ReplaceHead"
    VALIDATE = "Validate"
    PLAN = "Plan"
    SUBMIT = "Submit"
    FINISH = "Finish"
