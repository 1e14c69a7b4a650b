"""The control plane's contract: protobuf messages and gRPC stubs, generated from the ``.proto`` files here.

Invariant: nothing in this package is edited by hand except the ``.proto`` files and ``auth.py``; a test compares the generated
code with them. Importing ``shoal.protocol`` itself loads neither grpc nor protobuf.
"""

PROTOCOL_VERSION = 1
"""Sent by every node and head; a peer with another number is refused with a clear reason."""
