"""An API without a network and with invented time, and a server on loopback with real clients."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shoal_operator.local.apiserver import ApiServer, deletion, reads, writes
from shoal_operator.local.apiserver.context import Context, DeleteOptions, WriteOptions
from shoal_operator.local.apiserver.gc import Collector
from shoal_operator.local.apiserver.kinds import Resource
from shoal_operator.local.apiserver.server import build_context

TOKEN = "a-token-of-the-tests-0123456789"
Document = dict[str, Any]

WIDGET: Document = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wg"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "additionalPrinterColumns": [
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
                    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "A widget.",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "description": "What the widget shall be.",
                                "required": ["size"],
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "!has(self.min) || !has(self.max) || self.min <= self.max",
                                        "message": "must be less than or equal to `max`",
                                        "fieldPath": ".min",
                                    }
                                ],
                                "properties": {
                                    "size": {"type": "string", "enum": ["Small", "Large"], "description": "How big."},
                                    "replicas": {"type": "integer", "minimum": 0, "maximum": 100, "default": 1},
                                    "min": {"type": "integer"},
                                    "max": {"type": "integer"},
                                    "name": {"type": "string", "maxLength": 8, "pattern": "^[a-z]+$"},
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "tags": {
                                        "type": "array",
                                        "maxItems": 3,
                                        "items": {"type": "string"},
                                        "x-kubernetes-list-type": "set",
                                    },
                                    "groups": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {
                                                "name": {"type": "string"},
                                                "count": {"type": "integer", "default": 2},
                                            },
                                        },
                                    },
                                    "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "options": {"type": "object", "additionalProperties": {"type": "string"}},
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {
                                    "replicas": {"type": "integer"},
                                    "conditions": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["type"],
                                        "items": {
                                            "type": "object",
                                            "required": ["type"],
                                            "properties": {
                                                "type": {"type": "string"},
                                                "status": {"type": "string"},
                                                "reason": {"type": "string"},
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


class FakePool:
    """Addresses in order; remembers what came back."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.released: list[str] = []

    def allocate(self) -> str:
        return f"127.9.9.{next(self._numbers)}"

    def release(self, address: str) -> None:
        self.released.append(address)


class Api:
    """The operations, shortened for tests; `now` stands still until a test moves it."""

    def __init__(self, history_limit: int = 100) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        uids, suffixes = itertools.count(1), itertools.count(1)
        self.pool = FakePool()
        self.context: Context = build_context(
            self.pool,
            clock=lambda: self.now,
            new_uid=lambda: f"uid-{next(uids)}",
            new_suffix=lambda: f"{next(suffixes):05d}",
            history_limit=history_limit,
        )
        self.collector = Collector(self.context)
        self.create(WIDGET, namespace=None)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def resource(self, api_version: str, kind: str) -> Resource:
        found = self.context.registry.of_kind(api_version, kind)
        assert found is not None, kind
        return found

    def create(self, body: Document, namespace: str | None = "default", **options: Any) -> Document:
        resource = self.resource(body["apiVersion"], body["kind"])
        return writes.create(self.context, resource, namespace, body, _options(options))

    def get(self, kind: str, name: str, api_version: str = "v1", namespace: str | None = "default") -> Document:
        return reads.get_object(self.context, self.resource(api_version, kind), namespace, name)

    def exists(self, kind: str, name: str, api_version: str = "v1", namespace: str = "default") -> bool:
        resource = self.resource(api_version, kind)
        return self.context.store.get(self.context.key(resource, namespace, name)) is not None

    def update(self, body: Document, subresource: str = "", **options: Any) -> Document:
        resource, meta = self.resource(body["apiVersion"], body["kind"]), body["metadata"]
        where = (self.context, resource, meta.get("namespace"), meta["name"])
        return writes.update(*where, body, _options(options), subresource)

    def patch(
        self,
        kind: str,
        name: str,
        change: Any,
        media_type: str = writes.MERGE_PATCH,
        api_version: str = "v1",
        subresource: str = "",
        **options: Any,
    ) -> Document:
        where = (self.context, self.resource(api_version, kind), "default", name)
        return writes.patch(*where, media_type, change, _options(options), subresource)

    def apply(self, body: Document, manager: str, subresource: str = "", **options: Any) -> Document:
        resource = self.resource(body["apiVersion"], body["kind"])
        where = (self.context, resource, "default", body["metadata"]["name"])
        return writes.apply_patch(*where, body, _options(options | {"field_manager": manager}), subresource)[0]

    def delete(
        self, kind: str, name: str, api_version: str = "v1", namespace: str | None = "default", **options: Any
    ) -> tuple[Document, bool]:
        resource = self.resource(api_version, kind)
        return deletion.delete(self.context, resource, namespace, name, DeleteOptions(**options))

    def collect(self) -> None:
        """Let the garbage collector finish."""
        for _ in range(1000):
            if not self.collector.run():
                return
        raise AssertionError("the collector never comes to rest")


def _options(options: dict[str, Any]) -> WriteOptions:
    return WriteOptions(**({"field_manager": "tester"} | options))


def widget(name: str = "w", /, **spec: Any) -> Document:
    meta: Document = {"name": name, "namespace": "default"}
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": meta,
        "spec": {"size": "Small"} | spec,
    }


def pod(name: str = "p", /, *, owner: Document | None = None, blocks: bool = True, **spec: Any) -> Document:
    meta: Document = {"name": name, "namespace": "default"}
    if owner is not None:
        meta["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": blocks,
            }
        ]
    containers = [{"name": "main", "image": "image:1"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers} | spec}


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def make_api() -> type[Api]:
    return Api


@pytest.fixture
def new_widget() -> Any:
    return widget


@pytest.fixture
def new_pod() -> Any:
    return pod


@pytest.fixture
def widget_definition() -> Document:
    copied: Document = json.loads(json.dumps(WIDGET))
    return copied


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(FakePool())
    await server.start(directory=tmp_path, token=TOKEN)
    yield server
    await server.stop()


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(server.kubeconfig()))
    path.chmod(0o600)
    return path


@pytest.fixture
def tls(server: ApiServer) -> Any:
    import ssl

    return ssl.create_default_context(cadata=server.ca_pem.decode())


@pytest.fixture
async def http(server: ApiServer, tls: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the right token; paths are relative to the server."""
    session = aiohttp.ClientSession(
        server.url,
        headers={"Authorization": f"Bearer {TOKEN}"},
        connector=aiohttp.TCPConnector(ssl=tls),
        timeout=aiohttp.ClientTimeout(total=20),
    )
    async with session:
        yield session
