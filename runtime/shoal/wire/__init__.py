"""Frames between processes: length-prefixed messages over Unix and TCP sockets, without gRPC and without asyncio.

Invariant: nothing here knows what a message means; ``core`` decides, ``_api``, ``worker`` and ``node`` carry out.
Only the standard library is imported, so that a driver, a worker and the template process stay light and safe to
fork.
"""
