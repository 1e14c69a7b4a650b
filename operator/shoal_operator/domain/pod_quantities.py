"""Where a pod has something that is no quantity: the API server's answer says that there is one, and not where.

Invariant: pure; nothing raises, whatever the pod is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from shoal_operator.domain.quantities import parse_quantity

SERVER_WORDS: Final = "quantities must match the regular expression"
"""What the server says of a quantity that it cannot read."""
EXAMPLES: Final = "a number such as 2, 500m or 4Gi"

Json = Mapping[str, Any]


def wrong_quantities(spec: Json) -> Iterator[tuple[str, object]]:
    """Path below the pod's spec, and value, of everything that should be a quantity and is none.

    Example:
        >>> container = {"name": "shoal", "resources": {"requests": {"cpu": "lots"}}}
        >>> list(wrong_quantities({"containers": [container]}))
        [('containers[0].resources.requests.cpu', 'lots')]
    """
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(_list(spec, kind)):
            resources = _map(container, "resources")
            for part in ("requests", "limits"):
                yield from _wrong(_map(resources, part), f"{kind}[{index}].resources.{part}")
    for index, volume in enumerate(_list(spec, "volumes")):
        directory = _map(volume, "emptyDir")
        limit = {"sizeLimit": directory["sizeLimit"]} if "sizeLimit" in directory else {}
        yield from _wrong(limit, f"volumes[{index}].emptyDir")
    yield from _wrong(_map(spec, "overhead"), "overhead")


def with_place(words: str, pod: Json) -> str:
    """The server's words about a pod, with the field and the value where it left them out."""
    found = next(wrong_quantities(_map(pod, "spec")), None) if SERVER_WORDS in words else None
    if found is None:
        return words
    path, value = found
    return f"spec.{path} is `{str(value)[:100]}`, which is no quantity: write {EXAMPLES} ({words})"


def _wrong(amounts: Json, path: str) -> Iterator[tuple[str, object]]:
    for name, value in amounts.items():
        try:
            parse_quantity(value)
        except ValueError:
            yield f"{path}.{name}", value


def _map(document: object, name: str) -> Json:
    value = document.get(name) if isinstance(document, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _list(document: Json, name: str) -> list[object]:
    value = document.get(name)
    return value if isinstance(value, list) else []
