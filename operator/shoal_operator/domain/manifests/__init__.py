"""Builders of Kubernetes objects: a model goes in, a dictionary comes out."""
