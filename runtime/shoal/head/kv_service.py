"""The key-value calls of agents: each changes the store and the journal together.

Invariant: what the store holds is what the journal was told; called under the head's lock.
"""

from __future__ import annotations

from shoal.head.journal import Journal
from shoal.head.kv import KvStore
from shoal.protocol import node_pb2


def serve_kv(store: KvStore, journal: Journal, request: node_pb2.KvRequest) -> node_pb2.KvReply:
    """One call. Raises KvError, and ValueError for an unknown operation."""
    match request.operation:
        case "get":
            value = store.get(request.namespace, request.key)
            return node_pb2.KvReply(found=value is not None, value=value or b"")
        case "put":
            found = store.put(request.namespace, request.key, request.value, request.overwrite)
            if request.overwrite or not found:
                journal.kv(request.namespace, request.key, request.value)
            return node_pb2.KvReply(found=found)
        case "delete":
            journal.kv(request.namespace, request.key, None)
            return node_pb2.KvReply(found=store.delete(request.namespace, request.key))
        case "keys":
            return node_pb2.KvReply(found=True, keys=store.keys(request.namespace, request.key))
    raise ValueError(f"unknown operation {request.operation!r}: it is get, put, delete or keys")
