"""The environment and command line of a container, from its spec.

Invariant: pure; the same rules as the kubelet: ``envFrom`` first, then ``env`` in order, each value may use
earlier ones as ``$(NAME)``, ``$$(NAME)`` stands for itself, an unknown name stays as written.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shoal_operator.local.kubelet.quantity import parse
from shoal_operator.local.kubelet.rewrite import Rewriter

_REFERENCE: Final = re.compile(r"\$\$|\$\(([^)]*)\)")
_KEYED: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")

Object = Mapping[str, Any]


class ConfigError(Exception):
    """The spec refers to something that is not there; becomes ``CreateContainerConfigError``."""


@dataclass(frozen=True)
class Sources:
    """What a pod's spec refers to: ``(kind, name)`` to the object: ConfigMaps, Secrets, PersistentVolumeClaims."""

    objects: Mapping[tuple[str, str], Object] = field(default_factory=dict)

    def data(self, kind: str, name: str, optional: bool) -> Mapping[str, bytes] | None:
        """The decoded entries; None when the object is missing and optional.

        Raises:
            ConfigError: missing and not optional.
        """
        found = self.objects.get((kind, name))
        if found is None:
            if optional:
                return None
            raise ConfigError(f'{kind.lower()} "{name}" not found')
        if kind == "Secret":
            entries = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
            plain = found.get("stringData") or {}
        else:
            entries = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
            plain = found.get("data") or {}
        entries.update({key: str(value).encode() for key, value in plain.items()})
        return entries


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``.

    Example:
        >>> expand("$(A)-$$(A)-$(B)", {"A": "1"})
        '1-$(A)-$(B)'
    """

    def replace(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        return variables.get(found.group(1), found.group())

    return _REFERENCE.sub(replace, text)


def field_value(pod: Object, path: str, addresses: Mapping[str, str]) -> str:
    """A value of the downward API.

    Args:
        addresses: ``status.podIP`` and ``status.hostIP``, which the status may not hold yet.

    Raises:
        ConfigError: the path is not one that the downward API offers.
    """
    metadata = pod.get("metadata") or {}
    keyed = _KEYED.fullmatch(path)
    if keyed:
        return str((metadata.get(keyed.group(1)) or {}).get(keyed.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    if path in ("metadata.name", "metadata.namespace", "metadata.uid"):
        return str(metadata.get(path.partition(".")[2], ""))
    if path in ("spec.nodeName", "spec.serviceAccountName"):
        return str((pod.get("spec") or {}).get(path.partition(".")[2], "") or "")
    plural = {"status.podIPs": "status.podIP", "status.hostIPs": "status.hostIP"}
    if plural.get(path, path) in addresses:
        return addresses[plural.get(path, path)]
    raise ConfigError(f"unsupported fieldPath: {path}")


def resource_value(pod: Object, container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """A container's limit or request as ``resourceFieldRef`` gives it, rounded up to the divisor.

    Raises:
        ConfigError: unknown container or resource.
    """
    wanted = reference.get("containerName") or container.get("name")
    everyone = [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]
    target = next((one for one in everyone if one.get("name") == wanted), None)
    if target is None:
        raise ConfigError(f'container "{wanted}" not found')
    section, _, name = str(reference.get("resource", "")).partition(".")
    if section not in ("limits", "requests") or not name:
        raise ConfigError(f"unsupported container resource: {reference.get('resource')}")
    resources = target.get("resources") or {}
    amount = (resources.get(section) or {}).get(name)
    if amount is None:
        amount = allocatable.get(name, "0") if section == "limits" else "0"
    divisor = parse(reference.get("divisor") or "1") or parse("1")
    return str(math.ceil(parse(amount) / divisor))


@dataclass(frozen=True)
class Context:
    """Everything a container's environment is made from."""

    pod: Object
    sources: Sources
    addresses: Mapping[str, str]
    rewriter: Rewriter
    allocatable: Mapping[str, str] = field(default_factory=dict)
    claims_directory: str = ""
    """Where the data of PersistentVolumeClaims is, a directory each, for as long as the session."""


def variables(container: Object, context: Context) -> dict[str, str]:
    """The variables that the spec declares, expanded and rewritten.

    Raises:
        ConfigError: a reference leads nowhere.
    """
    result: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        result.update(_from_object(source, context))
    for entry in container.get("env") or []:
        name = entry["name"]
        if entry.get("valueFrom"):
            value = _from_reference(entry["valueFrom"], container, context)
            if value is not None:
                result[name] = value
        else:
            written = context.rewriter.variable(name, str(entry.get("value") or ""))
            result[name] = expand(written, result)
    return result


def _from_object(source: Object, context: Context) -> dict[str, str]:
    kind = "ConfigMap" if "configMapRef" in source else "Secret"
    reference = source.get("configMapRef") or source.get("secretRef") or {}
    data = context.sources.data(kind, reference.get("name", ""), bool(reference.get("optional")))
    prefix = source.get("prefix") or ""
    return {
        prefix + key: context.rewriter.variable(key, value.decode("utf-8", "replace"))
        for key, value in (data or {}).items()
    }


def _from_reference(reference: Object, container: Object, context: Context) -> str | None:
    if reference.get("fieldRef"):
        return field_value(context.pod, reference["fieldRef"].get("fieldPath", ""), context.addresses)
    if reference.get("resourceFieldRef"):
        return resource_value(context.pod, container, reference["resourceFieldRef"], context.allocatable)
    for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if reference.get(key):
            return _keyed(reference[key], kind, context)
    raise ConfigError("valueFrom names no source")


def _keyed(reference: Object, kind: str, context: Context) -> str | None:
    name, wanted, optional = (
        reference.get("name", ""),
        reference.get("key", ""),
        bool(reference.get("optional")),
    )
    data = context.sources.data(kind, name, optional)
    if data is None:
        return None
    if wanted not in data:
        if optional:
            return None
        namespace = (context.pod.get("metadata") or {}).get("namespace", "")
        raise ConfigError(f"couldn't find key {wanted} in {kind} {namespace}/{name}")
    return data[wanted].decode("utf-8", "replace")


def command_line(container: Object, context: Context, environment: Mapping[str, str]) -> list[str]:
    """The words to run: ``command`` + ``args``, rewritten, then expanded.

    Raises:
        ConfigError: there is no command; local mode has no image that could name one.
    """
    words: Sequence[str] = [*(container.get("command") or []), *(container.get("args") or [])]
    if not container.get("command"):
        raise ConfigError(
            f'container "{container.get("name")}" has no command, and local mode has no image to take one from'
        )
    return [expand(word, environment) for word in context.rewriter.arguments([str(word) for word in words])]
