"""Writing a pod's status, and removing the pod when it has ended.

Invariant: an unchanged status is not written; another pod of the same name is neither written nor deleted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from shoal_operator.local.client import ApiClient, ApiError
from shoal_operator.local.kubelet.lifecycle import Record
from shoal_operator.local.kubelet.pod_setup import NodeContext
from shoal_operator.local.kubelet.status import pod_status

Object = Mapping[str, Any]

WRITE_RETRY_SECONDS: Final = 0.5
_log = logging.getLogger("shoal.kubelet")


class StatusWriter:
    """Remembers what was written last for one pod."""

    def __init__(self, node: NodeContext) -> None:
        self._node = node
        self._written: Object | None = None

    async def write(self, pod: Object, records: Mapping[str, Record], pod_ip: str, taken_at: float) -> bool:
        """Write the status when it differs; False when it has to be tried again."""
        status = pod_status(
            self._with_known_conditions(pod),
            records,
            time.time(),
            pod_ip=pod_ip,
            host_ip=self._node.host.host_ip,
            started_at=taken_at,
        )
        if status == self._written:
            return True
        metadata = pod["metadata"]
        try:
            await self._node.client.patch(
                f"{_path(pod)}/status", {"metadata": {"uid": metadata["uid"]}, "status": status}
            )
        except ApiError as error:
            # 404 and 409: another pod of this name, or none, is there now; the watch will tell.
            if error.code in (404, 409):
                return True
            _log.warning("pod %s: status not written: %s", metadata["name"], error)
            return False
        self._written = status
        return True

    def _with_known_conditions(self, pod: Object) -> Object:
        """The pod with the conditions that were written last, which the watch may not have brought back yet."""
        if self._written is None:
            return pod
        own = {one["type"]: one for one in self._written["conditions"]}
        current = (pod.get("status") or {}).get("conditions") or []
        others = [one for one in current if one.get("type") not in own]
        return {**pod, "status": {**(pod.get("status") or {}), "conditions": [*own.values(), *others]}}


async def delete_pod(client: ApiClient, pod: Object, is_gone: Callable[[], bool]) -> None:
    """Remove the object of an ended pod for good; tries until it is gone.

    Args:
        client: reaches the API server.
        pod: the pod; only an object with its uid is deleted.
        is_gone: whether somebody else has removed it.
    """
    body = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": pod["metadata"]["uid"]},
    }
    while not is_gone():
        try:
            await client.request("DELETE", _path(pod), body)
        except ApiError as error:
            if error.code in (404, 409):
                return
            await asyncio.sleep(WRITE_RETRY_SECONDS)
        else:
            return


def _path(pod: Object) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
