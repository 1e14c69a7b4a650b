"""An API server that speaks enough of Kubernetes for the operator, kopf and kubectl, inside one process.

Invariant: what it accepts, a real API server accepts; what it refuses, it refuses in the real server's words.
It keeps everything in memory and listens on loopback only, behind its own CA and bearer token.
"""

from shoal_operator.local.apiserver.server import ApiServer, LogSource

__all__ = ["ApiServer", "LogSource"]
