"""ComputeCluster: what is seen, what to do, what to say."""
