"""The autoscaler's packing beside others: an exact solver for quality, Ray's scheduler for time and nodes.

`make bench-autoscaler`; docs/performance.md has what it showed.
"""
