"""Habits that no linter checks, and generated files that must fit their sources."""

from __future__ import annotations

import ast
import difflib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = ("operator", "runtime", "examples")
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
LONG_FILES: dict[str, str] = {}
"""Path to the reason why the file may exceed FILE_LINES_MAX."""
LONG_FUNCTIONS: dict[str, str] = {}
"""``path::function`` to the reason why it may exceed FUNCTION_LINES_MAX."""
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "stuff"}
RAYS_NAMES = "runtime/shoal/util/"
"""The one folder with a vague name: a package of Ray's public API."""
KEYS_ALLOWED = ("operator/shoal_operator/domain/labels.py", "operator/shoal_operator/api/")
"""Where names under our domain are said; everything else imports them."""
HEAVY = {"numpy", "pandas", "pyarrow", "grpc", "google", "pydantic", "aiohttp", "kopf", "kubernetes", "click", "yaml"}
PROTOS = ("head", "node")


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not GENERATED.search(path.name) and "__pycache__" not in path.parts:
                yield path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("folder", ["operator", "runtime"])
def test_the_folders_of_packages_are_not_packages(folder: str) -> None:
    """An operator/__init__.py would hide the standard library's operator module."""
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("package", ["operator/shoal_operator", "runtime/shoal"])
def test_every_folder_with_code_is_a_package(package: str) -> None:
    """Without __init__.py the checks of imports do not see a folder, and the wheel may lose it."""
    folders = {path.parent for path in sources(package)}
    assert [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_files_are_of_a_size_to_read() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in sources(*CODE, "tests")}
    assert {n: size for n, size in lengths.items() if size > FILE_LINES_MAX and n not in LONG_FILES} == {}
    assert [name for name in LONG_FILES if lengths.get(name, 0) <= FILE_LINES_MAX] == [], "no longer needed"


def test_functions_are_of_a_size_to_read() -> None:
    lengths: dict[str, int] = {}
    for path in sources(*CODE):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{name_of(path)}::{node.name}"
                lengths[name] = max(lengths.get(name, 0), (node.end_lineno or 0) - node.lineno + 1)
    too_long = {n: size for n, size in lengths.items() if size > FUNCTION_LINES_MAX and n not in LONG_FUNCTIONS}
    assert too_long == {}
    assert [name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= FUNCTION_LINES_MAX] == [], "no longer needed"


def test_files_are_named_for_what_is_in_them() -> None:
    vague = {
        name_of(path)
        for path in sources(*CODE)
        if not name_of(path).startswith(RAYS_NAMES)
        and VAGUE_NAMES & {path.stem, *path.relative_to(ROOT).parent.parts, path.stem.rpartition("_")[2]}
    }
    assert vague == set()


def test_nothing_is_left_to_do_in_comments() -> None:
    marker = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    files = [*sources(*CODE, "tests"), ROOT / "Makefile", *ROOT.glob("*.md")]
    found = [
        f"{name_of(path)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marker.search(line)
    ]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(path) for path in sources(*CODE) if not (ast.get_docstring(parse(path)) or "").strip()]
    assert silent == []


def test_keys_of_our_domain_are_said_once() -> None:
    """A label or annotation spelled out elsewhere is one that a rename misses."""
    found = [
        f"{name_of(path)}:{node.lineno} {node.value!r}"
        for path in sources("operator", "runtime")
        if not name_of(path).startswith(KEYS_ALLOWED)
        for node in strings_of(parse(path))
        if re.search(r"shoal\.dev/(?!v1)", node.value)
    ]
    assert found == []


def strings_of(tree: ast.Module) -> Iterator[ast.Constant]:
    """String constants other than docstrings and free-standing texts."""
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node


def test_import_shoal_is_light() -> None:
    """It is in the way of every command, every driver and every test of a user."""
    program = "import sys, shoal; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert HEAVY & set(run.stdout.split()) == set()


def test_generated_protocol_fits_its_contract(tmp_path: Path) -> None:
    """Versions of the generator, which it writes into its files, may differ."""
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "runtime")]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    inputs = [str(ROOT / f"runtime/shoal/protocol/{name}.proto") for name in PROTOS]
    subprocess.run([*command, *outputs, *inputs], check=True, timeout=60)
    for name in PROTOS:
        for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py"):
            committed = ROOT / f"runtime/shoal/protocol/{name}{suffix}"
            fresh = tmp_path / f"shoal/protocol/{name}{suffix}"
            assert drift(committed, fresh) == [], "run `make protos`"


def test_dependencies_are_as_new_as_the_generated_code_asks_for() -> None:
    generated = (ROOT / "runtime/shoal/protocol/head_pb2.py").read_text()
    services = (ROOT / "runtime/shoal/protocol/head_pb2_grpc.py").read_text()
    [protobuf] = re.findall(r"^# Protobuf Python Version: (\S+)$", generated, re.MULTILINE)
    [grpcio] = re.findall(r"^GRPC_GENERATED_VERSION = '(\S+)'$", services, re.MULTILINE)
    bounds = (ROOT / "pyproject.toml").read_text()
    assert f'"protobuf>={protobuf}"' in bounds
    assert f'"grpcio>={grpcio}"' in bounds
    assert f'"grpcio-tools=={grpcio.rpartition(".")[0]}.*"' in bounds


def drift(committed: Path, fresh: Path) -> list[str]:
    def lines(path: Path) -> list[str]:
        about_versions = re.compile(r"version|^    \d+,$|^    '',$", re.IGNORECASE)
        return [line for line in path.read_text().splitlines() if not about_versions.search(line)]

    return list(difflib.unified_diff(lines(committed), lines(fresh), lineterm="", n=0))


def test_generated_definitions_fit_the_models() -> None:
    command = [sys.executable, "-m", "shoal_operator.api.crdgen", "--check", str(ROOT / "crds")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, f"run `make crds`\n{run.stderr}"
