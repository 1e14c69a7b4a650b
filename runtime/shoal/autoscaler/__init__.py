"""What programs say to the autoscaler; Ray's module names.

Invariant: importing this loads nothing that starts a session or speaks to one.
"""

from shoal.autoscaler import sdk

__all__ = ["sdk"]
