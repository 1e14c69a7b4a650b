"""The table of built-in fields says what Kubernetes says; `python tests/apiserver/test_fields.py` writes it anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kubernetes.client import models

ROOTS = (
    "V1ConfigMap",
    "CoreV1Event",
    "V1Lease",
    "V1Namespace",
    "V1NetworkPolicy",
    "V1Node",
    "V1PersistentVolumeClaim",
    "V1Pod",
    "V1PodDisruptionBudget",
    "V1ResourceQuota",
    "V1Role",
    "V1RoleBinding",
    "V1Secret",
    "V1Service",
    "V1ServiceAccount",
)
SCALARS = {
    "str": "string",
    "bytes": "string",
    "bytearray": "string",
    "datetime": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "object": "any",
}
Table = dict[str, dict[str, str]]


def short(name: str) -> str:
    return re.sub(r"^(V1|CoreV1)(?=[A-Z])", "", name)


def spelled(text: str, table: Table) -> str:
    """A type as the table spells it: [item], {value}, a scalar, or the name of another entry."""
    if found := re.fullmatch(r"List\[(.*)\]", text):
        return f"[{spelled(found[1], table)}]"
    if found := re.fullmatch(r"Dict\[str, (.*)\]", text):
        return f"{{{spelled(found[1], table)}}}"
    if text in SCALARS:
        return SCALARS[text]
    visit(text, table)
    return short(text)


def visit(name: str, table: Table) -> None:
    if short(name) in table:
        return
    model = getattr(models, name)
    entry = table[short(name)] = {}
    for attribute, text in sorted(model.openapi_types.items(), key=lambda item: model.attribute_map[item[0]]):
        entry[model.attribute_map[attribute]] = spelled(text, table)


def read_package() -> Table:
    table: Table = {}
    for root in ROOTS:
        visit(root, table)
    return table


def write(path: Path) -> None:
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(read_package().items()))
    path.write_text(f"{{\n{lines}\n}}\n")


def test_every_field_of_the_table_is_one_of_the_package() -> None:
    """Newer packages know more fields; a field that changed its type or went would be a mistake here."""
    from shoal_operator.local.apiserver.schemas import FIELDS

    package = read_package()
    wrong = [
        (name, field, kind)
        for name, fields in FIELDS.items()
        for field, kind in fields.items()
        if package.get(name, {}).get(field) != kind
    ]
    assert wrong == []


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    write(root / "operator/shoal_operator/local/apiserver/fields.json")
