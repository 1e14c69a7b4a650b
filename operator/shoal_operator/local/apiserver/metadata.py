"""Rules that hold for the metadata of every object: names, labels, annotations, owners.

Invariant: what passes here is a name or label that a real cluster takes, so that manifests which work on a
laptop do not fail later.
"""

from __future__ import annotations

import re
from typing import Any

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.values import Document

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")

_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_1123_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_KEY_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_FREE_NAMES = frozenset({"roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io"})
ANNOTATIONS_LIMIT_BYTES = 256 * 1024

KNOWN_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
"""The fields of metav1.ObjectMeta."""


def unknown_fields(document: Document) -> list[str]:
    """Fields of metadata that do not exist; they are removed."""
    metadata = document["metadata"]
    unknown = [name for name in metadata if name not in KNOWN_FIELDS]
    for name in unknown:
        del metadata[name]
    return [f"metadata.{name}" for name in unknown]


def validate(resource: Resource, document: Document) -> list[FieldError]:
    """What is wrong with an object's metadata."""
    metadata = document["metadata"]
    problems = _validate_name(resource, metadata.get("name", ""))
    problems += _validate_labels(metadata.get("labels"))
    problems += _validate_annotations(metadata.get("annotations"))
    problems += _validate_owners(metadata.get("ownerReferences"))
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        problems += validate_key("metadata.finalizers", finalizer)
        if (
            not resource.group
            and "/" not in finalizer
            and finalizer not in ("foregroundDeletion", "kubernetes", "orphan")
        ):
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            problems.append(errors.invalid_value(f"metadata.finalizers[{index}]", finalizer, detail))
    return problems


def _validate_name(resource: Resource, name: str) -> list[FieldError]:
    path = "metadata.name"
    if not name:
        return [errors.required(path, "name or generateName is required")]
    if resource.collection in _FREE_NAMES:
        bad = name in (".", "..") or "/" in name or "%" in name
        return [errors.invalid_value(path, name, "may not contain '/' or '%'")] if bad else []
    if resource.collection == "services":
        pattern, words, limit = _LABEL_1035, _LABEL_1035_WORDS, 63
    elif resource.collection == "namespaces" and "." in name:
        return [errors.invalid_value(path, name, "must not contain dots")]
    elif resource.collection == "namespaces":
        pattern, words, limit = _LABEL_1123, _LABEL_1123_WORDS, 63
    else:
        pattern, words, limit = _SUBDOMAIN, _SUBDOMAIN_WORDS, 253
    if len(name) > limit:
        return [errors.invalid_value(path, name, f"must be no more than {limit} characters")]
    return [] if pattern.match(name) else [errors.invalid_value(path, name, words)]


def validate_key(path: str, key: Any) -> list[FieldError]:
    """What is wrong with the key of a label, or of an annotation."""
    if not isinstance(key, str):
        return [errors.invalid_value(path, key, "must be a string")]
    prefix, slash, name = key.rpartition("/")
    if slash and not (prefix and len(prefix) <= 253 and _SUBDOMAIN.match(prefix)):
        return [errors.invalid_value(path, key, f"prefix part {_SUBDOMAIN_WORDS}")]
    if not name or len(name) > 63 or not _QUALIFIED.match(name):
        return [errors.invalid_value(path, key, _KEY_WORDS)]
    return []


def _validate_labels(labels: Any) -> list[FieldError]:
    path = "metadata.labels"
    if labels is None:
        return []
    if not isinstance(labels, dict):
        return [errors.invalid_value(path, labels, "must be a map of strings")]
    problems = []
    for key, value in labels.items():
        problems += validate_key(path, key)
        if not isinstance(value, str):
            problems.append(errors.invalid_value(path, value, "must be a string"))
        elif len(value) > 63:
            problems.append(errors.invalid_value(path, value, "must be no more than 63 characters"))
        elif value and not _QUALIFIED.match(value):
            problems.append(errors.invalid_value(path, value, _VALUE_WORDS))
    return problems


def _validate_annotations(annotations: Any) -> list[FieldError]:
    path = "metadata.annotations"
    if annotations is None:
        return []
    if not isinstance(annotations, dict) or not all(isinstance(v, str) for v in annotations.values()):
        return [errors.invalid_value(path, annotations, "must be a map of strings")]
    problems = [problem for key in annotations for problem in validate_key(path, key.lower())]
    if sum(len(key) + len(value) for key, value in annotations.items()) > ANNOTATIONS_LIMIT_BYTES:
        problems.append(errors.too_long(path, ANNOTATIONS_LIMIT_BYTES))
    return problems


_OWNER_WORDS = (
    ("apiVersion", "version must not be empty"),
    ("kind", "must not be empty"),
    ("name", "must not be empty"),
    ("uid", "must not be empty"),
)


def _validate_owners(owners: Any) -> list[FieldError]:
    problems = []
    controllers = []
    for owner in owners or ():
        problems += [
            errors.invalid_value(f"metadata.ownerReferences.{field}", "", words)
            for field, words in _OWNER_WORDS
            if not owner.get(field)
        ]
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        found = " and ".join(controllers)
        detail = f'Only one reference can have Controller set to true. Found "true" in references for {found}'
        problems.append(errors.invalid_value("metadata.ownerReferences", controllers, detail))
    return problems
