"""What all kinds share: the base model, object metadata, conditions, and bounded building blocks.

Invariant: every model is frozen and reads camelCase JSON; every string, list and map of a schema has a
bound (the API server refuses CEL rules over unbounded fields, and so do we). Unknown fields are ignored
here, because the API server prunes them; ``api.unknown`` reports them to people who write manifests.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP: Final = "shoal.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
MANAGED_BY_SHOAL: Final = "shoal.dev/operator"
OBJECT_NAME_MAX: Final = 63
"""Longest name of an object of ours: Services and labels are named after it, and labels hold no more."""
OBJECT_NAME_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
MESSAGE_MAX: Final = 1024
"""Longest message of a condition, in characters; longer ones are cut where they are made."""


class Model(BaseModel):
    """Base of everything that is part of a kind: frozen, camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: frozen models are shared. Pydantic would copy default values anew for every object that is read."""
        return self


def with_rules(*rules: tuple[str, str]) -> ConfigDict:
    """Configuration of a model with CEL rules.

    Args:
        rules: pairs of rule and message; ``self`` is the object that the model describes.
    """
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [{"rule": r, "message": m} for r, m in rules]})


def _int_or_string(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'must be a whole number or a string such as "0.5" or "4Gi", is {value!r}')
    return value


Quantity = Annotated[
    int | str,
    BeforeValidator(_int_or_string),
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "minimum": 0,
            "pattern": r"^[+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
        }
    ),
]
"""A Kubernetes quantity: 2, "0.5", "500m", "4Gi"; not less than 0."""

ResourceName = Annotated[str, Field(min_length=1, max_length=128)]
ResourceMap = Annotated[dict[ResourceName, Quantity], Field(max_length=32)]
DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
DnsSubdomain = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
LabelMap = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=317)],
        Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")],
    ],
    Field(max_length=32),
]
"""Labels of a Kubernetes object: keys as Kubernetes has them, values of at most 63 characters."""
CamelReason = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
Message = Annotated[str, Field(max_length=MESSAGE_MAX)]
Timestamp = Annotated[datetime, Field(json_schema_extra={"format": "date-time", "maxLength": 64})]
PodTemplate = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A Kubernetes PodTemplateSpec, as users know it. The operator checks it when it builds pods."""


class OwnerReference(Model):
    """Which object owns this one."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class ObjectMeta(Model):
    """The part of object metadata that decisions need."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()


class Condition(Model):
    """One fact about the object, as metav1.Condition."""

    type: Annotated[str, Field(max_length=128)]
    """Name of the condition, for example Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    reason: CamelReason
    """One CamelCase word for programs: why the condition has this status."""
    message: Message = ""
    """One sentence for people: what is the case and what to do."""
    last_transition_time: Timestamp
    """When the status last changed from one value to another."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation that this condition speaks about."""


ConditionList = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]
