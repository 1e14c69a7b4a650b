"""Objects in shared memory: segments, the client of drivers and workers, and transfer between nodes.

Invariant: shared memory exists only as memfd segments, so nothing is left when the last process that has one
ends.
"""
