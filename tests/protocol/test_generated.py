"""The generated code is what the .proto files say."""

import subprocess
import sys
from pathlib import Path

import shoal.protocol

PROTOCOL = Path(shoal.protocol.__file__).parent


def test_generated_code_has_no_drift(tmp_path):
    sources = sorted(str(path) for path in PROTOCOL.glob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    root = str(PROTOCOL.parent.parent)
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", root, *outputs, *sources], check=True)
    fresh = sorted((tmp_path / "shoal/protocol").iterdir())
    assert len(fresh) == 6
    for path in fresh:
        assert (PROTOCOL / path.name).read_text() == path.read_text(), f"{path.name} is old: run `make protos`"
