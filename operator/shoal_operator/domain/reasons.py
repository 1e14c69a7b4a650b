"""Every reason that reaches people through conditions and events, each said once.

Invariant: a reason is one CamelCase word, never changes its meaning, and stands here only while something gives it.
"""

from __future__ import annotations

from enum import StrEnum

from shoal.protocol import reasons
from shoal_operator.autoscaler import reasons as planner


class ConditionType(StrEnum):
    """Names of conditions. All are good when True but Failed, Suspended, Idle, Stopping, Progressing, InvalidSpec."""

    READY = "Ready"
    HEAD_READY = "HeadReady"
    HEAD_REACHABLE = "HeadReachable"
    WORKERS_READY = "WorkersReady"
    DEMAND_SATISFIED = "DemandSatisfied"
    UP_TO_DATE = "UpToDate"
    CERTIFICATES_READY = "CertificatesReady"
    PROGRESSING = "Progressing"
    INVALID_SPEC = "InvalidSpec"
    SUSPENDED = "Suspended"
    IDLE = "Idle"
    RUNNING = "Running"
    COMPLETE = "Complete"
    FAILED = "Failed"
    STOPPING = "Stopping"
    OUTPUT_SAVED = "OutputSaved"


class Reason(StrEnum):
    """Why."""

    # Clusters
    ALL_READY = "AllReady"
    HEAD_RUNNING = "HeadRunning"
    HEAD_MISSING = "HeadMissing"
    HEAD_STARTING = "HeadStarting"
    HEAD_STOPPED = reasons.HEAD_STOPPED
    HEAD_NODE_LOST = "HeadNodeLost"
    """The head's pod hangs in Terminating on a node that does not answer; there is no other one before it is gone."""
    HEAD_ANSWERS = "HeadAnswers"
    HEAD_UNREACHABLE = "HeadUnreachable"
    CLUSTER_DELETED = "ClusterDeleted"
    """The cluster that a job ran on has gone, and its head with it."""
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
    SUSPENDING_IDLE = "SuspendingIdle"
    """The idle policy takes the pods away; somebody who comes before the first has gone keeps them."""
    IDLE_TIMEOUT = "IdleTimeout"
    """Nobody has used the cluster for as long as its idle policy says."""
    IN_USE = "InUse"
    COUNTING_DOWN = "CountingDown"
    NO_IDLE_POLICY = "NoIdlePolicy"
    INVALID_SPEC = "InvalidSpec"
    VALID = "Valid"
    WRITE_REFUSED = planner.WRITE_REFUSED
    CERTIFICATES_ISSUED = "CertificatesIssued"
    WAITING_FOR_CERTIFICATE = "WaitingForCertificate"
    CERTIFICATE_UNUSABLE = "CertificateUnusable"
    NOT_ENCRYPTED = "NotEncrypted"
    HEAD_CRASH_LOOP = "HeadCrashLoop"
    ALL_UP_TO_DATE = "AllUpToDate"
    ROLLING_OUT = "RollingOut"
    ROLLOUT_STUCK = "RolloutStuck"
    WAITING_FOR_DELETION = "WaitingForDeletion"
    HEAD_WAITS = "HeadWaits"
    # Why a pod does not run
    IMAGE_UNAVAILABLE = planner.IMAGE_UNAVAILABLE
    """The image cannot be had: no such image, no such registry, a name that is none."""
    IMAGE_PULL_DENIED = "ImagePullDenied"
    """The registry wants credentials: the pull secret is missing or wrong."""
    UNSCHEDULABLE = planner.UNSCHEDULABLE
    """No node takes the pod: too little CPU, memory or GPU, taints, affinity."""
    VOLUME_CLAIM_PENDING = planner.VOLUME_CLAIM_PENDING
    """A PersistentVolumeClaim of the pod does not exist or is not bound."""
    SCHEDULING_GATED = planner.SCHEDULING_GATED
    """Somebody (a queue, a quota) holds the pod back with a scheduling gate."""
    VOLUME_NOT_MOUNTED = planner.VOLUME_NOT_MOUNTED
    """A volume cannot be mounted: its ConfigMap or Secret does not exist, or the storage refuses."""
    CONTAINER_MISCONFIGURED = "ContainerMisconfigured"
    """The container cannot be set up: a variable's Secret or key is missing, or it would run as root."""
    CONTAINER_NOT_STARTED = planner.CONTAINER_NOT_STARTED
    """The container runtime refuses to start the container."""
    SANDBOX_FAILED = planner.SANDBOX_FAILED
    """The node cannot make the pod's surroundings: its network or its runtime class."""
    INIT_CONTAINER_RUNS = "InitContainerRuns"
    """An init container has not ended; everything else waits for it."""
    INIT_CONTAINER_FAILED = "InitContainerFailed"
    """An init container ends with an error."""
    CONTAINER_RESTARTED = "ContainerRestarted"
    """A container ended and is started again; not yet a loop."""
    CRASH_LOOP = "CrashLoop"
    """A container ends soon after each start."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A container was killed at its memory limit."""
    PROBE_FAILS = "ProbeFails"
    """The container runs, and its probe fails."""
    NODE_REFUSED_POD = "NodeRefusedPod"
    """The node sent the pod back: no room left, or it does not match."""
    EVICTED = "Evicted"
    """The node threw the pod out: it or the node ran out of memory or disk."""
    POD_DISRUPTED = "PodDisrupted"
    """The cluster takes the pod away: eviction, preemption, a taint, a node's shutdown."""
    NOT_JOINED = "NotJoined"
    """The pod runs, and the runtime in it has not joined the head for minutes."""
    NODE_LOST = reasons.NODE_LOST
    """The pod's node does not answer."""
    # Why a pod is not let in
    QUOTA_EXCEEDED = planner.QUOTA_EXCEEDED
    """A ResourceQuota has no room for the pod."""
    ADMISSION_DENIED = planner.ADMISSION_DENIED
    """Pod Security, a policy, a webhook or a limit of the namespace refuses the pod."""
    ADMISSION_UNAVAILABLE = planner.ADMISSION_UNAVAILABLE
    """An admission webhook that has to agree does not answer."""
    SERVICE_ACCOUNT_MISSING = planner.SERVICE_ACCOUNT_MISSING
    """The ServiceAccount that the template names does not exist."""
    PRIORITY_CLASS_MISSING = planner.PRIORITY_CLASS_MISSING
    """The PriorityClass that the template names does not exist."""
    INVALID_TEMPLATE = planner.INVALID_TEMPLATE
    """The API server would not take a pod of this template: unknown fields or wrong values."""
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
    ENTRYPOINT_FAILED = reasons.ENTRYPOINT_FAILED
    STOPPED = "Stopped"
    HEAD_LOST = reasons.HEAD_LOST
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    CONCURRENCY_LIMIT = "ConcurrencyLimit"
    WAITING_FOR_SUBMISSION = "WaitingForSubmission"
    SUBMISSION_NOT_FOUND = "SubmissionNotFound"
    REPLACING_CLUSTER = "ReplacingCluster"
    DRIVER_WAITS = "DriverWaits"
    NODE_OUT_OF_TOUCH = reasons.NODE_OUT_OF_TOUCH
    NO_HEAD = "NoHead"
    NOT_STOPPING = "NotStopping"
    STOP_NOT_CONFIRMED = "StopNotConfirmed"
    DELETED = "Deleted"
    OUTPUT_SAVED = "OutputSaved"
    SAVING_OUTPUT = "SavingOutput"
    OUTPUT_NOT_SAVED = "OutputNotSaved"
    # Why pods go
    FAILED_POD = "PodEnded"
    OUTDATED_POD = "PodOutdated"
    GROUP_REMOVED = "GroupRemoved"
    GROUP_SUSPENDED = "GroupSuspended"
    HOST_LOST = "HostLost"
    IDLE = planner.IDLE
    DRAINED = "Drained"
    DRAIN_TIMED_OUT = "DrainTimedOut"
    NODE_GONE = "NodeGone"
    OVER_LIMIT = planner.OVER_LIMIT
    NOT_NEEDED = planner.NOT_NEEDED
    # Events
    CREATED_WORKERS = "CreatedWorkers"
    DRAINING_WORKERS = "DrainingWorkers"
    RECREATING_HEAD = "RecreatingHead"
    INFEASIBLE_DEMAND = "InfeasibleDemand"
    HEAD_COMMAND_REFUSED = "HeadCommandRefused"
    CERTIFICATE_ISSUED = "CertificateIssued"


class Action(StrEnum):
    """What the operator was doing when it recorded an event."""

    SCALE_UP = "ScaleUp"
    SCALE_DOWN = "ScaleDown"
    REPLACE_HEAD = "ReplaceHead"
    VALIDATE = "Validate"
    PLAN = "Plan"
    EXPLAIN = "Explain"
    UPDATE = "Update"
    SUBMIT = "Submit"
    FINISH = "Finish"
    ISSUE_CERTIFICATE = "IssueCertificate"
