"""A real Kubernetes for the end-to-end scenarios: made, used and removed by one command.

Invariant: whatever a run makes lies under its own directory, its own control groups and its own network
namespaces, all named for the run, so that removing a run needs no memory of what it did.
"""
