"""Where the API server is and how to prove who we are: from a kubeconfig file or from the pod we run in.

Invariant: credentials are held in fields that never show in ``repr``, and are written to no file and no log.
A token file is read again for as long as it is used: service account tokens expire.

Left out on purpose: ``exec`` and ``auth-provider`` plug-ins of kubeconfig files (they start programs). Inside
a cluster they are not needed; outside, ``kubectl proxy``-less use needs a token or a client certificate.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_REREAD_SECONDS: Final = 60.0


class AccessError(Exception):
    """There is no usable way to an API server; the text says what to change."""


@dataclass(frozen=True)
class ApiAccess:
    """The address of an API server and our credentials.

    Attributes:
        server: ``https://10.96.0.1:443``, without a slash at the end.
        namespace: the namespace that the context or the pod names.
        ca_data: PEM of the authority that signed the server's certificate; None: the system's authorities.
        token: a bearer token.
        token_file: a file with a bearer token that may change.
        client_certificate: PEM of a client certificate.
        client_key: PEM of its key.
        insecure: do not check the server's certificate (only when the kubeconfig file says so).
    """

    server: str
    namespace: str = "default"
    ca_data: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_certificate: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)
    insecure: bool = False

    def ssl_context(self) -> ssl.SSLContext | None:
        """What to check the server with; None for plain HTTP."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.create_default_context(cadata=self.ca_data)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate is not None:
            _load_client_certificate(context, f"{self.client_certificate}\n{self.client_key or ''}")
        return context


def _load_client_certificate(context: ssl.SSLContext, pem: str) -> None:
    """``load_cert_chain`` takes only files: give it one in memory, so that no key reaches a disk."""
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", encoding="ascii", closefd=False) as file:
            file.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


class BearerToken:
    """The current bearer token; a token file is read again after ``TOKEN_REREAD_SECONDS``."""

    def __init__(self, access: ApiAccess, monotonic: Callable[[], float]) -> None:
        self._access = access
        self._monotonic = monotonic
        self._token = access.token
        self._read_at: float | None = None

    def current(self) -> str | None:
        """The token, or None when there is none (client certificates)."""
        path = self._access.token_file
        if path is None:
            return self._token
        now = self._monotonic()
        if self._read_at is None or now - self._read_at > TOKEN_REREAD_SECONDS:
            self._token = path.read_text(encoding="utf-8").strip()
            self._read_at = now
        return self._token


def find_access(kubeconfig: Path | None, environ: Mapping[str, str]) -> ApiAccess:
    """The API server to use: the given file, the pod's own, ``$KUBECONFIG``, or ``~/.kube/config``.

    Raises:
        AccessError: nothing of that exists, or the file cannot be used.
    """
    if kubeconfig is not None:
        return from_kubeconfig(kubeconfig)
    if environ.get("KUBERNETES_SERVICE_HOST") and SERVICE_ACCOUNT.is_dir():
        return from_service_account(environ)
    named = environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    candidate = Path(named) if named else Path.home() / ".kube" / "config"
    if candidate.is_file():
        return from_kubeconfig(candidate)
    raise AccessError(
        f"no Kubernetes API server to talk to: not running in a pod, and {candidate} does not exist; "
        "give --kubeconfig FILE"
    )


def from_service_account(environ: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> ApiAccess:
    """The API server of the cluster that this pod runs in."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    namespace = directory / "namespace"
    return ApiAccess(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace.read_text(encoding="utf-8").strip() if namespace.is_file() else "default",
        ca_data=(directory / "ca.crt").read_text(encoding="utf-8"),
        token_file=directory / "token",
    )


def from_kubeconfig(path: Path) -> ApiAccess:
    """The API server of the file's current context.

    Raises:
        AccessError: the file cannot be read, is not a kubeconfig, or needs a plug-in.
    """
    import yaml  # 20 ms that a pod in a cluster does not need

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AccessError(f"cannot read the kubeconfig file {path}: {error}") from error
    if not isinstance(config, dict):
        raise AccessError(f"{path} is not a kubeconfig file: it does not hold a mapping")
    context = _named(config, "contexts", "context", config.get("current-context"), path)
    cluster = _named(config, "clusters", "cluster", context.get("cluster"), path)
    user = _named(config, "users", "user", context.get("user"), path) if context.get("user") else {}
    if "exec" in user or "auth-provider" in user:
        raise AccessError(
            f"user {context.get('user')!r} in {path} logs in through a plug-in, which the operator does not "
            "start; use a token (kubectl create token) or a client certificate"
        )
    return _build(path, context, cluster, user)


def _build(path: Path, context: dict[str, Any], cluster: dict[str, Any], user: dict[str, Any]) -> ApiAccess:
    if not cluster.get("server"):
        raise AccessError(f"the cluster of the current context in {path} has no server")
    token_file = user.get("tokenFile")
    return ApiAccess(
        server=str(cluster["server"]).rstrip("/"),
        namespace=str(context.get("namespace") or "default"),
        ca_data=_pem(cluster, "certificate-authority", path),
        token=user.get("token"),
        token_file=_beside(path, token_file) if token_file else None,
        client_certificate=_pem(user, "client-certificate", path),
        client_key=_pem(user, "client-key", path),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def _named(config: dict[str, Any], plural: str, singular: str, name: object, path: Path) -> dict[str, Any]:
    for entry in config.get(plural) or ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(singular), dict):
            found: dict[str, Any] = entry[singular]
            return found
    raise AccessError(f"{path} has no {singular} named {name!r}")


def _pem(section: dict[str, Any], key: str, path: Path) -> str | None:
    """A PEM text of the file: inline under ``<key>-data``, or in another file named by ``<key>``."""
    inline = section.get(f"{key}-data")
    try:
        if inline:
            return base64.b64decode(inline, validate=True).decode("ascii")
        if section.get(key):
            return _beside(path, section[key]).read_text(encoding="ascii")
    except (OSError, binascii.Error, UnicodeDecodeError) as error:
        raise AccessError(f"cannot use {key} of {path}: {error}") from error
    return None


def _beside(path: Path, name: str) -> Path:
    """A path of a kubeconfig file; relative ones are relative to that file."""
    return path.parent / name
