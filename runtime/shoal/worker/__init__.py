"""Worker processes: the template that forks them, and what runs a task or an actor in them.

Invariant: nothing here loads gRPC or anything else that does not survive a fork.
"""
