"""CustomResourceDefinitions: what they must look like, and which resources they add.

Invariant: a definition that is accepted is served completely: its names are taken, its schemas are structural,
all of its rules compile. One that is not is refused with every reason at once.
"""

from __future__ import annotations

import re
from typing import Any

from shoal_operator.local.apiserver import cel, errors
from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.kinds import Registry, Resource
from shoal_operator.local.apiserver.values import Document, dig

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def default_definition(crd: Document) -> None:
    """Fill in what a definition may leave out."""
    spec = crd.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if isinstance(names.get("kind"), str):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})


def validate_definition(crd: Document, old: Document | None, registry: Registry) -> list[FieldError]:
    """Everything that is wrong with a definition; [] when it can be served."""
    spec = crd.get("spec", {})
    names = spec.get("names", {})
    problems = _validate_names(crd, spec, names, old)
    if problems:
        return problems
    problems += _validate_versions(spec)
    if dig(spec, "conversion", "strategy") != "None":
        detail = "the embedded server converts by strategy None only"
        problems.append(errors.invalid_value("spec.conversion.strategy", spec["conversion"].get("strategy"), detail))
    if old is not None:
        for name in ("group", "scope"):
            if dig(old, "spec", name) != spec.get(name):
                problems.append(errors.invalid_value(f"spec.{name}", spec.get(name), "field is immutable"))
    taken = [r for r in registry if r.group == spec["group"] and r.kind == names["kind"]]
    if any(resource.plural != names["plural"] for resource in taken):
        problems.append(errors.invalid_value("spec.names.kind", names["kind"], f'"{names["kind"]}" is already in use'))
    return problems


def _validate_names(crd: Document, spec: Document, names: Document, old: Document | None) -> list[FieldError]:
    problems = [errors.required(f"spec.{field}") for field in ("group", "scope", "versions") if not spec.get(field)]
    problems += [errors.required(f"spec.names.{field}") for field in ("plural", "kind") if not names.get(field)]
    if problems:
        return problems
    if spec["scope"] not in ("Namespaced", "Cluster"):
        problems.append(errors.not_supported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    if old is not None and dig(old, "spec", "group") != spec["group"]:
        return [errors.invalid_value("spec.group", spec["group"], "field is immutable")]
    wanted = f"{names['plural']}.{spec['group']}"
    if crd["metadata"].get("name") != wanted:
        detail = 'must be spec.names.plural+"."+spec.group'
        problems.append(errors.invalid_value("metadata.name", crd["metadata"].get("name"), detail))
    for field in ("plural", "singular"):
        if not _LABEL.match(names.get(field) or ""):
            problems.append(errors.invalid_value(f"spec.names.{field}", names.get(field), "must be a DNS-1035 label"))
    return problems


def _validate_versions(spec: Document) -> list[FieldError]:
    problems: list[FieldError] = []
    storage = [version for version in spec["versions"] if version.get("storage")]
    if len(storage) != 1:
        detail = "must have exactly one version marked as storage version"
        problems.append(errors.invalid_value("spec.versions", [v.get("name") for v in spec["versions"]], detail))
    schemas_held = [dig(version, "schema", "openAPIV3Schema") for version in spec["versions"]]
    # The real server keeps one schema that all versions share in one place, and names that place.
    shared = isinstance(schemas_held[0], dict) and all(schema == schemas_held[0] for schema in schemas_held)
    for index, version in enumerate(spec["versions"]):
        path = f"spec.versions[{index}]"
        if not version.get("name"):
            problems.append(errors.required(f"{path}.name"))
        schema = schemas_held[index]
        if not isinstance(schema, dict):
            problems.append(errors.required(f"{path}.schema.openAPIV3Schema"))
        elif not shared or index == 0:
            where = "spec.validation.openAPIV3Schema" if shared else f"{path}.schema.openAPIV3Schema"
            problems += _validate_schema(schema, where)
            problems += _validate_rules(schema, where)
    return problems


def _validate_rules(schema: Document, path: str) -> list[FieldError]:
    try:
        cel.compile_tree(schema)
    except cel.RuleError as error:
        where = f"{path}{error.path}.x-kubernetes-validations[{error.index}].rule"
        if not str(error.rule.get("rule", "")).strip():
            return [errors.required(where, "rule is not specified")]
        names = ("Rule", "Message", "MessageExpression", "Reason", "FieldPath", "OptionalOldSelf")
        raw = {name: error.rule.get(name[0].lower() + name[1:], "") for name in names}
        raw |= {name: error.rule.get(name[0].lower() + name[1:]) for name in ("Reason", "OptionalOldSelf")}
        # Go's JSON writes what could end a script tag as escapes.
        shown = errors.show(raw)
        for sign in "<>&":
            shown = shown.replace(sign, f"\\u{ord(sign):04x}")
        return [FieldError(where, "FieldValueInvalid", f"Invalid value: {shown}: {error}")]
    return []


def _validate_schema(schema: Document, path: str, *, root: bool = True) -> list[FieldError]:
    """The rules of structural schemas that generated schemas tend to break."""
    problems: list[FieldError] = []
    kind = schema.get("type")
    open_type = schema.get("x-kubernetes-int-or-string") or schemas.keeps_unknown(schema)
    if root and kind != "object":
        problems.append(errors.invalid_value(f"{path}.type", kind, "must be object at the root"))
    elif kind is None and not open_type and "$ref" not in schema:
        problems.append(errors.required(f"{path}.type", "must not be empty for specified object fields"))
    elif kind is not None and kind not in _TYPES:
        problems.append(errors.not_supported(f"{path}.type", kind, _TYPES))
    problems += [
        errors.forbidden_field(f"{path}.{word}", f"{word} is not supported" if word == "$ref" else "must not be set")
        for word in _REFUSED
        if word in schema
    ]
    if schema.get("properties") and "additionalProperties" in schema:
        problems.append(
            errors.forbidden_field(
                f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
            )
        )
    problems += _validate_list_type(schema, path)
    try:
        schemas.compiled(schema.get("pattern", ""))
    except ValueError as error:
        problems.append(errors.invalid_value(f"{path}.pattern", schema["pattern"], str(error)))
    for name, inner in (schema.get("properties") or {}).items():
        if not (root and name == "metadata"):
            problems += _validate_schema(inner, f"{path}.properties[{name}]", root=False)
    if kind == "array" and not isinstance(schema.get("items"), dict):
        problems.append(errors.required(f"{path}.items", "must be specified"))
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            problems += _validate_schema(schema[word], f"{path}.{word}", root=False)
    return problems + _validate_default(schema, path)


_REFUSED = (
    "$ref",
    "definitions",
    "dependencies",
    "id",
    "patternProperties",
    "deprecated",
    "readOnly",
    "writeOnly",
)


def _validate_list_type(schema: Document, path: str) -> list[FieldError]:
    list_type = schema.get("x-kubernetes-list-type")
    if list_type not in (None, "atomic", "map", "set"):
        return [errors.not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))]
    if list_type != "map":
        return []
    keys = schema.get("x-kubernetes-list-map-keys")
    if not keys:
        return [
            errors.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
        ]
    items = schema.get("items") or {}
    named, needed = items.get("properties") or {}, items.get("required") or ()
    where = f"{path}.items.properties"
    detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
    return [
        errors.required(f"{where}[{key}].default", detail)
        for key in keys
        if key not in needed and "default" not in named.get(key, {})
    ]


def _validate_default(schema: Document, path: str) -> list[FieldError]:
    if "default" not in schema or (schema["default"] is None and schema.get("nullable")):
        return []
    return [
        FieldError(f"{path}.default{problem.path and '.'}{problem.path}", problem.reason, problem.message)
        for problem in (*schemas.validate(schema, schema["default"]), *_break_rules(schema))
    ]


def _break_rules(schema: Document) -> list[FieldError]:
    """Rules are tried on a default as it stands, without the defaults of its members."""
    try:
        return cel.evaluate(cel.compile_tree(schema), schema["default"])
    except cel.RuleError:
        return []  # told by the validation of the rules themselves


def resources_of(crd: Document) -> list[Resource]:
    """The resources that an accepted definition adds, one for each served version."""
    spec, names = crd["spec"], crd["spec"]["names"]
    found = []
    for version in spec["versions"]:
        if not version.get("served", True):
            continue
        schema = version["schema"]["openAPIV3Schema"]
        tree = cel.compile_tree(schema)
        subresources = version.get("subresources") or {}
        found.append(
            Resource(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=frozenset(subresources),
                tracks_generation=True,
                unconditional_update=False,
                schema=schema,
                custom=True,
                singular_name=names["singular"],
                list_kind_name=names["listKind"],
                printer_columns=tuple(version.get("additionalPrinterColumns") or ()),
                scale=subresources.get("scale"),
                selectable_fields=tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
                rules=None if tree.empty() else tree,
            )
        )
    return found


def set_status(crd: Document, now: str) -> None:
    """Names accepted, established: in this server both are true from the first moment."""
    spec = crd["spec"]
    previous = {c["type"]: c for c in dig(crd, "status", "conditions", default=[])}
    conditions: list[Any] = []
    for kind, reason, message in (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ):
        since = previous.get(kind, {}).get("lastTransitionTime", now)
        conditions.append(
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": since,
            }
        )
    crd["status"] = {
        "acceptedNames": spec["names"],
        "conditions": conditions,
        "storedVersions": [version["name"] for version in spec["versions"] if version.get("storage")],
    }
