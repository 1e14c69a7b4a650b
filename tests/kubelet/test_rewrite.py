from __future__ import annotations

import pytest

from shoal_operator.local.kubelet.rewrite import Rewriter

REWRITER = Rewriter(
    namespace="default",
    mounts={"/var/run/shoal/token": "/real/token", "/data": "/real/data", "/data/deep": "/real/deep"},
    services={"demo-head.default": "127.9.0.1", "web.other": "127.9.0.2"},
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("/data", "/real/data"),
        ("/data/", "/real/data/"),
        ("/data/x/y", "/real/data/x/y"),
        ("/data/deep/x", "/real/deep/x"),
        ("/database", "/database"),
        ("x/data", "x/data"),
        ("--token-file=/var/run/shoal/token/token", "--token-file=/real/token/token"),
        ("cat /data/a; ls '/data/b' >/data/c", "cat /real/data/a; ls '/real/data/b' >/real/data/c"),
        ("/usr/bin:/data/bin:/bin", "/usr/bin:/real/data/bin:/bin"),
        ("file:///data/x", "file:///data/x"),
        ("", ""),
    ],
)
def test_mount_paths_are_replaced_where_they_stand_as_paths(written: str, expected: str) -> None:
    assert REWRITER.path(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("demo-head:7380", "127.9.0.1:7380"),
        ("demo-head.default:7380", "127.9.0.1:7380"),
        ("demo-head.default.svc", "127.9.0.1"),
        ("demo-head.default.svc.cluster.local:1", "127.9.0.1:1"),
        ("http://demo-head:8000/path?x=demo-head", "http://127.9.0.1:8000/path?x=demo-head"),
        ("redis://user:pw@demo-head:6379/0", "redis://user:pw@127.9.0.1:6379/0"),
        ("http://web.other/", "http://127.9.0.2/"),
        ("--address=demo-head:7380", "--address=127.9.0.1:7380"),
        ("demo-head:1,demo-head:2", "127.9.0.1:1,127.9.0.1:2"),
        ("web:80", "web:80"),
        ("demo-head", "demo-head"),
        ("demo-head-0:7380", "demo-head-0:7380"),
        ("demo-head.elsewhere:1", "demo-head.elsewhere:1"),
        ("demo-head.default.example.org", "demo-head.default.example.org"),
        ("the demo-head:7380 of", "the demo-head:7380 of"),
    ],
)
def test_service_names_are_replaced_where_they_are_hosts(written: str, expected: str) -> None:
    assert REWRITER.hosts(written, names_an_address=False) == expected


def test_a_bare_word_is_a_host_only_where_the_flag_or_variable_says_so() -> None:
    words = ["--pod-name", "demo-head", "--head-host", "demo-head", "--server=demo-head", "--group=demo-head"]
    assert REWRITER.arguments(words) == [
        "--pod-name",
        "demo-head",
        "--head-host",
        "127.9.0.1",
        "--server=127.9.0.1",
        "--group=demo-head",
    ]
    assert REWRITER.variable("HEAD_HOST", "demo-head") == "127.9.0.1"
    assert REWRITER.variable("POD_NAME", "demo-head") == "demo-head"
