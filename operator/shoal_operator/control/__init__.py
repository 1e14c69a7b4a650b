"""Generic controller machinery: it knows keys, time and results, but no kind and no API server.

Nothing in here may import ``api``, ``domain`` or ``kube``: what a key means, how an error is judged and what
is measured are handed in by the composition root.
"""
