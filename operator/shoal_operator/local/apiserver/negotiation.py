"""Which form of an answer the client wants.

Invariant: JSON only; a client that accepts no form of JSON is told which there are (406).
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal_operator.local.apiserver import errors

JSON = "application/json"
MEDIA_TYPES = (JSON, "application/yaml", "application/vnd.kubernetes.protobuf")
"""What the real server names in a refusal; this one reads all three and writes JSON."""
_VIEWS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList")


@dataclass(frozen=True, slots=True)
class View:
    """`name` is "" for whole objects, else Table, PartialObjectMetadata or APIGroupDiscoveryList."""

    name: str = ""
    version: str = ""

    @property
    def is_table(self) -> bool:
        return self.name == "Table"

    @property
    def is_partial(self) -> bool:
        return self.name.startswith("PartialObjectMetadata")


def choose(accept: str) -> View:
    """The first form in an Accept header that this server has; StatusError 406 when there is none."""
    if not accept:
        return View()
    known = False
    for offer in accept.split(","):
        media, _, rest = offer.partition(";")
        if media.strip() not in (JSON, "application/*", "*/*"):
            known = known or media.strip() in MEDIA_TYPES
            continue
        known = True
        parameters = dict(part.strip().partition("=")[::2] for part in rest.split(";") if "=" in part)
        view, version = parameters.get("as", ""), parameters.get("v", "")
        if not view:
            return View()
        if view in _VIEWS and version in ("v1", "v2"):
            return View(view, version)
    raise errors.not_acceptable(MEDIA_TYPES, known=known)
