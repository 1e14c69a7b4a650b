"""The kinds as pydantic models: the one source of the CRDs, of ``kubectl explain`` and of what we read."""
