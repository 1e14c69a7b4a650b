"""The check for leaks sees each kind of leak, and lets pass what is stated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LEAKING = '''
import mmap, os, socket, subprocess, sys, threading, time
import pytest

kept = []
DAEMON = """
import os, time
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
os.closerange(0, 3)
time.sleep(60)
"""

def test_processes():
    kept.append(subprocess.Popen(["sleep", "60"]))

def test_processes_daemon():
    subprocess.run([sys.executable, "-c", DAEMON], check=True)

def test_threads():
    threading.Thread(target=time.sleep, args=(2,), daemon=True).start()

def test_fds():
    kept.append(open("/etc/hosts"))

def test_listeners():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_shm():
    descriptor = os.memfd_create("kept")
    os.ftruncate(descriptor, 4096)
    kept.append(mmap.mmap(descriptor, 4096))

def test_shm_volume():
    os.mkdir(f"/dev/shm/shoal-volume-{os.getpid()}-kept")

def test_volume_of_another_session():
    os.mkdir(f"/dev/shm/shoal-volume-1-{os.getpid()}")

def test_sockets(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server.sock"))

@pytest.mark.leaks("fds", reason="stated")
def test_stated():
    kept.append(open("/etc/hosts"))

@pytest.mark.leaks("fds")
def test_stated_without_reason():
    pass

def test_clean(tmp_path):
    with socket.create_server(("127.0.0.1", 0)), open(tmp_path / "file", "w"):
        subprocess.run(["true"], check=True)
'''


@pytest.mark.leaks("sockets", reason="one of the leaks that are made here")
def test_every_kind_of_leak_is_seen(tmp_path: Path) -> None:
    source = (Path(__file__).parent / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(source.replace("GRACE_SECONDS = 5.0", "GRACE_SECONDS = 0.2"))
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = leaks\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "t")],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    for volume in Path("/dev/shm").glob("shoal-volume-*"):
        if volume.name.endswith("-kept") or volume.name.startswith("shoal-volume-1-"):
            volume.rmdir()
    blamed = re.findall(r"^ERROR test_leaking\.py::test_(\w+)", ended.stdout, re.MULTILINE)
    assert sorted(blamed) == [
        "fds",
        "listeners",
        "processes",
        "processes_daemon",
        "shm",
        "shm_volume",
        "sockets",
        "stated_without_reason",
        "threads",
    ]
    for kind in ("fds", "listeners", "processes", "shm", "sockets", "threads"):
        assert re.search(rf"test_{kind} _+\nleft behind:\n(  .*\n)*  {kind}: ", ended.stdout), kind
