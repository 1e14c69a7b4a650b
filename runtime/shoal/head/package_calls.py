"""Calls of agents about packages: programs' directories, which agents bring and fetch.

Invariant: nothing here takes the head's lock: packages are large, and their store has a lock of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.jobs.package_store import PackageStore
from shoal.protocol import node_pb2
from shoal.protocol.link import HeadCallError


def package_handlers(packages: PackageStore) -> dict[str, Callable[[Any], Any]]:
    """Methods of the ``Cluster`` service."""

    def put(request: node_pb2.PutPackageRequest) -> node_pb2.PutPackageReply:
        packages.put(request.hash, request.data)
        return node_pb2.PutPackageReply()

    def fetch(request: node_pb2.FetchPackageRequest) -> node_pb2.PackageChunk:
        data = packages.get(request.hash)
        if data is None:
            raise HeadCallError("FetchPackage", "NotFound", f"the head has no package {request.hash}")
        return node_pb2.PackageChunk(data=data)

    return {"PutPackage": put, "FetchPackage": fetch}
