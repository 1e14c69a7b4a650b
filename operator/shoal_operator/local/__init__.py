"""Shoal without Kubernetes: an embedded API server and a kubelet whose pods are local processes."""
