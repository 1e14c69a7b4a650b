"""Record the answers of the server that a kubeconfig names.

Usage, with a control plane of its own (binaries as `make e2e PROVIDER=bare` builds them):

    e2e/fidelity/control_plane.sh BINARIES python -m e2e.fidelity.record [--out DIR] [SCENARIO...]

Invariant: one small JSON file a scenario, written only when the whole scenario was played.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from e2e.fidelity.play import play
from e2e.fidelity.script import SCENARIOS

GOLDENS = Path(__file__).parent.parent.parent / "tests" / "fidelity" / "goldens"


def connect(config: dict[str, Any]) -> aiohttp.ClientSession:
    """A session with the address and credentials of a kubeconfig's current context."""
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    tls = ssl.create_default_context(cadata=_data(cluster, "certificate-authority").decode())
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    if "client-certificate-data" in user or "client-certificate" in user:
        with tempfile.NamedTemporaryFile() as both:
            both.write(_data(user, "client-certificate") + b"\n" + _data(user, "client-key"))
            both.flush()
            tls.load_cert_chain(both.name)
    return aiohttp.ClientSession(cluster["server"], headers=headers, connector=aiohttp.TCPConnector(ssl=tls))


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def _data(entry: dict[str, Any], name: str) -> bytes:
    inline = entry.get(f"{name}-data")
    return base64.b64decode(inline) if inline else Path(entry[name]).read_bytes()


async def record(config: dict[str, Any], out: Path, names: list[str]) -> None:
    """Play the named scenarios (all, if none are named) and write one file each into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    async with connect(config) as session:
        async with session.get("/version") as response:
            version = (await response.json(content_type=None))["gitVersion"]
        for name in names or SCENARIOS:
            records = await play(session, SCENARIOS[name])
            write(out / f"{name}.json", version, records)
            print(f"{name}: {len(records)} answers")


def write(path: Path, version: str, records: list[dict[str, Any]]) -> None:
    """One answer a line, so that a change of a golden reads as a change of that answer."""
    lines = ",\n".join(json.dumps(record, separators=(",", ":"), ensure_ascii=False) for record in records)
    path.write_text(f'{{"server": {json.dumps(version)}, "answers": [\n{lines}\n]}}\n')


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"), help="default: $KUBECONFIG")
    parser.add_argument("--out", type=Path, default=GOLDENS)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    arguments = parser.parse_args()
    if not arguments.kubeconfig:
        parser.error("which server? give --kubeconfig or set KUBECONFIG")
    unknown = [name for name in arguments.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    config = yaml.safe_load(Path(arguments.kubeconfig).read_text())
    asyncio.run(record(config, arguments.out, arguments.scenarios))
    return 0


if __name__ == "__main__":
    sys.exit(main())
