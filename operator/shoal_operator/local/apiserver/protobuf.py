"""Requests in Kubernetes' binary form, for the few kinds that kubectl's typed commands send in it.

`kubectl create configmap`, `create namespace`, `auth can-i` and their like know no other form; answers may be
JSON. Invariant: a field that the tables below do not know refuses the request, so nothing is lost unseen.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shoal_operator.local.apiserver.values import Document, timestamp

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


class ProtobufError(ValueError):
    """The bytes are no message of a known kind; the text says what was not understood."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: its JSON name, how to read it, and whether it repeats. `kind` names a scalar or a message."""

    name: str
    kind: str
    repeated: bool = False


def _fields(**numbered: str) -> dict[int, _Field]:
    """`_1_name="string"`: field 1 is `name`. A leading `*` repeats."""
    table = {}
    for key, kind in numbered.items():
        _, number, name = key.split("_", 2)
        table[int(number)] = _Field(name, kind.lstrip("*"), kind.startswith("*"))
    return table


_LABEL_MAP = "map"
_QUANTITY_MAP = "quantities"
_MESSAGES: dict[str, dict[int, _Field]] = {
    "Unknown": _fields(_1_typeMeta="TypeMeta", _2_raw="raw", _3_contentEncoding="string", _4_contentType="string"),
    "TypeMeta": _fields(_1_apiVersion="string", _2_kind="string"),
    "ObjectMeta": _fields(
        _1_name="string",
        _2_generateName="string",
        _3_namespace="string",
        _4_selfLink="string",
        _5_uid="string",
        _6_resourceVersion="string",
        _7_generation="int",
        _8_creationTimestamp="time",
        _9_deletionTimestamp="time",
        _10_deletionGracePeriodSeconds="int",
        _11_labels=_LABEL_MAP,
        _12_annotations=_LABEL_MAP,
        _13_ownerReferences="*OwnerReference",
        _14_finalizers="*string",
    ),
    "OwnerReference": _fields(
        _1_kind="string",
        _3_name="string",
        _4_uid="string",
        _5_apiVersion="string",
        _6_controller="bool",
        _7_blockOwnerDeletion="bool",
    ),
    "Namespace": _fields(_1_metadata="ObjectMeta", _2_spec="NamespaceSpec", _3_status="NamespaceStatus"),
    "NamespaceSpec": _fields(_1_finalizers="*string"),
    "NamespaceStatus": _fields(_1_phase="string"),
    "ConfigMap": _fields(_1_metadata="ObjectMeta", _2_data="map", _3_binaryData="bytesmap", _4_immutable="bool"),
    "Secret": _fields(
        _1_metadata="ObjectMeta", _2_data="bytesmap", _3_type="string", _4_stringData="map", _5_immutable="bool"
    ),
    "ServiceAccount": _fields(_1_metadata="ObjectMeta", _4_automountServiceAccountToken="bool"),
    "ResourceQuota": _fields(_1_metadata="ObjectMeta", _2_spec="QuotaSpec", _3_status="QuotaStatus"),
    "QuotaSpec": _fields(_1_hard=_QUANTITY_MAP, _2_scopes="*string"),
    "QuotaStatus": _fields(_1_hard=_QUANTITY_MAP, _2_used=_QUANTITY_MAP),
    "SelfSubjectAccessReview": _fields(_1_metadata="ObjectMeta", _2_spec="AccessSpec", _3_status="AccessStatus"),
    "AccessSpec": _fields(_1_resourceAttributes="ResourceAttributes", _2_nonResourceAttributes="PathAttributes"),
    "AccessStatus": _fields(_1_allowed="bool", _2_reason="string", _3_evaluationError="string", _4_denied="bool"),
    "ResourceAttributes": _fields(
        _1_namespace="string",
        _2_verb="string",
        _3_group="string",
        _4_version="string",
        _5_resource="string",
        _6_subresource="string",
        _7_name="string",
    ),
    "PathAttributes": _fields(_1_path="string", _2_verb="string"),
    "SelfSubjectRulesReview": _fields(_1_metadata="ObjectMeta", _2_spec="RulesSpec", _3_status="RulesStatus"),
    "RulesSpec": _fields(_1_namespace="string"),
    "RulesStatus": _fields(_3_incomplete="bool", _4_evaluationError="string"),
    "SelfSubjectReview": _fields(_1_metadata="ObjectMeta", _2_status="ReviewStatus"),
    "ReviewStatus": _fields(_1_userInfo="UserInfo"),
    "UserInfo": _fields(_1_username="string", _2_uid="string"),
    "ClusterRole": _fields(_1_metadata="ObjectMeta", _2_rules="*PolicyRule"),
    "ClusterRoleBinding": _fields(_1_metadata="ObjectMeta", _2_subjects="*Subject", _3_roleRef="RoleRef"),
    "Role": _fields(_1_metadata="ObjectMeta", _2_rules="*PolicyRule"),
    "PolicyRule": _fields(
        _1_verbs="*string",
        _2_apiGroups="*string",
        _3_resources="*string",
        _4_resourceNames="*string",
        _5_nonResourceURLs="*string",
    ),
    "RoleBinding": _fields(_1_metadata="ObjectMeta", _2_subjects="*Subject", _3_roleRef="RoleRef"),
    "Subject": _fields(_1_kind="string", _2_apiGroup="string", _3_name="string", _4_namespace="string"),
    "RoleRef": _fields(_1_apiGroup="string", _2_kind="string", _3_name="string"),
    "Eviction": _fields(_1_metadata="ObjectMeta", _2_deleteOptions="DeleteOptions"),
    "DeleteOptions": _fields(
        _1_gracePeriodSeconds="int",
        _2_preconditions="Preconditions",
        _3_orphanDependents="bool",
        _4_propagationPolicy="string",
        _5_dryRun="*string",
    ),
    "Preconditions": _fields(_1_uid="string", _2_resourceVersion="string"),
}
_ROOTS = frozenset(
    [
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "Eviction",
        "Namespace",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "Secret",
        "SelfSubjectAccessReview",
        "SelfSubjectReview",
        "SelfSubjectRulesReview",
        "ServiceAccount",
        "DeleteOptions",
    ]
)


def decode(body: bytes) -> Document:
    """The JSON form of a request; raises ProtobufError."""
    if not body.startswith(_MAGIC):
        raise ProtobufError("the body does not begin like a Kubernetes protobuf message")
    envelope = _message("Unknown", body[len(_MAGIC) :])
    meta = envelope.get("typeMeta", {})
    kind = meta.get("kind", "")
    if kind not in _ROOTS:
        raise ProtobufError(f"kind {kind!r} is understood as JSON or YAML only")
    return {"apiVersion": meta.get("apiVersion", ""), "kind": kind} | _message(kind, envelope.get("raw", b""))


def _message(kind: str, data: bytes) -> Document:
    table = _MESSAGES[kind]
    found: Document = {}
    for number, value in _wire(data):
        field = table.get(number)
        if field is None:
            raise ProtobufError(f"{kind} has a field number {number} that is not understood here")
        if field.kind in ("map", "bytesmap"):
            found.setdefault(field.name, {}).update(_pair(value, binary=field.kind == "bytesmap"))
        elif field.kind == _QUANTITY_MAP:
            found.setdefault(field.name, {}).update(_quantity_pair(value))
        elif field.repeated:
            found.setdefault(field.name, []).append(_value(field.kind, value))
        else:
            found[field.name] = _value(field.kind, value)
    # Go writes empty strings and zero times; JSON leaves them out.
    return {name: value for name, value in found.items() if value not in ("", None, {})}


def _value(kind: str, value: int | bytes) -> Any:
    if isinstance(value, int):
        if kind == "bool":
            return bool(value)
        return value - (1 << 64) if value >> 63 else value
    match kind:
        case "string":
            return value.decode()
        case "raw":
            return value
        case "time":
            fields = dict(_wire(value))
            seconds = fields.get(1, 0)
            return timestamp(datetime.fromtimestamp(seconds, UTC)) if isinstance(seconds, int) and seconds else None
    if kind not in _MESSAGES:
        raise ProtobufError(f"a {kind} is not written like this")
    return _message(kind, value)


def _pair(value: int | bytes, *, binary: bool) -> dict[str, str]:
    entry = dict(_wire(value)) if isinstance(value, bytes) else {}
    key, held = entry.get(1, b""), entry.get(2, b"")
    if not isinstance(key, bytes) or not isinstance(held, bytes):
        raise ProtobufError("a map entry is not written like this")
    return {key.decode(): base64.b64encode(held).decode() if binary else held.decode()}


def _quantity_pair(value: int | bytes) -> dict[str, str]:
    """An entry whose value is a message that holds the quantity's text."""
    entry = dict(_wire(value)) if isinstance(value, bytes) else {}
    key, amount = entry.get(1, b""), entry.get(2, b"")
    text = dict(_wire(amount)).get(1, b"") if isinstance(amount, bytes) else 0
    if not isinstance(key, bytes) or not isinstance(text, bytes):
        raise ProtobufError("a map of quantities is not written like this")
    return {key.decode(): text.decode()}


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, varint or bytes) pairs of a message."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if tag & 7 == 0:
            number, position = _varint(data, position)
            yield tag >> 3, number
        elif tag & 7 == 2:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise ProtobufError("the message ends in the middle of a field")
            yield tag >> 3, data[position : position + length]
            position += length
        else:
            raise ProtobufError(f"wire type {tag & 7} is not used by the kinds understood here")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        number |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return number, position
        shift += 7
    raise ProtobufError("the message ends in the middle of a number")
