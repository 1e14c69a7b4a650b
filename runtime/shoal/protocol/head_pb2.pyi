from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GangStrategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GANG_STRATEGY_UNSPECIFIED: _ClassVar[GangStrategy]
    GANG_STRATEGY_PACK: _ClassVar[GangStrategy]
    GANG_STRATEGY_SPREAD: _ClassVar[GangStrategy]
    GANG_STRATEGY_STRICT_PACK: _ClassVar[GangStrategy]
    GANG_STRATEGY_STRICT_SPREAD: _ClassVar[GangStrategy]

class DrainState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRAIN_STATE_UNSPECIFIED: _ClassVar[DrainState]
    DRAIN_STATE_ACTIVE: _ClassVar[DrainState]
    DRAIN_STATE_DRAINING: _ClassVar[DrainState]
    DRAIN_STATE_DRAINED: _ClassVar[DrainState]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_PENDING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_STOPPED: _ClassVar[JobState]
GANG_STRATEGY_UNSPECIFIED: GangStrategy
GANG_STRATEGY_PACK: GangStrategy
GANG_STRATEGY_SPREAD: GangStrategy
GANG_STRATEGY_STRICT_PACK: GangStrategy
GANG_STRATEGY_STRICT_SPREAD: GangStrategy
DRAIN_STATE_UNSPECIFIED: DrainState
DRAIN_STATE_ACTIVE: DrainState
DRAIN_STATE_DRAINING: DrainState
DRAIN_STATE_DRAINED: DrainState
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_PENDING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_STOPPED: JobState

class Resources(_message.Message):
    __slots__ = ("amounts",)
    class AmountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    amounts: _containers.ScalarMap[str, int]
    def __init__(self, amounts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Demand(_message.Message):
    __slots__ = ("shape", "count", "label_selector", "kind", "examples", "recent_count")
    class LabelSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    RECENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    shape: Resources
    count: int
    label_selector: _containers.ScalarMap[str, str]
    kind: str
    examples: _containers.RepeatedScalarFieldContainer[str]
    recent_count: int
    def __init__(self, shape: _Optional[_Union[Resources, _Mapping]] = ..., count: _Optional[int] = ..., label_selector: _Optional[_Mapping[str, str]] = ..., kind: _Optional[str] = ..., examples: _Optional[_Iterable[str]] = ..., recent_count: _Optional[int] = ...) -> None: ...

class GangBundle(_message.Message):
    __slots__ = ("shape", "label_selector", "count")
    class LabelSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    shape: Resources
    label_selector: _containers.ScalarMap[str, str]
    count: int
    def __init__(self, shape: _Optional[_Union[Resources, _Mapping]] = ..., label_selector: _Optional[_Mapping[str, str]] = ..., count: _Optional[int] = ...) -> None: ...

class Gang(_message.Message):
    __slots__ = ("gang_id", "name", "strategy", "bundles", "occupied_node_ids")
    GANG_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    OCCUPIED_NODE_IDS_FIELD_NUMBER: _ClassVar[int]
    gang_id: str
    name: str
    strategy: GangStrategy
    bundles: _containers.RepeatedCompositeFieldContainer[GangBundle]
    occupied_node_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, gang_id: _Optional[str] = ..., name: _Optional[str] = ..., strategy: _Optional[_Union[GangStrategy, str]] = ..., bundles: _Optional[_Iterable[_Union[GangBundle, _Mapping]]] = ..., occupied_node_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ClusterActivity(_message.Message):
    __slots__ = ("drivers", "jobs", "detached_actors", "idle_seconds")
    DRIVERS_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    DETACHED_ACTORS_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    drivers: int
    jobs: int
    detached_actors: int
    idle_seconds: float
    def __init__(self, drivers: _Optional[int] = ..., jobs: _Optional[int] = ..., detached_actors: _Optional[int] = ..., idle_seconds: _Optional[float] = ...) -> None: ...

class NodeSnapshot(_message.Message):
    __slots__ = ("node_id", "pod_name", "group", "address", "total", "available", "alive", "idle_seconds", "drain_state", "activity", "recently_available", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    POD_NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_STATE_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    RECENTLY_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    pod_name: str
    group: str
    address: str
    total: Resources
    available: Resources
    alive: bool
    idle_seconds: float
    drain_state: DrainState
    activity: str
    recently_available: Resources
    labels: _containers.ScalarMap[str, str]
    def __init__(self, node_id: _Optional[str] = ..., pod_name: _Optional[str] = ..., group: _Optional[str] = ..., address: _Optional[str] = ..., total: _Optional[_Union[Resources, _Mapping]] = ..., available: _Optional[_Union[Resources, _Mapping]] = ..., alive: bool = ..., idle_seconds: _Optional[float] = ..., drain_state: _Optional[_Union[DrainState, str]] = ..., activity: _Optional[str] = ..., recently_available: _Optional[_Union[Resources, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class JobSnapshot(_message.Message):
    __slots__ = ("submission_id", "state", "reason", "message", "exit_code", "has_exit_code", "start_time_seconds", "end_time_seconds", "output_tail", "tasks_finished", "tasks_failed", "tasks_submitted", "output_state", "output_message", "node_id")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    HAS_EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    END_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TAIL_FIELD_NUMBER: _ClassVar[int]
    TASKS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    TASKS_FAILED_FIELD_NUMBER: _ClassVar[int]
    TASKS_SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    state: JobState
    reason: str
    message: str
    exit_code: int
    has_exit_code: bool
    start_time_seconds: float
    end_time_seconds: float
    output_tail: str
    tasks_finished: int
    tasks_failed: int
    tasks_submitted: int
    output_state: str
    output_message: str
    node_id: str
    def __init__(self, submission_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., exit_code: _Optional[int] = ..., has_exit_code: bool = ..., start_time_seconds: _Optional[float] = ..., end_time_seconds: _Optional[float] = ..., output_tail: _Optional[str] = ..., tasks_finished: _Optional[int] = ..., tasks_failed: _Optional[int] = ..., tasks_submitted: _Optional[int] = ..., output_state: _Optional[str] = ..., output_message: _Optional[str] = ..., node_id: _Optional[str] = ...) -> None: ...

class HeadSnapshot(_message.Message):
    __slots__ = ("protocol_version", "incarnation", "version", "nodes", "demands", "jobs", "cluster_id", "gangs", "floors", "activity", "gangs_left_out")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    DEMANDS_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    GANGS_FIELD_NUMBER: _ClassVar[int]
    FLOORS_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    GANGS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    incarnation: str
    version: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeSnapshot]
    demands: _containers.RepeatedCompositeFieldContainer[Demand]
    jobs: _containers.RepeatedCompositeFieldContainer[JobSnapshot]
    cluster_id: str
    gangs: _containers.RepeatedCompositeFieldContainer[Gang]
    floors: _containers.RepeatedCompositeFieldContainer[Demand]
    activity: ClusterActivity
    gangs_left_out: int
    def __init__(self, protocol_version: _Optional[int] = ..., incarnation: _Optional[str] = ..., version: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeSnapshot, _Mapping]]] = ..., demands: _Optional[_Iterable[_Union[Demand, _Mapping]]] = ..., jobs: _Optional[_Iterable[_Union[JobSnapshot, _Mapping]]] = ..., cluster_id: _Optional[str] = ..., gangs: _Optional[_Iterable[_Union[Gang, _Mapping]]] = ..., floors: _Optional[_Iterable[_Union[Demand, _Mapping]]] = ..., activity: _Optional[_Union[ClusterActivity, _Mapping]] = ..., gangs_left_out: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("client",)
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    client: str
    def __init__(self, client: _Optional[str] = ...) -> None: ...

class SubmitJobRequest(_message.Message):
    __slots__ = ("submission_id", "entrypoint", "working_directory", "run_in_place", "environment", "metadata", "resources", "output_url", "output_secret_directory")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    RUN_IN_PLACE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_URL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SECRET_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    entrypoint: str
    working_directory: str
    run_in_place: bool
    environment: _containers.ScalarMap[str, str]
    metadata: _containers.ScalarMap[str, str]
    resources: Resources
    output_url: str
    output_secret_directory: str
    def __init__(self, submission_id: _Optional[str] = ..., entrypoint: _Optional[str] = ..., working_directory: _Optional[str] = ..., run_in_place: bool = ..., environment: _Optional[_Mapping[str, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., output_url: _Optional[str] = ..., output_secret_directory: _Optional[str] = ...) -> None: ...

class SubmitJobReply(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: JobSnapshot
    created: bool
    def __init__(self, job: _Optional[_Union[JobSnapshot, _Mapping]] = ..., created: bool = ...) -> None: ...

class StopJobRequest(_message.Message):
    __slots__ = ("submission_id", "reason", "grace_seconds")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    reason: str
    grace_seconds: float
    def __init__(self, submission_id: _Optional[str] = ..., reason: _Optional[str] = ..., grace_seconds: _Optional[float] = ...) -> None: ...

class StopJobReply(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: bool = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListJobsReply(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[JobSnapshot]
    def __init__(self, jobs: _Optional[_Iterable[_Union[JobSnapshot, _Mapping]]] = ...) -> None: ...

class ReadJobOutputRequest(_message.Message):
    __slots__ = ("submission_id", "offset", "follow")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    offset: int
    follow: bool
    def __init__(self, submission_id: _Optional[str] = ..., offset: _Optional[int] = ..., follow: bool = ...) -> None: ...

class JobOutput(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class DrainNodeRequest(_message.Message):
    __slots__ = ("node_id", "reason", "deadline_seconds", "only_if_idle")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_IDLE_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    reason: str
    deadline_seconds: float
    only_if_idle: bool
    def __init__(self, node_id: _Optional[str] = ..., reason: _Optional[str] = ..., deadline_seconds: _Optional[float] = ..., only_if_idle: bool = ...) -> None: ...

class DrainNodeReply(_message.Message):
    __slots__ = ("accepted", "message")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    message: str
    def __init__(self, accepted: bool = ..., message: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("decision_id", "time_seconds", "what", "why")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    time_seconds: float
    what: str
    why: str
    def __init__(self, decision_id: _Optional[str] = ..., time_seconds: _Optional[float] = ..., what: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class RecordDecisionsRequest(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ...) -> None: ...

class RecordDecisionsReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDecisionsReply(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ...) -> None: ...
