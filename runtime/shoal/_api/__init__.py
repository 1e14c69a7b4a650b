"""The objects behind the public names; ``shoal/__init__.py`` re-exports them and nothing else does."""
