"""The kubeconfig with which kubectl, kopf and the operator reach the embedded server.

Invariant: it holds everything a client needs (address, authority, token) and refers to no other file, so one
0600 file is all there is to protect.
"""

from __future__ import annotations

import base64

from shoal_operator.local.apiserver.values import Document

NAME = "shoal-local"


def render(url: str, authority_pem: bytes, token: str, namespace: str = "default") -> Document:
    """A kubeconfig document; write it with mode 0600, it contains the token."""
    authority = base64.b64encode(authority_pem).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": NAME, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}}],
        "current-context": NAME,
    }
