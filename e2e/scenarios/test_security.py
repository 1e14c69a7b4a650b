"""Encryption between pods: what runs in it, and who is refused without it."""

from __future__ import annotations

import base64
import json

from e2e import manifests
from e2e.manifests import Manifest
from e2e.world import World, condition, is_true

ENCRYPTED: Manifest = {"security": {"tls": {"mode": "Operator"}}}

MOVE_AND_TRY = '''
    import hashlib, os, random, socket, time
    import shoal

    SIZE = 50_000_000
    CONTROL, FRAMES = 7380, 7381

    @shoal.remote(num_cpus=1)
    class Place:
        def make(self):
            return random.Random(7).randbytes(SIZE)

        def take(self, data):
            return len(data), hashlib.sha256(data).hexdigest()

        def place(self):
            return os.environ["POD_NAME"], os.environ["POD_IP"]

    def answer(ip, port, first):
        """What a peer that does not speak TLS is told before the connection ends."""
        with socket.create_connection((ip, port), 10) as raw:
            raw.sendall(first)
            heard = b""
            while data := raw.recv(1000):
                heard += data
            return heard

    left, right = Place.remote(), Place.remote()
    (left_pod, left_ip), (right_pod, right_ip) = shoal.get([left.place.remote(), right.place.remote()])
    assert len({left_pod, right_pod, os.environ["POD_NAME"]}) == 3, (left_pod, right_pod)
    expected = SIZE, hashlib.sha256(random.Random(7).randbytes(SIZE)).hexdigest()
    for maker, taker in ((left, right), (right, left)):
        data = maker.make.remote()
        shoal.wait([data])
        began = time.perf_counter()
        assert shoal.get(taker.take.remote(data)) == expected
        print(f"moved {SIZE} bytes in {time.perf_counter() - began:.2f} s", flush=True)

    magic = b"SHOAL/1\\n" + bytes(32)
    http2 = b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(9)
    for ip in (left_ip, right_ip, os.environ["POD_IP"]):
        assert answer(ip, FRAMES, magic) == b"SHOAL/1 needs TLS\\n", ip
        assert b"SHOAL" not in answer(ip, FRAMES, http2), ip
    told = answer(os.environ["POD_IP"], CONTROL, http2)
    assert not told.startswith(b"\\x00\\x00"), told  # no frame of HTTP/2: nobody there speaks without TLS
    print("plaintext is refused", flush=True)
'''

ENCRYPTED_GRPC = """
    import os, subprocess, sys

    def status(*options):
        command = ["shoal", "status", "--address", os.environ["POD_IP"] + ":7380", *options]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return ended.returncode, ended.stdout + ended.stderr

    token = "--token-file", os.environ["TOKEN"]
    code, words = status(*token)
    assert code != 0 and "needs TLS" in words, words
    code, words = status(*token, "--tls-dir", os.environ["TLS"])
    assert code == 0 and "nodes:" in words, words
    print("gRPC needs the certificate", flush=True)
"""
PLACES = (
    {"name": "TOKEN", "value": "/var/run/shoal/token/token"},
    {"name": "TLS", "value": "/var/run/shoal/tls"},
)


def encrypted(world: World) -> Manifest:
    return manifests.cluster_spec(world.image, **ENCRYPTED)


def test_objects_cross_pods_encrypted_and_plaintext_is_refused(world: World) -> None:
    world.start_job(MOVE_AND_TRY, clusterSpec=encrypted(world))
    output = world.finish()["status"]["outputTail"]
    assert output.count("moved 50000000 bytes") == 2
    assert "plaintext is refused" in output
    print(output)
    assert world.pods.names() == ["job-head", "job-small-0", "job-small-1"]


def test_the_control_plane_takes_only_callers_with_a_certificate(world: World) -> None:
    head = manifests.template(containers=[{"name": "shoal", "env": list(PLACES)}])
    spec = {**encrypted(world), "head": {"template": head}}
    world.start_job(ENCRYPTED_GRPC, clusterSpec=spec)
    assert "gRPC needs the certificate" in world.finish()["status"]["outputTail"]


def test_the_authoritys_key_is_in_no_pod_and_secrets_go_with_the_cluster(world: World) -> None:
    world.apply(manifests.cluster("secure", encrypted(world)))
    world.until(lambda: is_true(world.clusters.last("secure"), "Ready"), "the cluster is ready")
    assert condition(world.clusters.last("secure"), "CertificatesReady")["status"] == "True"
    authority = json.loads(world.kubectl("get", "secret", "secure-ca", "--output=json"))
    shown = json.loads(world.kubectl("get", "secret", "secure-tls", "--output=json"))
    assert sorted(shown["data"]) == ["ca.crt", "tls.crt", "tls.key"]
    assert authority["data"]["tls.crt"] == shown["data"]["ca.crt"]
    assert authority["data"]["tls.key"] != shown["data"]["tls.key"]
    assert b"PRIVATE KEY" in base64.b64decode(authority["data"]["tls.key"])
    for pod in world.pods.now().values():
        names = [volume.get("secret", {}).get("secretName") for volume in pod["spec"]["volumes"]]
        assert "secure-ca" not in names
        assert "secure-tls" in names
    world.kubectl("delete", "computecluster", "secure")
    world.pods_are_gone()

    def secrets() -> str:
        return world.kubectl("get", "secrets", "--output=name")

    world.until(lambda: "secure-" not in secrets(), "the Secrets go")


def test_encryption_is_not_switched_under_running_pods(world: World) -> None:
    world.apply(manifests.cluster("plain", manifests.cluster_spec(world.image)))
    world.until(lambda: is_true(world.clusters.last("plain"), "Ready"), "the cluster is ready")
    change = json.dumps({"spec": ENCRYPTED})
    refused = world.kubectl.run("patch", "computecluster/plain", "--type=merge", "--patch", change)
    assert refused.code != 0
    assert "must not change while the cluster has pods" in refused.err
    world.patch("computecluster/plain", {"spec": {**ENCRYPTED, "suspend": True}})
    world.pods_are_gone()
    world.patch("computecluster/plain", {"spec": {"suspend": False}})

    def is_ready() -> bool:
        cluster = world.clusters.last("plain")
        return is_true(cluster, "Ready") and is_true(cluster, "CertificatesReady")

    world.until(is_ready, "the cluster is ready, and encrypted")
