"""Structural OpenAPI schemas: prune unknown fields, fill in defaults, validate.

Invariant: the three steps are pure functions of (schema, value); `prune` and `apply_defaults` change the value
they are given (the request's own copy), `validate` never does. Words are those of the real API server.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from shoal_operator.local.apiserver import errors
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.values import Document, canonical, clone

_ROOT_FIELDS = ("apiVersion", "kind", "metadata")
MAX_ERRORS = 50
"""Problems reported at once; a broken list of thousands needs no thousand lines."""


def join(path: str, name: str) -> str:
    """The path of a field below `path`."""
    return f"{path}.{name}" if path else name


def child(schema: Document, name: str) -> Document | None:
    """The schema of a field, or None where the schema does not know it."""
    found: Document | None = (schema.get("properties") or {}).get(name)
    if found is not None:
        return found
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        return additional
    return {} if additional is True else None


def keeps_unknown(schema: Document) -> bool:
    """Whether unknown fields stay."""
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def prune(schema: Document, value: Any, path: str = "", *, root: bool = True) -> list[str]:
    """Remove fields that the schema does not name; returns their paths, e.g. ["spec.foo"]."""
    unknown: list[str] = []
    if isinstance(value, dict):
        for name in list(value):
            if root and name in _ROOT_FIELDS:
                continue
            known = child(schema, name)
            if known is not None:
                unknown += prune(known, value[name], join(path, name), root=_embedded(known))
            elif not keeps_unknown(schema):
                unknown.append(join(path, name))
                del value[name]
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, item in enumerate(value):
                unknown += prune(items, item, f"{path}[{index}]", root=_embedded(items))
    return unknown


def _embedded(schema: Document) -> bool:
    return bool(schema.get("x-kubernetes-embedded-resource"))


def apply_defaults(schema: Document, value: Any) -> None:
    """Set defaults wherever a field is absent (or null and not nullable), from the outside in."""
    if isinstance(value, dict):
        for name, known in (schema.get("properties") or {}).items():
            if value.get(name) is None and name in value and not known.get("nullable"):
                # An explicit null for a field that cannot be null means "unset", as in the real server.
                del value[name]
            if name not in value and "default" in known:
                value[name] = clone(known["default"])
            if name in value:
                apply_defaults(known, value[name])
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            named = schema.get("properties") or {}
            for name, item in value.items():
                if name not in named:
                    apply_defaults(additional, item)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            apply_defaults(schema["items"], item)


def validate(schema: Document, value: Any, path: str = "") -> list[FieldError]:
    """What is wrong with `value`, at most MAX_ERRORS problems; [] when nothing is."""
    problems: list[FieldError] = []
    _validate(schema, value, path, problems)
    return problems[:MAX_ERRORS]


def _validate(schema: Document, value: Any, path: str, problems: list[FieldError]) -> None:
    if value is None and schema.get("nullable"):
        return
    mismatch = _type_problem(schema, value, path)
    if mismatch is not None:
        problems.append(mismatch)
        return
    if "enum" in schema and value not in schema["enum"]:
        problems.append(errors.not_supported(path, value, schema["enum"]))
    match value:
        case dict():
            _validate_object(schema, value, path, problems)
        case list():
            _validate_array(schema, value, path, problems)
        case str():
            _validate_string(schema, value, path, problems)
        case bool():
            pass
        case int() | float():
            _validate_number(schema, value, path, problems)
    _validate_junctors(schema, value, path, problems)


_GO_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    (int, "integer"),
    (float, "number"),
    (dict, "object"),
    (list, "array"),
)


def type_name(value: Any) -> str:
    """The OpenAPI type of a JSON value."""
    return next((name for kind, name in _GO_TYPES if isinstance(value, kind)), "null")


def _type_problem(schema: Document, value: Any, path: str) -> FieldError | None:
    actual = type_name(value)
    if schema.get("x-kubernetes-int-or-string"):
        return None if actual in ("integer", "string") else _wrong_type(path, actual, "integer,string")
    wanted = schema.get("type")
    if wanted is None or wanted == actual:
        return None
    if wanted == "number" and actual == "integer":
        return None
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return None
    return _wrong_type(path, actual, wanted)


def _wrong_type(path: str, actual: str, wanted: str) -> FieldError:
    text = f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"'
    return FieldError(path, "FieldValueTypeInvalid", text)


def _validate_object(schema: Document, value: Document, path: str, problems: list[FieldError]) -> None:
    missing = (name for name in schema.get("required") or () if name not in value)
    problems.extend(errors.required(join(path, name)) for name in missing)
    limit = schema.get("maxProperties")
    if limit is not None and len(value) > limit:
        problems.append(errors.too_many(path, len(value), limit))
    least = schema.get("minProperties")
    if least is not None and len(value) < least:
        detail = f"{path} in body should have at least {least} properties"
        problems.append(errors.invalid_value(path, len(value), detail))
    named = schema.get("properties") or {}
    for name, item in value.items():
        known = child(schema, name)
        if known is not None:
            inner = join(path, name) if name in named else f"{path}[{name}]" if "." in name else join(path, name)
            _validate(known, item, inner, problems)


def _validate_array(schema: Document, value: list[Any], path: str, problems: list[FieldError]) -> None:
    limit = schema.get("maxItems")
    if limit is not None and len(value) > limit:
        problems.append(errors.too_many(path, len(value), limit))
        return
    least = schema.get("minItems")
    if least is not None and len(value) < least:
        detail = f"{path} in body should have at least {least} items"
        problems.append(errors.invalid_value(path, len(value), detail))
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            _validate(items, item, f"{path}[{index}]", problems)
    problems += _duplicates(schema, value, path)


def _duplicates(schema: Document, value: list[Any], path: str) -> list[FieldError]:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            identities = list(value)
        case "map":
            keys = schema.get("x-kubernetes-list-map-keys") or []
            defaults = (schema.get("items") or {}).get("properties") or {}
            identities = [
                {key: item.get(key, defaults.get(key, {}).get("default")) for key in keys}
                for item in value
                if isinstance(item, dict)
            ]
        case _:
            return []
    seen: set[str] = set()
    found = []
    for index, identity in enumerate(identities):
        text = canonical(identity)
        if text in seen:
            found.append(errors.duplicate_value(f"{path}[{index}]", identity))
        seen.add(text)
    return found


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """A schema's pattern; raises ValueError when it is no regular expression."""
    try:
        # Go's `$` is the end of the text, Python's also matches before a final newline.
        return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", pattern))
    except re.error as error:
        raise ValueError(f"must be a valid regular expression, but isn't: {error}") from error


def _validate_string(schema: Document, value: str, path: str, problems: list[FieldError]) -> None:
    limit = schema.get("maxLength")
    if limit is not None and len(value) > limit:
        problems.append(errors.too_long(path, limit))
    least = schema.get("minLength")
    if least is not None and len(value) < least:
        detail = f"{path} in body should be at least {least} chars long"
        problems.append(errors.invalid_value(path, value, detail))
    pattern = schema.get("pattern")
    if pattern is not None and not compiled(pattern).search(value):
        problems.append(errors.invalid_value(path, value, f"{path} in body should match '{pattern}'"))
    problem = _format_problem(schema.get("format"), value)
    if problem:
        problems.append(
            errors.invalid_value(path, value, f"{path} in body must be of type {problem}: {errors.show(value)}")
        )


_ZERO: Document = {"object": {}, "string": "", "integer": 0, "boolean": False, "array": []}
"""What Go makes of a null in a list."""


def normalise(schema: Document, value: Any) -> Any:
    """A built-in object as Go's decoder would read it: null means absent, a bare number may be a quantity."""
    if isinstance(value, dict):
        return {name: normalise(child(schema, name) or {}, item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [normalise(items, _ZERO.get(items.get("type", ""), item) if item is None else item) for item in value]
    if schema.get("format") == "quantity" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?\Z")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")


def _format_problem(format_name: str | None, value: str) -> str:
    if format_name == "date-time" and not _DATE_TIME.match(value):
        return "date-time"
    return "quantity" if format_name == "quantity" and not _QUANTITY.match(value) else ""


def _validate_number(schema: Document, value: float, path: str, problems: list[FieldError]) -> None:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and (value < least or (schema.get("exclusiveMinimum") and value == least)):
        words = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        problems.append(errors.invalid_value(path, value, f"{path} in body should be {words} {least}"))
    if most is not None and (value > most or (schema.get("exclusiveMaximum") and value == most)):
        words = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        problems.append(errors.invalid_value(path, value, f"{path} in body should be {words} {most}"))
    factor = schema.get("multipleOf")
    if factor and value % factor:
        problems.append(errors.invalid_value(path, value, f"{path} in body should be a multiple of {factor}"))
    if schema.get("format") == "int32" and not -(2**31) <= value < 2**31:
        problems.append(errors.invalid_value(path, value, f"{path} in body must be of type int32: {value}"))


def _validate_junctors(schema: Document, value: Any, path: str, problems: list[FieldError]) -> None:
    for part in schema.get("allOf") or ():
        _validate(part, value, path, problems)
    alternatives = schema.get("anyOf")
    if alternatives and all(validate(part, value, path) for part in alternatives):
        text = f'Invalid value: "": {path} in body must validate at least one schema (anyOf)'
        problems.append(FieldError(path, "FieldValueInvalid", text))
    choices = schema.get("oneOf")
    if choices and sum(not validate(part, value, path) for part in choices) != 1:
        text = f'Invalid value: "": {path} in body must validate one and only one schema (oneOf)'
        problems.append(FieldError(path, "FieldValueInvalid", text))
    refused = schema.get("not")
    if refused and not validate(refused, value, path):
        text = f'Invalid value: "": {path} in body must not validate the schema (not)'
        problems.append(FieldError(path, "FieldValueInvalid", text))
