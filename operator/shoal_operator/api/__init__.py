"""The kinds as pydantic models: the one source of the CRDs, of ``kubectl explain`` and of the operator's reading."""
