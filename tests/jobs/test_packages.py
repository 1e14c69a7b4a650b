"""Working directories as archives: same content, same name; nothing too large; nothing from outside."""

import os
import zipfile
from pathlib import Path

import pytest

from shoal.jobs import packages
from shoal.jobs.package_store import PackageError, PackageStore


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    (directory / "lib").mkdir(parents=True)
    (directory / "main.py").write_text("print(1)")
    (directory / "lib/tool.sh").write_text("#!/bin/sh")
    (directory / "lib/tool.sh").chmod(0o755)
    return directory


def test_the_same_files_have_the_same_name_wherever_and_whenever(source, tmp_path):
    first, data = packages.pack(str(source))
    copy = tmp_path / "copy"
    packages.unpack(data, copy)
    os.utime(copy / "main.py", (1, 1))
    assert packages.pack(str(copy))[0] == first
    assert os.access(copy / "lib/tool.sh", os.X_OK)
    (copy / "main.py").write_text("print(2)")
    assert packages.pack(str(copy))[0] != first


def test_what_is_left_out(source, tmp_path):
    for name in (".git/config", ".venv/x", "lib/__pycache__/a.pyc", "b.pyc", "..2024/main.py"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("")
    os.mkfifo(source / "pipe")
    _, data = packages.pack(str(source))
    packages.unpack(data, tmp_path / "copy")
    files = sorted(str(p.relative_to(tmp_path / "copy")) for p in (tmp_path / "copy").rglob("*") if p.is_file())
    assert files == ["lib/tool.sh", "main.py"]


def test_limits(source, monkeypatch):
    (source / "noise").write_bytes(os.urandom(100_000))
    monkeypatch.setattr(packages, "MAX_PACKAGE_BYTES", 50_000)
    with pytest.raises(PackageError, match="too large") as caught:
        packages.pack(str(source))
    assert caught.value.kind == "TooLarge"


def test_an_archive_cannot_write_outside(tmp_path):
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../../escaped", "x")
    packages.unpack(evil.read_bytes(), tmp_path / "a/b")
    assert not (tmp_path / "escaped").exists()
    assert (tmp_path / "a/b/escaped").exists()


def test_the_store_forgets_what_was_unused_longest(tmp_path):
    store = PackageStore(tmp_path / "store", max_bytes=250)
    for age, name in enumerate(("aaaaaaaa", "bbbbbbbb")):
        store.put(name, bytes(100))
        os.utime(tmp_path / f"store/{name}.zip", (age + 1, age + 1))
    assert store.get("aaaaaaaa") == bytes(100)
    store.put("cccccccc", bytes(100))
    assert [store.get(name) is not None for name in ("aaaaaaaa", "bbbbbbbb", "cccccccc")] == [True, False, True]
    assert sorted(Path(tmp_path / "store").glob(".*")) == []
