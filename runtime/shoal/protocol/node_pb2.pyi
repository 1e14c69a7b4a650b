from shoal.protocol import head_pb2 as _head_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeAddress(_message.Message):
    __slots__ = ("node_id", "ip", "port")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    ip: str
    port: int
    def __init__(self, node_id: _Optional[str] = ..., ip: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class RegisterNode(_message.Message):
    __slots__ = ("protocol_version", "address", "total", "labels", "pod_name", "group", "is_head", "live_actor_ids", "failed_actors", "held_bundles", "drivers")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    POD_NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    IS_HEAD_FIELD_NUMBER: _ClassVar[int]
    LIVE_ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ACTORS_FIELD_NUMBER: _ClassVar[int]
    HELD_BUNDLES_FIELD_NUMBER: _ClassVar[int]
    DRIVERS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    address: NodeAddress
    total: _head_pb2.Resources
    labels: _containers.ScalarMap[str, str]
    pod_name: str
    group: str
    is_head: bool
    live_actor_ids: _containers.RepeatedScalarFieldContainer[str]
    failed_actors: _containers.RepeatedCompositeFieldContainer[ActorFailed]
    held_bundles: _containers.RepeatedCompositeFieldContainer[BundleKey]
    drivers: ConnectedDrivers
    def __init__(self, protocol_version: _Optional[int] = ..., address: _Optional[_Union[NodeAddress, _Mapping]] = ..., total: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., pod_name: _Optional[str] = ..., group: _Optional[str] = ..., is_head: bool = ..., live_actor_ids: _Optional[_Iterable[str]] = ..., failed_actors: _Optional[_Iterable[_Union[ActorFailed, _Mapping]]] = ..., held_bundles: _Optional[_Iterable[_Union[BundleKey, _Mapping]]] = ..., drivers: _Optional[_Union[ConnectedDrivers, _Mapping]] = ...) -> None: ...

class ConnectedDrivers(_message.Message):
    __slots__ = ("count_by_job_id",)
    class CountByJobIdEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    COUNT_BY_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    count_by_job_id: _containers.ScalarMap[str, int]
    def __init__(self, count_by_job_id: _Optional[_Mapping[str, int]] = ...) -> None: ...

class BundleKey(_message.Message):
    __slots__ = ("group_id", "index")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    index: int
    def __init__(self, group_id: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class NodeReport(_message.Message):
    __slots__ = ("available", "demands", "idle_seconds", "activity", "drain_state")
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    DEMANDS_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    DRAIN_STATE_FIELD_NUMBER: _ClassVar[int]
    available: _head_pb2.Resources
    demands: _containers.RepeatedCompositeFieldContainer[_head_pb2.Demand]
    idle_seconds: float
    activity: str
    drain_state: _head_pb2.DrainState
    def __init__(self, available: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., demands: _Optional[_Iterable[_Union[_head_pb2.Demand, _Mapping]]] = ..., idle_seconds: _Optional[float] = ..., activity: _Optional[str] = ..., drain_state: _Optional[_Union[_head_pb2.DrainState, str]] = ...) -> None: ...

class TaskCounts(_message.Message):
    __slots__ = ("job_id", "submitted", "finished", "failed")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    submitted: int
    finished: int
    failed: int
    def __init__(self, job_id: _Optional[str] = ..., submitted: _Optional[int] = ..., finished: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

class ActorStarted(_message.Message):
    __slots__ = ("actor_id", "worker")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    worker: bytes
    def __init__(self, actor_id: _Optional[str] = ..., worker: _Optional[bytes] = ...) -> None: ...

class ActorFailed(_message.Message):
    __slots__ = ("actor_id", "reason", "message", "error")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    reason: str
    message: str
    error: bytes
    def __init__(self, actor_id: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., error: _Optional[bytes] = ...) -> None: ...

class DriverStarted(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class DriverExited(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ActorScopeEnded(_message.Message):
    __slots__ = ("actor_id", "reason")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    reason: str
    def __init__(self, actor_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DrainAnswer(_message.Message):
    __slots__ = ("drain_id", "accepted", "message")
    DRAIN_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    drain_id: str
    accepted: bool
    message: str
    def __init__(self, drain_id: _Optional[str] = ..., accepted: bool = ..., message: _Optional[str] = ...) -> None: ...

class LogLines(_message.Message):
    __slots__ = ("job_id", "source", "lines", "is_err")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    IS_ERR_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    source: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    is_err: bool
    def __init__(self, job_id: _Optional[str] = ..., source: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ..., is_err: bool = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class DriverReport(_message.Message):
    __slots__ = ("submission_id", "state", "exit_code", "message")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[DriverReport.State]
        STATE_REFUSED: _ClassVar[DriverReport.State]
        STATE_STARTING: _ClassVar[DriverReport.State]
        STATE_RUNNING: _ClassVar[DriverReport.State]
        STATE_EXITED: _ClassVar[DriverReport.State]
        STATE_FAILED: _ClassVar[DriverReport.State]
    STATE_UNSPECIFIED: DriverReport.State
    STATE_REFUSED: DriverReport.State
    STATE_STARTING: DriverReport.State
    STATE_RUNNING: DriverReport.State
    STATE_EXITED: DriverReport.State
    STATE_FAILED: DriverReport.State
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    state: DriverReport.State
    exit_code: int
    message: str
    def __init__(self, submission_id: _Optional[str] = ..., state: _Optional[_Union[DriverReport.State, str]] = ..., exit_code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class DriverOutput(_message.Message):
    __slots__ = ("submission_id", "data")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    data: bytes
    def __init__(self, submission_id: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class BundlesAnswer(_message.Message):
    __slots__ = ("group_id", "attempt", "accepted", "message")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    attempt: int
    accepted: bool
    message: str
    def __init__(self, group_id: _Optional[str] = ..., attempt: _Optional[int] = ..., accepted: bool = ..., message: _Optional[str] = ...) -> None: ...

class NodeMessage(_message.Message):
    __slots__ = ("register", "report", "task_counts", "actor_started", "actor_failed", "driver_started", "driver_exited", "actor_scope_ended", "log_lines", "drain_answer", "goodbye", "driver_report", "driver_output", "bundles_answer")
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    TASK_COUNTS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_STARTED_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FAILED_FIELD_NUMBER: _ClassVar[int]
    DRIVER_STARTED_FIELD_NUMBER: _ClassVar[int]
    DRIVER_EXITED_FIELD_NUMBER: _ClassVar[int]
    ACTOR_SCOPE_ENDED_FIELD_NUMBER: _ClassVar[int]
    LOG_LINES_FIELD_NUMBER: _ClassVar[int]
    DRAIN_ANSWER_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    DRIVER_REPORT_FIELD_NUMBER: _ClassVar[int]
    DRIVER_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_ANSWER_FIELD_NUMBER: _ClassVar[int]
    register: RegisterNode
    report: NodeReport
    task_counts: TaskCounts
    actor_started: ActorStarted
    actor_failed: ActorFailed
    driver_started: DriverStarted
    driver_exited: DriverExited
    actor_scope_ended: ActorScopeEnded
    log_lines: LogLines
    drain_answer: DrainAnswer
    goodbye: Goodbye
    driver_report: DriverReport
    driver_output: DriverOutput
    bundles_answer: BundlesAnswer
    def __init__(self, register: _Optional[_Union[RegisterNode, _Mapping]] = ..., report: _Optional[_Union[NodeReport, _Mapping]] = ..., task_counts: _Optional[_Union[TaskCounts, _Mapping]] = ..., actor_started: _Optional[_Union[ActorStarted, _Mapping]] = ..., actor_failed: _Optional[_Union[ActorFailed, _Mapping]] = ..., driver_started: _Optional[_Union[DriverStarted, _Mapping]] = ..., driver_exited: _Optional[_Union[DriverExited, _Mapping]] = ..., actor_scope_ended: _Optional[_Union[ActorScopeEnded, _Mapping]] = ..., log_lines: _Optional[_Union[LogLines, _Mapping]] = ..., drain_answer: _Optional[_Union[DrainAnswer, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., driver_report: _Optional[_Union[DriverReport, _Mapping]] = ..., driver_output: _Optional[_Union[DriverOutput, _Mapping]] = ..., bundles_answer: _Optional[_Union[BundlesAnswer, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session", "head_node_id", "cluster_id", "reports_every_seconds", "knows_drivers")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    HEAD_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    REPORTS_EVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KNOWS_DRIVERS_FIELD_NUMBER: _ClassVar[int]
    session: str
    head_node_id: str
    cluster_id: str
    reports_every_seconds: float
    knows_drivers: bool
    def __init__(self, session: _Optional[str] = ..., head_node_id: _Optional[str] = ..., cluster_id: _Optional[str] = ..., reports_every_seconds: _Optional[float] = ..., knows_drivers: bool = ...) -> None: ...

class ClusterNode(_message.Message):
    __slots__ = ("address", "total", "available", "labels", "alive", "draining")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    address: NodeAddress
    total: _head_pb2.Resources
    available: _head_pb2.Resources
    labels: _containers.ScalarMap[str, str]
    alive: bool
    draining: bool
    def __init__(self, address: _Optional[_Union[NodeAddress, _Mapping]] = ..., total: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., available: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., alive: bool = ..., draining: bool = ...) -> None: ...

class ClusterView(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[ClusterNode]
    def __init__(self, nodes: _Optional[_Iterable[_Union[ClusterNode, _Mapping]]] = ...) -> None: ...

class StartActor(_message.Message):
    __slots__ = ("actor_id", "resources", "creation", "job_id", "bundle")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    CREATION_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    resources: _head_pb2.Resources
    creation: bytes
    job_id: str
    bundle: BundleKey
    def __init__(self, actor_id: _Optional[str] = ..., resources: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., creation: _Optional[bytes] = ..., job_id: _Optional[str] = ..., bundle: _Optional[_Union[BundleKey, _Mapping]] = ...) -> None: ...

class StopActor(_message.Message):
    __slots__ = ("actor_id", "reason", "force")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    reason: str
    force: bool
    def __init__(self, actor_id: _Optional[str] = ..., reason: _Optional[str] = ..., force: bool = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reason", "deadline_seconds", "only_if_idle", "drain_id")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_IDLE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_ID_FIELD_NUMBER: _ClassVar[int]
    reason: str
    deadline_seconds: float
    only_if_idle: bool
    drain_id: str
    def __init__(self, reason: _Optional[str] = ..., deadline_seconds: _Optional[float] = ..., only_if_idle: bool = ..., drain_id: _Optional[str] = ...) -> None: ...

class ActorUpdate(_message.Message):
    __slots__ = ("actor_id", "state", "worker", "reason", "message", "error", "restarts")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    state: str
    worker: bytes
    reason: str
    message: str
    error: bytes
    restarts: int
    def __init__(self, actor_id: _Optional[str] = ..., state: _Optional[str] = ..., worker: _Optional[bytes] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., error: _Optional[bytes] = ..., restarts: _Optional[int] = ...) -> None: ...

class JobEnded(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class Shutdown(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class StartDriver(_message.Message):
    __slots__ = ("submission_id", "job_id", "entrypoint", "resources", "package", "environment")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    job_id: str
    entrypoint: str
    resources: _head_pb2.Resources
    package: str
    environment: _containers.ScalarMap[str, str]
    def __init__(self, submission_id: _Optional[str] = ..., job_id: _Optional[str] = ..., entrypoint: _Optional[str] = ..., resources: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., package: _Optional[str] = ..., environment: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StopDriver(_message.Message):
    __slots__ = ("submission_id", "grace_seconds")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    grace_seconds: float
    def __init__(self, submission_id: _Optional[str] = ..., grace_seconds: _Optional[float] = ...) -> None: ...

class ForgetDriver(_message.Message):
    __slots__ = ("submission_id",)
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    def __init__(self, submission_id: _Optional[str] = ...) -> None: ...

class ReserveBundles(_message.Message):
    __slots__ = ("group_id", "attempt", "bundles", "total")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    attempt: int
    bundles: _containers.RepeatedCompositeFieldContainer[ReservedBundle]
    total: int
    def __init__(self, group_id: _Optional[str] = ..., attempt: _Optional[int] = ..., bundles: _Optional[_Iterable[_Union[ReservedBundle, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class ReservedBundle(_message.Message):
    __slots__ = ("index", "shape")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    index: int
    shape: _head_pb2.Resources
    def __init__(self, index: _Optional[int] = ..., shape: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ...) -> None: ...

class ReturnBundles(_message.Message):
    __slots__ = ("group_id", "indexes", "kill", "reason")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    indexes: _containers.RepeatedScalarFieldContainer[int]
    kill: bool
    reason: str
    def __init__(self, group_id: _Optional[str] = ..., indexes: _Optional[_Iterable[int]] = ..., kill: bool = ..., reason: _Optional[str] = ...) -> None: ...

class PlacementGroup(_message.Message):
    __slots__ = ("group_id", "name", "namespace", "job_id", "strategy", "state", "message", "detached", "bundles", "version")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    name: str
    namespace: str
    job_id: str
    strategy: str
    state: str
    message: str
    detached: bool
    bundles: _containers.RepeatedCompositeFieldContainer[PlacedBundle]
    version: int
    def __init__(self, group_id: _Optional[str] = ..., name: _Optional[str] = ..., namespace: _Optional[str] = ..., job_id: _Optional[str] = ..., strategy: _Optional[str] = ..., state: _Optional[str] = ..., message: _Optional[str] = ..., detached: bool = ..., bundles: _Optional[_Iterable[_Union[PlacedBundle, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class PlacedBundle(_message.Message):
    __slots__ = ("shape", "label_selector", "node")
    class LabelSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    shape: _head_pb2.Resources
    label_selector: _containers.ScalarMap[str, str]
    node: NodeAddress
    def __init__(self, shape: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., label_selector: _Optional[_Mapping[str, str]] = ..., node: _Optional[_Union[NodeAddress, _Mapping]] = ...) -> None: ...

class HeadMessage(_message.Message):
    __slots__ = ("welcome", "view", "start_actor", "stop_actor", "drain", "actor_update", "job_ended", "log_lines", "shutdown", "start_driver", "stop_driver", "forget_driver", "reserve_bundles", "return_bundles", "placement_group")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    START_ACTOR_FIELD_NUMBER: _ClassVar[int]
    STOP_ACTOR_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    ACTOR_UPDATE_FIELD_NUMBER: _ClassVar[int]
    JOB_ENDED_FIELD_NUMBER: _ClassVar[int]
    LOG_LINES_FIELD_NUMBER: _ClassVar[int]
    SHUTDOWN_FIELD_NUMBER: _ClassVar[int]
    START_DRIVER_FIELD_NUMBER: _ClassVar[int]
    STOP_DRIVER_FIELD_NUMBER: _ClassVar[int]
    FORGET_DRIVER_FIELD_NUMBER: _ClassVar[int]
    RESERVE_BUNDLES_FIELD_NUMBER: _ClassVar[int]
    RETURN_BUNDLES_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_GROUP_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    view: ClusterView
    start_actor: StartActor
    stop_actor: StopActor
    drain: Drain
    actor_update: ActorUpdate
    job_ended: JobEnded
    log_lines: LogLines
    shutdown: Shutdown
    start_driver: StartDriver
    stop_driver: StopDriver
    forget_driver: ForgetDriver
    reserve_bundles: ReserveBundles
    return_bundles: ReturnBundles
    placement_group: PlacementGroup
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., view: _Optional[_Union[ClusterView, _Mapping]] = ..., start_actor: _Optional[_Union[StartActor, _Mapping]] = ..., stop_actor: _Optional[_Union[StopActor, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., actor_update: _Optional[_Union[ActorUpdate, _Mapping]] = ..., job_ended: _Optional[_Union[JobEnded, _Mapping]] = ..., log_lines: _Optional[_Union[LogLines, _Mapping]] = ..., shutdown: _Optional[_Union[Shutdown, _Mapping]] = ..., start_driver: _Optional[_Union[StartDriver, _Mapping]] = ..., stop_driver: _Optional[_Union[StopDriver, _Mapping]] = ..., forget_driver: _Optional[_Union[ForgetDriver, _Mapping]] = ..., reserve_bundles: _Optional[_Union[ReserveBundles, _Mapping]] = ..., return_bundles: _Optional[_Union[ReturnBundles, _Mapping]] = ..., placement_group: _Optional[_Union[PlacementGroup, _Mapping]] = ...) -> None: ...

class CreateActorRequest(_message.Message):
    __slots__ = ("actor_id", "job_id", "owner_node_id", "name", "namespace", "class_name", "resources", "placement", "max_restarts", "detached", "creation", "handle", "label_selector", "soft_node", "bundle")
    class LabelSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    CREATION_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    SOFT_NODE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    job_id: str
    owner_node_id: str
    name: str
    namespace: str
    class_name: str
    resources: _head_pb2.Resources
    placement: _head_pb2.Resources
    max_restarts: int
    detached: bool
    creation: bytes
    handle: bytes
    label_selector: _containers.ScalarMap[str, str]
    soft_node: bool
    bundle: BundleKey
    def __init__(self, actor_id: _Optional[str] = ..., job_id: _Optional[str] = ..., owner_node_id: _Optional[str] = ..., name: _Optional[str] = ..., namespace: _Optional[str] = ..., class_name: _Optional[str] = ..., resources: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., placement: _Optional[_Union[_head_pb2.Resources, _Mapping]] = ..., max_restarts: _Optional[int] = ..., detached: bool = ..., creation: _Optional[bytes] = ..., handle: _Optional[bytes] = ..., label_selector: _Optional[_Mapping[str, str]] = ..., soft_node: bool = ..., bundle: _Optional[_Union[BundleKey, _Mapping]] = ...) -> None: ...

class CreateActorReply(_message.Message):
    __slots__ = ("created", "message")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    created: bool
    message: str
    def __init__(self, created: bool = ..., message: _Optional[str] = ...) -> None: ...

class GetActorRequest(_message.Message):
    __slots__ = ("actor_id", "name", "namespace", "subscriber_node_id")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    name: str
    namespace: str
    subscriber_node_id: str
    def __init__(self, actor_id: _Optional[str] = ..., name: _Optional[str] = ..., namespace: _Optional[str] = ..., subscriber_node_id: _Optional[str] = ...) -> None: ...

class GetActorReply(_message.Message):
    __slots__ = ("found", "actor", "handle")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    found: bool
    actor: ActorUpdate
    handle: bytes
    def __init__(self, found: bool = ..., actor: _Optional[_Union[ActorUpdate, _Mapping]] = ..., handle: _Optional[bytes] = ...) -> None: ...

class KillActorRequest(_message.Message):
    __slots__ = ("actor_id", "no_restart", "reason")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    NO_RESTART_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    no_restart: bool
    reason: str
    def __init__(self, actor_id: _Optional[str] = ..., no_restart: bool = ..., reason: _Optional[str] = ...) -> None: ...

class KillActorReply(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: bool = ...) -> None: ...

class FetchPackageRequest(_message.Message):
    __slots__ = ("hash",)
    HASH_FIELD_NUMBER: _ClassVar[int]
    hash: str
    def __init__(self, hash: _Optional[str] = ...) -> None: ...

class PutPackageRequest(_message.Message):
    __slots__ = ("hash", "data")
    HASH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    hash: str
    data: bytes
    def __init__(self, hash: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutPackageReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PackageChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class KvRequest(_message.Message):
    __slots__ = ("namespace", "key", "value", "overwrite", "operation")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    value: bytes
    overwrite: bool
    operation: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., overwrite: bool = ..., operation: _Optional[str] = ...) -> None: ...

class KvReply(_message.Message):
    __slots__ = ("found", "value", "keys")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    found: bool
    value: bytes
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, found: bool = ..., value: _Optional[bytes] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class RequestResourcesRequest(_message.Message):
    __slots__ = ("floors",)
    FLOORS_FIELD_NUMBER: _ClassVar[int]
    floors: _containers.RepeatedCompositeFieldContainer[_head_pb2.Demand]
    def __init__(self, floors: _Optional[_Iterable[_Union[_head_pb2.Demand, _Mapping]]] = ...) -> None: ...

class RequestResourcesReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListNodesReply(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[_head_pb2.NodeSnapshot]
    def __init__(self, nodes: _Optional[_Iterable[_Union[_head_pb2.NodeSnapshot, _Mapping]]] = ...) -> None: ...

class CreatePlacementGroupRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: PlacementGroup
    def __init__(self, group: _Optional[_Union[PlacementGroup, _Mapping]] = ...) -> None: ...

class CreatePlacementGroupReply(_message.Message):
    __slots__ = ("created", "message")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    created: bool
    message: str
    def __init__(self, created: bool = ..., message: _Optional[str] = ...) -> None: ...

class RemovePlacementGroupRequest(_message.Message):
    __slots__ = ("group_id",)
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    def __init__(self, group_id: _Optional[str] = ...) -> None: ...

class RemovePlacementGroupReply(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: bool = ...) -> None: ...

class ListPlacementGroupsRequest(_message.Message):
    __slots__ = ("group_id", "name", "namespace", "subscriber_node_id")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    name: str
    namespace: str
    subscriber_node_id: str
    def __init__(self, group_id: _Optional[str] = ..., name: _Optional[str] = ..., namespace: _Optional[str] = ..., subscriber_node_id: _Optional[str] = ...) -> None: ...

class ListPlacementGroupsReply(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[PlacementGroup]
    def __init__(self, groups: _Optional[_Iterable[_Union[PlacementGroup, _Mapping]]] = ...) -> None: ...
