"""Text of a request to a JSON value, and what a strict reader finds wrong with the text.

Invariant: pure; whatever the text is, the outcome is a value of JSON's types with text for keys, or `BodyError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

Strictness = list[str]
"""Problems that only fieldValidation minds, e.g. `duplicate field "data.k"`."""


class BodyError(ValueError):
    """The text is neither JSON nor YAML."""


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, with what it says twice."""


def from_json(raw: bytes) -> tuple[Any, Strictness]:
    """Decode; of a field given twice the last one counts."""
    repeated = False

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated = repeated or len(found) < len(pairs)
        return found

    try:
        value = json.loads(raw, object_pairs_hook=build)
        # Where fields are only needed by those who give one twice, the text is read once.
        twice = list(_repeated(json.loads(raw, object_pairs_hook=_Pairs), "")) if repeated else []
    except ValueError as error:
        raise BodyError(str(error)) from error
    return value, [f'duplicate field "{path}"' for path in twice]


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, item in value:
            inner = f"{path}.{name}" if path else name
            if name in seen:
                yield inner
            seen.add(name)
            yield from _repeated(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]")


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: a date stays the text it is. `twice` are the lines of keys that are there already."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.twice: Strictness = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str):
                if key.value in seen:
                    self.twice.append(f'  line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in held if tag != "tag:yaml.org,2002:timestamp"]
    for first, held in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def from_yaml(raw: bytes) -> tuple[Any, Strictness]:
    """Decode YAML, of which JSON is a part."""
    if raw.lstrip().startswith(b"{"):
        try:
            return from_json(raw)
        except BodyError:
            pass
    loader = _Loader(raw)
    try:
        value = _with_text_keys(loader.get_single_data())
    except (yaml.YAMLError, RecursionError) as error:
        raise BodyError(f"error converting YAML to JSON: {error}") from error
    finally:
        loader.dispose()
    return value, ["yaml: unmarshal errors:\n" + "\n".join(loader.twice)] if loader.twice else []


def _with_text_keys(value: Any) -> Any:
    """YAML's keys may be anything; JSON's are text, and `on` is a truth value to YAML."""
    if isinstance(value, dict):
        return {_text(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


def _text(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key) if isinstance(key, bool | int | float) else str(key)
