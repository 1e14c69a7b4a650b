"""The head: the one place that knows the cluster's nodes, actors, jobs, demand and key-value pairs."""
