"""One short file a kind: gather -> plan -> execute -> status. Decisions are in ``domain``."""
