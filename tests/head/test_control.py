"""The start of the control plane: what prevents it is told, at once and with words, and nothing goes on afterwards."""

import threading
from datetime import UTC, datetime

import pytest
from tests.polling import until

from shoal.head.control import ControlPlane, ControlPortError
from shoal.head.service import HeadService
from shoal.jobs.package_store import PackageStore
from shoal.protocol.tls import CertificateDirectory, TlsFilesError
from shoal_operator.controllers.authority import issue_leaf, new_authority

TOKEN = b"a token for tests"
NOW = datetime.now(UTC)


class SlowDirectory(CertificateDirectory):
    """Its volume answers when it is told to, and with an error when there is one."""

    def __init__(self, directory):
        super().__init__(directory)
        self.answers = threading.Event()
        self.fault = ""

    def for_server(self):
        self.answers.wait(20)
        if self.fault:
            raise TlsFilesError(self.fault)
        return super().for_server()


@pytest.fixture
def certificates(tmp_path):
    authority = new_authority("demo", NOW)
    leaf = issue_leaf(authority, ("shoal",), NOW)
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    (tmp_path / "tls.crt").write_bytes(leaf.certificate_pem)
    (tmp_path / "tls.key").write_bytes(leaf.key_pem)
    return SlowDirectory(str(tmp_path))


@pytest.fixture
def plane(tmp_path, certificates):
    service = HeadService(PackageStore(tmp_path))
    plane = ControlPlane(service, "127.0.0.1", 0, TOKEN, certificates)
    yield plane
    certificates.answers.set()
    plane.close()
    service.close()


def test_it_begins_when_what_it_needs_is_there(plane, certificates):
    certificates.answers.set()
    assert plane.start() > 0


def test_what_prevents_the_start_is_told_at_once(plane, certificates):
    certificates.fault = "cannot use /tls/ca.crt for TLS"
    certificates.answers.set()
    with pytest.raises(ControlPortError, match=r"127\.0\.0\.1:0 cannot begin: cannot use /tls/ca.crt for TLS"):
        plane.start(20)


def test_a_server_that_does_not_begin_in_time_says_so_and_never_serves(plane, certificates):
    with pytest.raises(ControlPortError, match=r"127\.0\.0\.1:0 has not begun within 0\.05 s"):
        plane.start(0.05)
    assert plane._thread.is_alive()
    certificates.answers.set()
    until(lambda: not plane._thread.is_alive())
