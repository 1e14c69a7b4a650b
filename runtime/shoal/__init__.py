"""Shoal: tasks, actors and objects on a cluster of processes, with Ray's API."""
