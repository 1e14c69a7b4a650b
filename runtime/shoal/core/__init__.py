"""The runtime's state machines: events in, instructions out.

Invariant: nothing here does I/O, reads a clock, draws randomness or logs; shells give all that as arguments.
"""
