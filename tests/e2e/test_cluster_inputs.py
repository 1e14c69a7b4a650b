"""What the provider reads: Dockerfiles, module files, mount tables, pip's settings; and what it writes from them."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from e2e.cluster import binaries, cgroups, images, node, packages, product, runs
from e2e.cluster.certificates import Authority, write_kubeconfig
from e2e.cluster.errors import ProviderError
from e2e.cluster.network import Host
from e2e.cluster.runs import Run

MOUNTS = """\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
25 24 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
26 25 0:23 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
27 25 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
40 24 0:40 / /var/lib/shoal-e2e/0a1b2c/node1/my\\040disk rw - tmpfs tmpfs rw
41 24 0:41 / /var/lib/shoal-e2e/0a1b2cd rw - tmpfs tmpfs rw
42 40 0:42 net:[4026532205] /var/lib/shoal-e2e/0a1b2c/node1/my\\040disk/netns rw - nsfs nsfs rw
"""


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM debian:12", ["debian:12"]),
        ("ARG BASE=python:3.11\nFROM ${BASE} AS wheel\nFROM wheel AS files\nFROM $BASE AS runtime", ["python:3.11"]),
        ("from scratch\nFROM --platform=linux/amd64 a AS b\nFROM c as d\nFROM b", ["a", "c"]),
        ('ARG V="3.12"\nARG V2\nFROM python:${V}', ["python:3.12"]),
    ],
)
def test_base_images_of_a_dockerfile(dockerfile: str, expected: list[str]) -> None:
    assert images.bases(dockerfile) == expected


def test_a_base_without_a_name_is_refused_with_its_line() -> None:
    with pytest.raises(ProviderError, match=re.escape("`FROM $BASE`")):
        images.bases("ARG BASE\nFROM $BASE")


def test_the_products_dockerfile_starts_from_one_base() -> None:
    assert len(images.bases((product.CHECKOUT / "Dockerfile").read_text())) == 1


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("python", "docker.io/library/python:latest"),
        ("library/python:3", "docker.io/library/python:3"),
        ("localhost/python:3", "localhost/python:3"),
        ("registry.example:5000/python", "registry.example:5000/python:latest"),
        ("docker.io/library/python:3.11-slim", "docker.io/library/python:3.11-slim"),
    ],
)
def test_full_names_of_images(image: str, expected: str) -> None:
    assert images.full_name(image) == expected


def test_pips_environment_wins_over_its_files() -> None:
    listed = ":env:.cert='/env.pem'\nglobal.cert='/file.pem'\nglobal.find-links='/a\\n/b'\nuser.x='1'"
    assert images.parse_pip_settings(listed) == {"cert": "/env.pem", "find-links": "/a /b"}


def test_only_the_runs_own_mounts_are_its_own() -> None:
    folder = Path("/var/lib/shoal-e2e/0a1b2c")
    assert runs.mounts_below(MOUNTS, folder) == [f"{folder}/node1/my disk", f"{folder}/node1/my disk/netns"]


def test_processes_are_found_by_the_unified_hierarchy_where_there_is_one() -> None:
    assert cgroups.parse_mounts(MOUNTS) == [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/pids")]


@pytest.mark.parametrize("folder", sorted(binaries.RELEASES.values()))
def test_staging_modules_are_those_of_the_release(folder: str) -> None:
    """A module that is one patch behind its release compiles, and then behaves like neither."""
    tool = binaries.Tool(folder, binaries.CONTROL_PROGRAMS)
    version = binaries.kubernetes_version(tool)
    replaced = re.findall(r"=> k8s\.io/\S+ (\S+)", (tool.module / "go.mod").read_text())
    assert len(replaced) > 25
    assert set(replaced) == {re.sub(r"^v1\.", "v0.", version)}


@pytest.mark.parametrize("release", ["newest", "v1.36", "1.36"])
def test_a_release_is_found_by_its_version(release: str) -> None:
    assert binaries.kubernetes(release).name == "kubernetes"


@pytest.mark.parametrize("release", ["1.3", "1.29", "", "latest"])
def test_an_unsupported_release_is_refused_with_the_choice(release: str) -> None:
    with pytest.raises(ProviderError, match=r"newest \(v1\.\d+\.\d+\), oldest \(v1\.\d+\.\d+\)"):
        binaries.kubernetes(release)


def test_the_oldest_release_is_one_that_the_chart_installs_on() -> None:
    chart = yaml.safe_load((product.CHECKOUT / "charts/shoal/Chart.yaml").read_text())
    least = re.search(r">=1\.(\d+)", chart["kubeVersion"])
    version = binaries.kubernetes_version(binaries.kubernetes("oldest"))
    assert least is not None
    assert int(version.split(".")[1]) >= int(least[1])


def test_a_build_is_another_one_when_anything_it_depends_on_changes() -> None:
    key = binaries.key(binaries.PAUSE, "go1.26.8")
    assert key == binaries.key(binaries.PAUSE, "go1.26.8")
    assert len({key, binaries.key(binaries.PAUSE, "go1.27"), binaries.key(binaries.ETCD, "go1.26.8")}) == 3


def test_containerd_writes_into_its_nodes_folder_only(tmp_path: Path) -> None:
    host = Host(Run("0a1b2c", tmp_path), 2)
    config = tomllib.loads(node.containerd_config(host, host.directory / "containerd.sock"))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    places = [
        config["root"],
        config["state"],
        config["grpc"]["address"],
        config["plugins"]["io.containerd.internal.v1.opt"]["path"],
        cri["cni"]["conf_dir"],
        cri["containerd"]["runtimes"]["runc"]["options"]["Root"],
    ]
    assert [place for place in places if not Path(place).is_relative_to(host.directory)] == []


def test_nodes_have_addresses_of_their_own(tmp_path: Path) -> None:
    first, second = (Host(Run("0a1b2c", tmp_path), index) for index in (1, 2))
    assert {first.address, second.address} == {"10.77.0.1", "10.77.0.2"}
    assert first.pod_range != second.pod_range
    assert first.namespace != second.namespace


def test_a_signed_certificate_names_its_user_and_addresses(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.sign("kubelet", "system:node:node1", "system:nodes", ["node1", "10.77.0.1"])
    ca, leaf = (
        x509.load_pem_x509_certificate(path.read_bytes()) for path in (authority.pair.certificate, pair.certificate)
    )
    leaf.verify_directly_issued_by(ca)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert leaf.subject.rfc4514_string() == "CN=system:node:node1,O=system:nodes"
    assert names.get_values_for_type(x509.DNSName) == ["node1"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.77.0.1"]


def test_keys_and_kubeconfigs_are_for_their_owner_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    admin = authority.sign("admin", "admin", "system:masters")
    config = write_kubeconfig(tmp_path / "admin.kubeconfig", "https://10.77.0.1:6443", authority.pair, admin, "admin")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (config, admin.key, authority.pair.key)}
    assert modes == {0o600}
    assert yaml.safe_load(config.read_text())["clusters"][0]["cluster"]["server"] == "https://10.77.0.1:6443"


def test_without_root_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ProviderError, match=r"needs root") as refused:
        packages.require_machine()
    assert "\n" not in str(refused.value)


def test_without_a_program_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(packages, "ALWAYS", ("sh", "no-such-program"))
    with pytest.raises(ProviderError, match=r"PATH: no-such-program$"):
        packages.require_machine()
