"""What makes a process an owner: it submits work, holds the results, and answers those who borrow them.

Drivers and workers are both owners; this package is the shell around ``shoal.core`` that they share.

Invariant: the head is not on the path of a task. An owner asks its node's agent for a leased worker and speaks with
that worker, and with other owners, directly.
"""
