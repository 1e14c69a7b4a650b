"""The operator measured on a real control plane with fake nodes and fake heads; see `__main__.py`."""
