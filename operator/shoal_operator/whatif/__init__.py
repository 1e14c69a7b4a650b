"""What if: a trace of work is replayed against the planner in virtual time, and the outcome is drawn.

Pure and deterministic: the planner is the operator's own, pods start after times drawn from a seed, and nothing is read
but what is given. Same files, same seed, same report, byte for byte.
"""
