"""The control plane's contract: protobuf messages and gRPC stubs, generated from the ``.proto`` files here.

Invariant: the generated modules are never edited by hand; a test compares them with the ``.proto`` files.
Importing ``shoal.protocol`` itself loads neither grpc nor protobuf.
"""

PROTOCOL_VERSION = 1
"""Sent by every node and head; a peer with another number is refused with a clear reason."""
