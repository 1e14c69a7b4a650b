"""How the head and the workers of a runtime are started and probed."""
