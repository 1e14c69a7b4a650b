"""The node agent: the process of a node that leases workers, keeps the object store and speaks with the head.

Invariant: decisions are made in ``shoal.core``; this package carries them out on one reactor, in one thread.
"""
