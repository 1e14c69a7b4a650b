"""Pod templates for `shoal lint`: fields that no pod has, and quantities that are none.

Invariant: pure; it knows the fields of Kubernetes' own types by the embedded API server's table.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from shoal_operator.api.problems import Problem
from shoal_operator.domain.pod_quantities import EXAMPLES, wrong_quantities
from shoal_operator.local.apiserver.schemas import FIELDS

Json = Mapping[str, Any]


def template_problems(document: Json) -> Iterator[Problem]:
    """What is wrong in the pod templates of a ComputeCluster, or of a job's own.

    Args:
        document: a manifest of ours; templates that are no objects are passed over.
    """
    spec = document.get("spec") or {}
    places = [("spec", spec), ("spec.clusterSpec", spec.get("clusterSpec"))]
    for path, cluster in places:
        if not isinstance(cluster, Mapping):
            continue
        parts = [(f"{path}.head", cluster.get("head"))]
        groups = enumerate(cluster.get("workerGroups") or ())
        parts += [(f"{path}.workerGroups[{index}]", group) for index, group in groups]
        for where, part in parts:
            template = part.get("template") if isinstance(part, Mapping) else None
            if isinstance(template, Mapping):
                yield from _template(f"{where}.template", template)


def _template(where: str, template: Json) -> Iterator[Problem]:
    for name in template.keys() - {"metadata", "spec"}:
        yield Problem(f"{where}.{name}", "is not a field of a pod template", "it has `metadata` and `spec`")
    yield from _unknown("ObjectMeta", template.get("metadata"), f"{where}.metadata")
    yield from _unknown("PodSpec", template.get("spec"), f"{where}.spec")
    spec = template.get("spec")
    for path, value in wrong_quantities(spec) if isinstance(spec, Mapping) else ():
        yield Problem(f"{where}.spec.{path}", f"is `{value}`, which is no quantity", f"write {EXAMPLES}")


def _unknown(kind: str, value: object, path: str) -> Iterator[Problem]:
    if kind[0] == "[" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(kind[1:-1], item, f"{path}[{index}]")
    elif kind[0] == "{" and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unknown(kind[1:-1], item, f"{path}.{key}")
    elif kind in FIELDS and isinstance(value, Mapping):
        for name, item in value.items():
            declared = FIELDS[kind].get(name)
            if declared is None:
                close = difflib.get_close_matches(str(name), list(FIELDS[kind]), n=1, cutoff=0.6)
                hint = f"did you mean `{close[0]}`?" if close else "remove it"
                yield Problem(f"{path}.{name}", "is not a field of a pod template", hint)
            else:
                yield from _unknown(declared, item, f"{path}.{name}")
