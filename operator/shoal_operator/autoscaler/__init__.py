"""The autoscaler: waiting work, groups and pods go in; workers to add, to drain, and reasons come out.

Pure and deterministic. It knows resources and counts, and neither Kubernetes nor our kinds.
"""
