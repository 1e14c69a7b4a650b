"""gather -> plan -> execute -> status, one short file a kind: ``cluster.py``, ``job.py``. Decisions are in ``domain``.

Shared by both: ``world.py`` (what the stores keep), ``executor.py`` (carries plans out), ``head_link.py``. What a pass
needs and no store has: Secrets (``secrets.py``), which are ``tokens.py`` and ``certificates.py`` (with
``authority.py``); ``obstacles.py`` (with ``refusals.py``, ``templates.py`` and ``pod_notices.py``).
"""
