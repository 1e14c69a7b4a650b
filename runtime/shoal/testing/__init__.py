"""Tools to test programs that use Shoal, and Shoal itself: a cluster of several nodes on one machine.

Invariant: what a tool starts ends with it, also when the test process is killed.
"""

from shoal.testing.cluster import LocalCluster, LocalNode

__all__ = ["LocalCluster", "LocalNode"]
