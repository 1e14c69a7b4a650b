"""What a session does with its API server: CRDs and manifests.

Invariant: everything is applied server-side with one field manager, so doing it twice changes nothing; whatever
the server refuses comes back with the place in the manifest.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from shoal_operator.local.client import ApiClient, ApiError
from shoal_operator.local.errors import LocalError
from shoal_operator.local.manifest import Document, located

_MANAGER: Final = "shoal-local"
_ESTABLISHED_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def collection(api_version: str, plural: str, namespace: str | None) -> str:
    """The path of a collection.

    Example:
        >>> collection("v1", "pods", "a"), collection("shoal.dev/v1alpha1", "computejobs", "a")
        ('/api/v1/namespaces/a/pods', '/apis/shoal.dev/v1alpha1/namespaces/a/computejobs')
    """
    base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


async def apply_crds(client: ApiClient, crds: Sequence[Mapping[str, Any]]) -> None:
    """Apply CustomResourceDefinitions and wait until they are served.

    Raises:
        LocalError: one was not established in time.
    """
    for crd in crds:
        await client.apply(f"{_CRDS}/{crd['metadata']['name']}", dict(crd), manager=_MANAGER)
    try:
        async with asyncio.timeout(_ESTABLISHED_SECONDS):
            for crd in crds:
                await _until_established(client, crd["metadata"]["name"])
    except TimeoutError as error:
        raise LocalError("the kinds of Shoal were not established in time") from error


async def _until_established(client: ApiClient, name: str) -> None:
    found = await client.get(f"{_CRDS}/{name}")
    if not _established(found):
        await asyncio.sleep(_POLL_SECONDS)
        await _until_established(client, name)


def _established(crd: Mapping[str, Any]) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def localize(document: Document, name: str, folder: Path, namespace: str) -> dict[str, Any]:
    """The object as it is applied: its namespace filled in, its source directory absolute.

    Raises:
        LocalError: the source directory is not there.
    """
    body = copy.deepcopy(document.body)
    body["metadata"].setdefault("namespace", namespace)
    spec = body.get("spec")
    source = spec.get("source") if isinstance(spec, dict) else None
    directory = source.get("directory") if isinstance(source, dict) else None
    if body["kind"] == "ComputeJob" and isinstance(directory, str):
        resolved = (folder / directory).resolve()
        if not resolved.is_dir():
            place = ":".join(str(number) for number in document.where("spec.source.directory"))
            raise LocalError(
                f"{name}:{place}: spec.source.directory: {resolved} is not a directory",
                "a relative path starts at the manifest's folder",
            )
        source["directory"] = str(resolved)  # type: ignore[index]  # a directory was found in it
    return body


def localize_all(documents: Sequence[Document], manifest: Path, namespace: str) -> list[dict[str, Any]]:
    """``localize`` for every object of a manifest.

    Raises:
        LocalError: a source directory is not there.
    """
    folder = manifest.resolve().parent
    return [localize(one, str(manifest), folder, namespace) for one in documents]


async def apply_document(client: ApiClient, document: Document, body: dict[str, Any], name: str) -> dict[str, Any]:
    """Apply one object; what the server stored.

    Raises:
        LocalError: the server has no such kind, or refuses the object; says where in the manifest.
    """
    api_version, kind = body["apiVersion"], body["kind"]
    base = collection(api_version, "", None).rstrip("/")
    place = ":".join(str(number) for number in document.where("kind"))
    try:
        resources = (await client.get(base)).get("resources") or []
    except ApiError as error:
        if error.code != 404:
            raise
        resources = []
    found = next((one for one in resources if one["kind"] == kind and "/" not in one["name"]), None)
    if found is None:
        raise LocalError(
            f"{name}:{place}: there is no kind {kind} in {api_version}",
            "Shoal's kinds are ComputeJob and ComputeCluster in shoal.dev/v1alpha1",
        )
    namespace = body["metadata"]["namespace"] if found.get("namespaced") else None
    path = f"{collection(api_version, found['name'], namespace)}/{body['metadata']['name']}"
    try:
        return await client.apply(path, body, manager=_MANAGER)
    except ApiError as error:
        raise refusal(error, document, name) from error


def refusal(error: ApiError, document: Document, name: str) -> LocalError:
    """What the server refused, with lines and columns where it names fields."""
    causes = [
        (str(cause.get("field") or "").removeprefix("."), str(cause.get("message") or ""))
        for cause in error.details.get("causes") or []
    ]
    if causes:
        return LocalError("\n".join(located(document, name, causes)))
    title = f"{document.body['kind']} {document.body['metadata']['name']}"
    return LocalError(f"{name}: {title} was refused: {error.message}")
