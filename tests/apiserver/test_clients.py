"""The clients that the operator is made of: the kubernetes package, and kopf's own watching."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import kopf
import pytest
from kubernetes.aio import client, config, watch

from shoal_operator.local.apiserver import ApiServer


async def api_client(kubeconfig: Path) -> client.ApiClient:
    settings = client.Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
    return client.ApiClient(settings)


async def test_the_kubernetes_package_creates_lists_watches_and_deletes(
    server: ApiServer, kubeconfig: Path, new_pod: Any
) -> None:
    async with await api_client(kubeconfig) as connection:
        core = client.CoreV1Api(connection)
        await core.create_namespaced_pod("default", new_pod())
        listed = await core.list_namespaced_pod("default")
        assert [item.metadata.name for item in listed.items] == ["p"]
        seen = []
        async with watch.Watch() as stream:
            version = listed.metadata.resource_version
            await core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"a": "b"}}})
            await core.delete_namespaced_pod("p", "default")
            async for event in stream.stream(
                core.list_namespaced_pod, "default", resource_version=version, timeout_seconds=5
            ):
                seen.append((event["type"], event["object"].metadata.labels))
                if event["type"] == "DELETED":
                    break
        assert seen == [("MODIFIED", {"a": "b"}), ("DELETED", {"a": "b"})]


async def test_the_kubernetes_package_applies_custom_objects(
    server: ApiServer, kubeconfig: Path, widget_definition: dict[str, Any], new_widget: Any
) -> None:
    async with await api_client(kubeconfig) as connection:
        await client.ApiextensionsV1Api(connection).create_custom_resource_definition(widget_definition)
        objects = client.CustomObjectsApi(connection)
        where = ("example.com", "v1", "default", "widgets")
        created = await objects.create_namespaced_custom_object(*where, new_widget())
        assert created["spec"]["replicas"] == 1
        with pytest.raises(client.ApiException) as refused:
            await objects.create_namespaced_custom_object(*where, new_widget())
        assert refused.value.status == 409


async def test_kopf_sees_objects_come_change_and_go(
    server: ApiServer,
    kubeconfig: Path,
    widget_definition: dict[str, Any],
    new_widget: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 0.2
    seen: asyncio.Queue[tuple[str | None, int]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    @kopf.on.login(registry=registry)
    def login(**arguments: Any) -> Any:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        return kopf.login_with_kubeconfig(**arguments)

    @kopf.on.event("example.com", "v1", "widgets", registry=registry)
    async def observe(event: Any, **_: Any) -> None:
        loop.call_soon_threadsafe(seen.put_nowait, (event["type"], event["object"]["spec"]["replicas"]))

    async with await api_client(kubeconfig) as connection:
        await client.ApiextensionsV1Api(connection).create_custom_resource_definition(widget_definition)
        objects = client.CustomObjectsApi(connection)
        where = ("example.com", "v1", "default", "widgets")
        await objects.create_namespaced_custom_object(*where, new_widget())
        stop = threading.Event()
        # Its own thread and loop: at its end kopf waits for, and cancels, every task of the loop it runs in.
        operator = kopf.operator(registry=registry, settings=settings, clusterwide=True, stop_flag=stop)
        thread = threading.Thread(target=asyncio.run, args=(operator,))
        thread.start()
        try:
            assert await asyncio.wait_for(seen.get(), 10) == (None, 1)
            await objects.patch_namespaced_custom_object(*where, "w", {"spec": {"replicas": 4}})
            assert await asyncio.wait_for(seen.get(), 10) == ("MODIFIED", 4)
            await objects.delete_namespaced_custom_object(*where, "w")
            assert await asyncio.wait_for(seen.get(), 10) == ("DELETED", 4)
        finally:
            stop.set()
            while thread.is_alive():
                await asyncio.sleep(0.01)
            thread.join()
