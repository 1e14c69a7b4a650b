import base64

import pytest
import yaml

from shoal_operator.kube.access import AccessError, ApiAccess, BearerToken, find_access, from_service_account


def kubeconfig(tmp_path, *, user=None, cluster=None, current="here"):
    path = tmp_path / "config"
    document = {
        "current-context": current,
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://127.0.0.1:6443/"}}],
        "users": [{"name": "u", "user": user or {"token": "secret"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_kubeconfig_names_server_credentials_and_namespace(tmp_path):
    ca = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()
    path = kubeconfig(tmp_path, cluster={"server": "https://h:1/", "certificate-authority-data": ca})
    access = find_access(path, {})
    assert access == ApiAccess(
        server="https://h:1", namespace="ml", ca_data="-----BEGIN CERTIFICATE-----", token="secret"
    )


def test_files_are_relative_to_the_kubeconfig(tmp_path):
    (tmp_path / "ca.pem").write_text("CA")
    (tmp_path / "cert.pem").write_text("CERT")
    (tmp_path / "key.pem").write_text("KEY")
    path = kubeconfig(
        tmp_path,
        cluster={"server": "https://h", "certificate-authority": "ca.pem"},
        user={"client-certificate": "cert.pem", "client-key": "key.pem", "tokenFile": "token"},
    )
    access = find_access(None, {"KUBECONFIG": str(path)})
    assert (access.ca_data, access.client_certificate, access.client_key) == ("CA", "CERT", "KEY")
    assert access.token_file == tmp_path / "token"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current": "elsewhere"}, "no context named 'elsewhere'"),
        ({"cluster": {"certificate-authority": "gone.pem", "server": "https://h"}}, "certificate-authority"),
        ({"cluster": {"nothing": 1}}, "no server"),
        ({"user": {"exec": {"command": "aws"}}}, "plug-in"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, change, words):
    with pytest.raises(AccessError, match=words):
        find_access(kubeconfig(tmp_path, **change), {})


@pytest.mark.parametrize("text", ["[1, 2", "just words", "- a list"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(AccessError, match="kubeconfig"):
        find_access(path, {})


def test_nothing_to_talk_to_is_said(tmp_path):
    with pytest.raises(AccessError, match="--kubeconfig"):
        find_access(None, {"KUBECONFIG": str(tmp_path / "absent")})


def test_a_pod_uses_its_service_account(tmp_path):
    for name, text in {"token": "t1\n", "ca.crt": "CA", "namespace": "shoal-system\n"}.items():
        (tmp_path / name).write_text(text)
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    access = from_service_account(environ, tmp_path)
    assert (access.server, access.namespace) == ("https://10.96.0.1:443", "shoal-system")
    now = [0.0]
    bearer = BearerToken(access, lambda: now[0])
    assert bearer.current() == "t1"
    (tmp_path / "token").write_text("t2")
    assert bearer.current() == "t1"
    now[0] = 61
    assert bearer.current() == "t2"
