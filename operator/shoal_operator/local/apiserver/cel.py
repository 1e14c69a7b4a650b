"""Rules of CustomResourceDefinitions (`x-kubernetes-validations`) in the Common Expression Language.

Invariant: a rule that cannot be parsed, calls a function this evaluator lacks, or names a field its schema does
not have makes the definition fail (`RuleError`); a rule that fails while it is evaluated makes the object fail.
No rule is ever skipped. Everything that knows the evaluator library stands in this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

from shoal_operator.local.apiserver import errors, fieldsets
from shoal_operator.local.apiserver import schema as schemas
from shoal_operator.local.apiserver.errors import FieldError
from shoal_operator.local.apiserver.values import MISSING, Document


class RuleError(ValueError):
    """A rule that this server cannot evaluate, and why; `path` and `index` say which of a schema's rules it is."""

    path = ""
    index = 0

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.rule: Document = {}


class _Program(Protocol):
    def variables(self) -> list[str]: ...

    def functions(self) -> list[str]: ...

    def execute(self, activation: dict[str, Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule. `transition` rules compare with the old object and run on updates only."""

    text: str
    message: str
    message_program: _Program | None
    reason: str
    field_path: str
    program: _Program
    transition: bool


_REASONS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}

_FUNCTIONS = frozenset(
    [
        "bytes",
        "contains",
        "double",
        "duration",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "int",
        "matches",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "uint",
    ]
)
"""Functions that this evaluator and Kubernetes both have. Operators and macros are not counted as functions."""


@cache
def _compile(text: str) -> _Program:
    # Imported on first use: a server without rules does not pay for the evaluator.
    import cel

    try:
        return cast("_Program", cel.compile(text))
    except Exception as error:
        raise RuleError(f"compilation failed: {error}") from error


def compile_rule(raw: Document, schema: Document) -> Rule:
    """Check and compile one entry of `x-kubernetes-validations`; raises RuleError."""
    text = raw.get("rule", "")
    if raw.get("optionalOldSelf"):
        raise RuleError("compilation failed: optionalOldSelf is not supported by the embedded server")
    reason = raw.get("reason") or "FieldValueInvalid"
    if reason not in _REASONS:
        raise RuleError(f"unsupported reason {reason!r}: one of {', '.join(sorted(_REASONS))}")
    program = _checked(text, schema)
    message_text = raw.get("messageExpression")
    return Rule(
        text=text,
        message=raw.get("message") or f"failed rule: {text.strip()}",
        message_program=_checked(message_text, schema) if message_text else None,
        reason=reason,
        field_path=raw.get("fieldPath") or "",
        program=program,
        transition="oldSelf" in program.variables(),
    )


def _checked(text: str, schema: Document) -> _Program:
    if not text.strip():
        raise RuleError("rule is not specified")
    program = _compile(text)
    unknown = sorted(name for name in program.functions() if name[0].isalpha() and name not in _FUNCTIONS)
    if unknown:
        raise RuleError(f"compilation failed: undeclared reference to {', '.join(map(repr, unknown))}")
    strangers = sorted(set(program.variables()) - {"self", "oldSelf"} - _bound_names(text))
    if strangers:
        raise RuleError(f"compilation failed: undeclared reference to {', '.join(map(repr, strangers))}")
    for chain in _field_chains(text):
        _check_chain(chain, schema)
    return program


_STRING_LITERAL = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_CHAIN = re.compile(r"\b(?:self|oldSelf)((?:\.[A-Za-z_]\w*)+)(\s*\()?")


def _bound_names(text: str) -> set[str]:
    return set(_MACRO.findall(_STRING_LITERAL.sub("''", text)))


def _field_chains(text: str) -> Iterator[list[str]]:
    """Field accesses that begin at self: `self.a.b.size()` gives ["a", "b"]."""
    for found in _CHAIN.finditer(_STRING_LITERAL.sub("''", text)):
        names = found[1].strip(".").split(".")
        yield names[:-1] if found[2] else names


def _check_chain(names: list[str], schema: Document) -> None:
    here = schema
    for name in names:
        if schemas.keeps_unknown(here) or here.get("x-kubernetes-int-or-string"):
            return
        known = schemas.child(here, _unescape(name))
        if known is None and name not in ("metadata", "apiVersion", "kind"):
            raise RuleError(f"compilation failed: undefined field '{name}'")
        if known is None:
            return
        here = known


_ESCAPES = {"__dot__": ".", "__dash__": "-", "__slash__": "/", "__underscores__": "__"}


def _unescape(name: str) -> str:
    for escaped, plain in _ESCAPES.items():
        name = name.replace(escaped, plain)
    return name.strip("_") if name.startswith("__") and name.endswith("__") else name


def _escaped(value: Any) -> Any:
    """Names that CEL cannot spell, spelled as Kubernetes escapes them; only copied where a name needs it."""
    if isinstance(value, dict):
        return {_escape(name): _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def _escape(name: str) -> str:
    for escaped, plain in reversed(_ESCAPES.items()):
        name = name.replace(plain, escaped)
    return name


@dataclass(frozen=True, slots=True)
class RuleTree:
    """The rules of a schema, laid out like the schema, without the branches that have none."""

    rules: tuple[Rule, ...]
    fields: dict[str, RuleTree]
    additional: RuleTree | None
    items: RuleTree | None
    schema: Document

    def empty(self) -> bool:
        return not (self.rules or self.fields or self.additional or self.items)


def compile_tree(schema: Document, path: str = "") -> RuleTree:
    """Compile every rule below a schema; raises RuleError with the path of the schema that holds it."""
    rules: list[Rule] = []
    for index, raw in enumerate(schema.get("x-kubernetes-validations") or ()):
        try:
            rules.append(compile_rule(raw, schema))
        except RuleError as error:
            error.path, error.index, error.rule = path, index, raw
            raise
    fields = {
        name: tree
        for name, inner in (schema.get("properties") or {}).items()
        if not (tree := compile_tree(inner, f"{path}.properties[{name}]")).empty()
    }
    additional = schema.get("additionalProperties")
    items = schema.get("items")
    return RuleTree(
        tuple(rules),
        fields,
        _branch(additional, f"{path}.additionalProperties"),
        _branch(items, f"{path}.items"),
        schema,
    )


def _branch(schema: Any, path: str) -> RuleTree | None:
    tree = compile_tree(schema, path) if isinstance(schema, dict) else None
    return None if tree is None or tree.empty() else tree


def evaluate(tree: RuleTree, value: Any, old: Any = MISSING, path: str = "") -> list[FieldError]:
    """Problems of `value`; `old` is the value before an update, MISSING where there is none to compare with."""
    problems = [
        problem for rule in tree.rules if (problem := _evaluate_rule(rule, value, old, path, tree.schema)) is not None
    ]
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, branch in tree.fields.items():
            if name in value:
                problems += evaluate(branch, value[name], before.get(name, MISSING), schemas.join(path, name))
        if tree.additional is not None:
            for name, item in value.items():
                problems += evaluate(tree.additional, item, before.get(name, MISSING), f"{path}[{name}]")
    elif isinstance(value, list) and tree.items is not None:
        matched = _matched_items(value, old, tree.schema)
        for index, item in enumerate(value):
            problems += evaluate(tree.items, item, matched[index], f"{path}[{index}]")
    return problems


def _matched_items(value: list[Any], old: Any, schema: Document) -> list[Any]:
    """For every item the one with the same keys before; only keyed lists can tell."""
    keys = fieldsets.list_keys(schema)
    if keys is None or not isinstance(old, list):
        return [MISSING] * len(value)
    items = schema.get("items") or {}
    before = {fieldsets.item_key(item, keys, items): item for item in old}
    return [before.get(fieldsets.item_key(item, keys, items), MISSING) for item in value]


def _evaluate_rule(rule: Rule, value: Any, old: Any, path: str, schema: Document) -> FieldError | None:
    if rule.transition and old is MISSING:
        return None
    activation = {"self": _escaped(value) if "__" in rule.text else value}
    if rule.transition:
        activation["oldSelf"] = _escaped(old) if "__" in rule.text else old
    try:
        if rule.program.execute(activation) is True:
            return None
        message = rule.message
        if rule.message_program is not None:
            message = str(rule.message_program.execute(activation))
    except Exception as error:  # noqa: BLE001 - the object is refused, whatever it is
        message = f"rule evaluation error: {error} in rule: {rule.text.strip()}"
    return _problem(rule, value, path + rule.field_path, message, schema)


def _problem(rule: Rule, value: Any, path: str, message: str, schema: Document) -> FieldError:
    if rule.reason in ("FieldValueForbidden", "FieldValueRequired"):
        return FieldError(path, rule.reason, f"{_REASONS[rule.reason]}: {message}")
    if isinstance(value, dict | list) and rule.field_path:
        return FieldError(path, rule.reason, f"{_REASONS[rule.reason]}: {message}")
    kind = schema.get("type") or schemas.type_name(value)
    shown = errors.show(kind if isinstance(value, dict | list) else value)
    detail = "" if rule.reason == "FieldValueDuplicate" else f": {message}"
    return FieldError(path, rule.reason, f"{_REASONS[rule.reason]}: {shown}{detail}")
