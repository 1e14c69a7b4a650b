"""Certificates of clusters, from the operator against an API server: made once, renewed in time, never leaked."""

import asyncio
import base64
import gc
import logging
import time
import weakref
from datetime import UTC, datetime, timedelta

import pytest

from shoal.protocol.tls import Certificates
from shoal_operator.api.cluster import ComputeCluster
from shoal_operator.controllers.authority import Leaf, issue_leaf, new_authority, read_leaf
from shoal_operator.controllers.certificates import CertificatesError, ClusterCertificates
from shoal_operator.controllers.secrets import KEEP_SECONDS, SecretReader
from shoal_operator.kube import rbac
from shoal_operator.kube.access import ApiAccess
from shoal_operator.kube.client import ApiClient
from shoal_operator.telemetry.metrics import Metrics

from .conftest import a_cluster, condition, is_true, until
from .test_roles import bind, denied, grant, used

SECRETS = "/api/v1/namespaces/default/secrets"
ENCRYPTED = {"security": {"tls": {"mode": "Operator"}}, "workerGroups": [{"name": "small", "minReplicas": 1}]}
NAMES = ("shoal", "demo-head", "demo-head.default.svc")
CERTIFICATES = "/apis/cert-manager.io/v1/namespaces/default/certificates"
ISSUED = {"security": {"tls": {"mode": "CertManager", "issuerRef": {"name": "our-ca"}}}}


def content(secret):
    return {name: base64.b64decode(value) for name, value in secret["data"].items()}


def leaf_of(secret):
    files = content(secret)
    return Leaf(files["ca.crt"], files["tls.crt"], files["tls.key"])


async def test_a_cluster_gets_certificates_before_pods_and_its_head_is_reached(world, caplog):
    caplog.set_level(logging.DEBUG)
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(**ENCRYPTED))
        secret = await until(lambda: world.api.secret("demo-tls"))
        leaf = leaf_of(secret)
        assert read_leaf(leaf).names == frozenset(NAMES)
        certificates = Certificates(leaf.authority_pem, leaf.certificate_pem, leaf.key_pem)
        await world.serve_head(certificates=certificates)
        cluster = await until(world.api.cluster, is_true("HeadReachable"))
        assert condition(cluster, "CertificatesReady") == ("True", "CertificatesIssued")
    writes = [path.rpartition("/")[2] for _, path in world.recorder.writes()]
    assert writes.index("demo-tls") < writes.index("pods")
    authority = content(await world.api.secret("demo-ca"))
    assert authority["tls.crt"] == leaf.authority_pem
    for key in (leaf.key_pem, authority["tls.key"]):
        secret_words = key.split(b"\n")[1].decode()
        assert secret_words not in caplog.text
        assert secret_words not in str(cluster)
    assert ("CertificateIssued", "demo") in await world.api.events()


async def test_a_restart_issues_nothing_and_a_lost_secret_comes_again_from_the_same_authority(world):
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(**ENCRYPTED))
        await until(world.api.pod_names)
    before = await world.api.secret("demo-tls")
    authority = await world.api.secret("demo-ca")
    async with world.operator():
        await until(lambda: asyncio.sleep(0, sum(p.endswith("/demo-tls") for _, p, _ in world.recorder.requests) > 1))
        await until(world.api.cluster, lambda c: condition(c, "CertificatesReady"))
        assert await world.api.secret("demo-tls") == before
    await world.api.delete(f"{SECRETS}/demo-tls")
    async with world.operator():
        after = await until(lambda: world.api.secret("demo-tls"))
    assert content(after)["ca.crt"] == content(before)["ca.crt"]
    assert content(after)["tls.crt"] != content(before)["tls.crt"]
    assert await world.api.secret("demo-ca") == authority


class MovingClock:
    """Time that a test moves."""

    def __init__(self):
        self.moment = datetime.now(UTC)
        self.seconds = 0.0

    def now(self):
        return self.moment

    def monotonic(self):
        return self.seconds

    def move(self, **by):
        self.moment += timedelta(**by)
        self.seconds += timedelta(**by).total_seconds()


@pytest.fixture
async def kept(world):
    """The keeper alone, with a clock, and a cluster that is on the server."""
    clock = MovingClock()
    async with client_of(world) as client:
        yield clock, ClusterCertificates(client, clock)


def client_of(world):
    access = ApiAccess(server=world.recorder.url, token=world.recorder.token)
    return ApiClient(access, monotonic=time.monotonic, metrics=Metrics())


async def keep(certificates, cluster):
    """What a pass does. Returns what there is after it, and why a certificate was issued."""
    view = await certificates.look(cluster)
    if not view.due:
        return view, ""
    is_issued, after = await certificates.issue(cluster)
    return after, view.due if is_issued else ""


async def make(world, spec):
    return ComputeCluster.parse(await world.api.create("computeclusters", a_cluster(**spec)))


async def test_a_certificate_is_renewed_at_two_thirds_of_its_life(world, kept):
    clock, certificates = kept
    cluster = await make(world, ENCRYPTED)
    view, issued = await keep(certificates, cluster)
    assert (view.is_ready, issued) == (True, "there is no certificate yet")
    first = content(await world.api.secret("demo-tls"))
    clock.move(days=59)
    view, issued = await keep(certificates, cluster)
    assert (view.is_ready, issued) == (True, "")
    assert view.next_check_seconds == pytest.approx(86_400, abs=1000)
    assert content(await world.api.secret("demo-tls")) == first
    clock.move(days=1, minutes=1)
    assert "two thirds" in (await keep(certificates, cluster))[1]
    second = content(await world.api.secret("demo-tls"))
    assert second["ca.crt"] == first["ca.crt"]
    assert second["tls.key"] != first["tls.key"]
    assert (await keep(certificates, cluster))[1] == ""
    read = await certificates.read("default", "demo-tls", cluster.metadata.uid, fresh=False)
    assert read.certificate_pem == second["tls.crt"]


async def test_looking_writes_nothing_and_an_old_certificate_serves_until_the_new_one(world, kept):
    clock, certificates = kept
    cluster = await make(world, ENCRYPTED)
    world.recorder.requests.clear()
    view = await certificates.look(cluster)
    assert (view.is_ready, view.due) == (False, "there is no certificate yet")
    assert world.recorder.writes() == []
    await certificates.issue(cluster)
    clock.move(days=61)
    world.recorder.requests.clear()
    view = await certificates.look(cluster)
    assert (view.is_ready, bool(view.due)) == (True, True)
    clock.move(days=30)
    assert not (await certificates.look(cluster)).is_ready
    assert world.recorder.writes() == []


async def test_answers_are_kept_for_a_while_and_only_for_the_same_cluster(world, kept):
    clock, certificates = kept
    cluster = await make(world, ENCRYPTED)
    await keep(certificates, cluster)
    world.recorder.requests.clear()
    for _ in range(5):
        await keep(certificates, cluster)
        await certificates.read("default", "demo-tls", cluster.metadata.uid, fresh=False)
    assert world.recorder.requests == []
    clock.move(seconds=KEEP_SECONDS)
    await keep(certificates, cluster)
    assert [(method, path) for method, path, _ in world.recorder.requests] == [("GET", f"{SECRETS}/demo-tls")]
    await certificates.read("default", "demo-tls", "another uid", fresh=False)
    assert len(world.recorder.requests) == 2


async def test_what_has_had_its_time_leaves_the_memory_when_another_secret_is_asked_for(world):
    clock = MovingClock()
    metadata = {"name": "old", "namespace": "default"}
    made = await world.api.create("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
    async with client_of(world) as client:
        secrets = SecretReader(client, clock, dict)
        old = weakref.ref(secrets.keep(made, "uid"))
        clock.move(seconds=KEEP_SECONDS - 1)
        assert secrets.recall(("default", "old"), "uid") is old()
        clock.move(seconds=1)
        assert await secrets.read(("default", "missing"), "uid") is None
        gc.collect()
        assert old() is None


async def test_secrets_of_an_earlier_cluster_are_neither_used_nor_taken(world, kept):
    _, certificates = kept
    cluster = await make(world, ENCRYPTED)
    await keep(certificates, cluster)
    again = cluster.model_copy(update={"metadata": cluster.metadata.model_copy(update={"uid": "another"})})
    before = await world.api.secret("demo-tls")
    view, _ = await keep(certificates, again)
    assert not view.is_ready
    assert "belongs to something else" in view.message
    assert await world.api.secret("demo-tls") == before
    await world.api.delete(f"{SECRETS}/demo-tls")
    view, _ = await keep(certificates, again)
    assert "demo-ca belongs to something else" in view.message
    assert await world.api.secret("demo-tls") is None


async def test_an_unusable_authority_is_said_and_not_replaced(world, kept):
    _, certificates = kept
    cluster = await make(world, ENCRYPTED)
    await keep(certificates, cluster)
    await world.api.patch(f"{SECRETS}/demo-ca", {"data": {"tls.key": base64.b64encode(b"nothing").decode()}})
    await world.api.delete(f"{SECRETS}/demo-tls")
    certificates.forget("default", "demo")
    view, _ = await keep(certificates, cluster)
    assert not view.is_ready
    assert "default/demo-ca is unusable" in view.message
    assert content(await world.api.secret("demo-ca"))["tls.key"] == b"nothing"
    with pytest.raises(CertificatesError, match=r"demo-tls .*is missing"):
        await certificates.read("default", "demo-tls", cluster.metadata.uid, fresh=False)


async def test_two_operators_at_once_make_one_authority(world, kept):
    clock, certificates = kept
    cluster = await make(world, ENCRYPTED)
    async with client_of(world) as client:
        other = ClusterCertificates(client, clock)
        await asyncio.gather(keep(certificates, cluster), keep(other, cluster))
    authority = content(await world.api.secret("demo-ca"))
    assert content(await world.api.secret("demo-tls"))["ca.crt"] == authority["tls.crt"]


# cert-manager


async def define_certificates(world):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Certificate", "plural": "certificates", "singular": "certificate", "listKind": "CertificateList"}
    spec = {"group": "cert-manager.io", "names": names, "scope": "Namespaced", "versions": [version]}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    named = {**definition, "metadata": {"name": "certificates.cert-manager.io"}, "spec": spec}
    await world.api.create("customresourcedefinitions", named)


async def answer(world, authority, names=("shoal",), **changes):
    """What cert-manager does: a Secret that it owns."""
    leaf = issue_leaf(authority, names, datetime.now(UTC))
    files = {"ca.crt": leaf.authority_pem, "tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem, **changes}
    data = {name: base64.b64encode(value).decode() for name, value in files.items() if value is not None}
    metadata = {"name": "demo-tls", "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    await world.api.create("secrets", secret)
    return leaf


async def test_cert_manager_is_asked_and_waited_for(world):
    await define_certificates(world)
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(**ISSUED))
        asked = await until(lambda: world.api.call("GET", f"{CERTIFICATES}/demo-tls"))
        assert asked["spec"]["issuerRef"] == {"name": "our-ca", "kind": "Issuer"}
        cluster = await until(world.api.cluster, lambda c: condition(c, "CertificatesReady"))
        assert condition(cluster, "CertificatesReady") == ("False", "WaitingForCertificate")
        assert condition(cluster, "Ready") == ("False", "WaitingForCertificate")
        ready = {"type": "Ready", "status": "False", "message": "the issuer our-ca is not there"}
        await world.api.patch(f"{CERTIFICATES}/demo-tls", {"status": {"conditions": [ready]}})
        await until(world.api.cluster, lambda c: "the issuer our-ca is not there" in c["status"].get("message", ""))
        assert await world.api.pods() == []
        leaf = await answer(world, new_authority("corporate", datetime.now(UTC)))
        await until(world.api.pod_names)
        certificates = Certificates(leaf.authority_pem, leaf.certificate_pem, leaf.key_pem)
        await world.serve_head(certificates=certificates)
        cluster = await until(world.api.cluster, is_true("HeadReachable"))
        assert condition(cluster, "CertificatesReady") == ("True", "CertificatesIssued")
    assert await world.api.secret("demo-ca") is None


async def test_without_cert_manager_the_object_says_so(world, kept):
    _, certificates = kept
    cluster = await make(world, ISSUED)
    view, _ = await keep(certificates, cluster)
    assert "no kind Certificate: install cert-manager" in view.message
    waits = [(await keep(certificates, cluster))[0].next_check_seconds for _ in range(8)]
    assert waits == sorted(waits)
    assert waits[-1] == 30


@pytest.mark.parametrize(
    ("names", "changes", "words"),
    [
        (("shoal",), {"ca.crt": None}, "ca.crt"),
        (("example.com",), {}, "not made out for shoal"),
        (("shoal",), {"tls.key": b"another"}, "cannot be read"),
    ],
)
async def test_an_answer_that_pods_cannot_use_is_not_mounted(world, kept, names, changes, words):
    _, certificates = kept
    await define_certificates(world)
    cluster = await make(world, ISSUED)
    await answer(world, new_authority("corporate", datetime.now(UTC)), names, **changes)
    view, _ = await keep(certificates, cluster)
    assert not view.is_ready
    assert words in view.message


async def test_a_certificate_of_that_name_that_is_somebody_elses_is_left_alone_and_said(world, kept):
    _, certificates = kept
    await define_certificates(world)
    metadata = {"name": "demo-tls", "namespace": "default"}
    theirs = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": metadata}
    await world.api.create("certificates", {**theirs, "spec": {"secretName": "web", "dnsNames": ["example.com"]}})
    view, _ = await keep(certificates, await make(world, ISSUED))
    assert (view.is_ready, view.reason) == (False, "WriteRefused")
    assert "spec.secretName" in view.message
    assert (await world.api.call("GET", f"{CERTIFICATES}/demo-tls"))["spec"]["secretName"] == "web"


async def test_another_issuer_is_asked_at_once(world, kept):
    _, certificates = kept
    await define_certificates(world)
    cluster = await make(world, ISSUED)
    await answer(world, new_authority("corporate", datetime.now(UTC)))
    assert (await keep(certificates, cluster))[0].is_ready
    world.recorder.requests.clear()
    assert (await keep(certificates, cluster))[0].is_ready
    assert world.recorder.requests == []
    path = "/apis/shoal.dev/v1alpha1/namespaces/default/computeclusters/demo"
    changed = await world.api.patch(path, {"spec": {"security": {"tls": {"issuerRef": {"name": "new-ca"}}}}})
    assert (await keep(certificates, ComputeCluster.parse(changed)))[0].is_ready
    assert (await world.api.call("GET", f"{CERTIFICATES}/demo-tls"))["spec"]["issuerRef"]["name"] == "new-ca"


async def test_the_rights_for_cert_manager_suffice_and_are_needed(world):
    await define_certificates(world)
    await grant(world)
    path = "/apis/shoal.dev/v1alpha1/namespaces/default/computeclusters/demo"
    async with world.operator():
        await world.api.create("computeclusters", a_cluster(**ISSUED))
        cluster = await until(world.api.cluster, lambda c: condition(c, "CertificatesReady"))
        assert condition(cluster, "CertificatesReady") == ("False", "WriteRefused")
        assert "certificates.cert-manager.io" in str(cluster["status"])
        await bind(world, "Cluster", None, "issuing", rbac.rules(rbac.CERT_MANAGER, lease_name=""))
        world.recorder.requests.clear()
        await world.api.patch(path, {"metadata": {"annotations": {"look": "again"}}})
        await until(lambda: world.api.call("GET", f"{CERTIFICATES}/demo-tls"))
        assert denied(world) == []
        verbs = {verb for plural, verb in used(world) if plural == "certificates"}
    assert verbs == {verb for permission in rbac.CERT_MANAGER for verb in permission.verbs}
